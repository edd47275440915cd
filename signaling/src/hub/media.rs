//! What the media plane says, brought to the stream it is about.

use super::Hub;
use crate::context::Context;
use crate::live::Live;
use crate::media::{MediaId, MediaIntent, MediaReply};
use crate::message::live::WatchUnavailable;
use crate::peers::{Phase, Side};
use crate::time::Now;

impl Hub {
    pub(super) fn media(&mut self, now: Now, reply: MediaReply) {
        match reply {
            MediaReply::Answer { media, sdp } => self.at_peer(media, |live, context, _| {
                live.handle_answer(context, now, media, sdp);
            }),
            MediaReply::Offer { media, sdp } => self.at_peer(media, |live, context, _| {
                live.handle_offer(context, now, media, sdp);
            }),
            MediaReply::Patched { media, fragment } => self.patched(media, fragment),
            MediaReply::Refused { media, refusal } => self.at_peer(media, |live, context, _| {
                live.handle_refused(context, now, media, refusal);
            }),
            MediaReply::Connected { media } => {
                self.at_peer(media, |live, context, side| match side {
                    Side::Publisher => live.handle_publisher_connected(context, now, media),
                    Side::Viewer => set_phase(context, media, Phase::Heard),
                });
            }
            MediaReply::Silent { media } => {
                self.at_peer(media, |live, context, side| match side {
                    Side::Publisher => live.handle_publisher_silent(context, now, media),
                    Side::Viewer => set_phase(context, media, Phase::Silent),
                });
            }
            MediaReply::Closed { media, reason } => {
                self.at_peer(media, |live, context, side| match side {
                    Side::Publisher => {
                        live.handle_publisher_closed(context, now, media, &reason);
                    }
                    Side::Viewer => live.viewer_gone(context, now, media, &reason),
                });
            }
            MediaReply::Tracks { stream, tracks } => {
                self.with_live(&stream, |live, context| {
                    live.handle_tracks(context, now, tracks);
                });
            }
            MediaReply::Layer {
                media,
                layer,
                reason,
            } => self.at_peer(media, |live, context, _| {
                live.handle_layer(context, now, media, layer, reason);
            }),
            MediaReply::Undecodable { media, kind, codec } => {
                self.at_peer(media, |live, context, _| {
                    let unavailable = |session| WatchUnavailable {
                        session,
                        kind,
                        codec,
                    };
                    live.handle_undecodable(context, now, media, unavailable);
                });
            }
            MediaReply::PublisherStats { stream, stats, .. } => {
                self.with_live(&stream, |live, context| {
                    live.handle_publisher_stats(context, now, stats);
                });
            }
        }
    }

    /// Closes connections whose token has ended, as a session's are. A publisher has the grace time to come back with a
    /// new one.
    pub(super) fn expire_peers(&mut self, now: Now) {
        while let Some(media) = self.context.peers.pop_expired(now.mono) {
            self.context.stats.media_token_expiries += 1;
            self.at_peer(media, |live, context, side| match side {
                Side::Publisher => {
                    context.ask_media(MediaIntent::Close { media });
                    live.handle_publisher_closed(context, now, media, "token_expired");
                }
                Side::Viewer => live.close_viewer(context, now, media, "token_expired"),
            });
        }
    }

    /// What is said about a connection that is no longer known came too late and changes nothing.
    fn at_peer(&mut self, media: MediaId, act: impl FnOnce(&mut Live, &mut Context, Side)) {
        let Some(peer) = self.context.peers.get(media) else {
            return;
        };
        let (stream, side) = (peer.stream.clone(), peer.side);
        self.with_live(&stream, |live, context| act(live, context, side));
    }
}

fn set_phase(context: &mut Context, media: MediaId, phase: Phase) {
    if let Some(peer) = context.peers.get_mut(media) {
        peer.phase = phase;
    }
}
