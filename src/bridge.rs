//! Translates between the hub and the media core, and keeps the phone book of names and numbers. The only file that
//! speaks both languages.

use std::collections::HashMap;

use redred_sfu::event::{self, Command, Event};
use redred_sfu::id::{PeerKey, StreamKey};
use redred_signaling::id::StreamName;
use redred_signaling::media::{self, MediaId, MediaIntent, MediaReply};

use crate::media::Plane;

/// Carries out intents on a media plane and turns its events into replies.
#[derive(Debug)]
pub(crate) struct Bridge {
    plane: Plane,
    keys: HashMap<StreamName, StreamKey>,
    names: HashMap<StreamKey, StreamName>,
    next_key: u64,
}

impl Bridge {
    pub(crate) fn new(plane: Plane) -> Self {
        Self {
            plane,
            keys: HashMap::new(),
            names: HashMap::new(),
            next_key: 0,
        }
    }

    /// Carries out what the hub wants. An intent about a connection that is gone is answered at once.
    pub(crate) fn handle_intent(&mut self, intent: MediaIntent) -> Option<MediaReply> {
        match intent {
            MediaIntent::Publish {
                media,
                stream,
                offer,
            } => {
                let stream = self.key(stream);
                self.plane.publish(peer(media), stream, offer);
                None
            }
            MediaIntent::Watch {
                media,
                stream,
                offer,
                selection,
            } => {
                let stream = self.key(stream);
                self.plane
                    .watch(peer(media), stream, offer, to_selection(selection));
                None
            }
            MediaIntent::Offer { media, sdp } => {
                let peer = peer(media);
                self.ask(media, Command::Offer { peer, sdp })
            }
            MediaIntent::Answer { media, sdp } => {
                let peer = peer(media);
                self.ask(media, Command::Answer { peer, sdp })
            }
            MediaIntent::Candidate { media, candidate } => {
                let peer = peer(media);
                self.ask(media, Command::Candidate { peer, candidate })
            }
            MediaIntent::Patch { media, fragment } => {
                let peer = peer(media);
                self.ask(media, Command::Patch { peer, fragment })
            }
            MediaIntent::Select { media, selection } => {
                let peer = peer(media);
                let selection = to_selection(selection);
                self.ask(media, Command::Select { peer, selection })
            }
            MediaIntent::Close { media } => {
                self.plane.close(peer(media));
                None
            }
            MediaIntent::EndStream { stream } => {
                if let Some(key) = self.keys.remove(&stream) {
                    self.names.remove(&key);
                    self.plane.end_stream(key);
                }
                None
            }
        }
    }

    /// Puts an event into the hub's words. None when it is about a stream that the hub has ended.
    pub(crate) fn handle_event(&mut self, event: Event) -> Option<MediaReply> {
        self.plane.note(&event);
        Some(match event {
            Event::Answer { peer, sdp } => MediaReply::Answer {
                media: media_id(peer),
                sdp,
            },
            Event::Offer { peer, sdp } => MediaReply::Offer {
                media: media_id(peer),
                sdp,
            },
            Event::Patched { peer, fragment } => MediaReply::Patched {
                media: media_id(peer),
                fragment,
            },
            Event::Refused { peer, refusal } => MediaReply::Refused {
                media: media_id(peer),
                refusal: from_refusal(refusal),
            },
            Event::Connected { peer } => MediaReply::Connected {
                media: media_id(peer),
            },
            Event::Silent { peer } => MediaReply::Silent {
                media: media_id(peer),
            },
            Event::Closed { peer, reason } => MediaReply::Closed {
                media: media_id(peer),
                reason: close_reason(reason).to_owned(),
            },
            Event::Tracks { stream, tracks } => MediaReply::Tracks {
                stream: self.names.get(&stream)?.clone(),
                tracks: tracks.into_iter().map(from_track).collect(),
            },
            Event::Layer {
                peer,
                layer,
                reason,
            } => MediaReply::Layer {
                media: media_id(peer),
                layer: from_layer(layer),
                reason: from_layer_reason(reason),
            },
            Event::Undecodable { peer, kind, codec } => MediaReply::Undecodable {
                media: media_id(peer),
                kind: from_kind(kind),
                codec: codec_name(codec).to_owned(),
            },
            Event::PublisherStats {
                stream,
                peer,
                stats,
            } => MediaReply::PublisherStats {
                stream: self.names.get(&stream)?.clone(),
                media: media_id(peer),
                stats: from_stats(stats),
            },
        })
    }

    /// The number of a stream; a new one for a name that is not in use.
    fn key(&mut self, stream: StreamName) -> StreamKey {
        if let Some(key) = self.keys.get(&stream) {
            return *key;
        }
        let key = StreamKey(self.next_key);
        self.next_key += 1;
        self.names.insert(key, stream.clone());
        self.keys.insert(stream, key);
        key
    }

    fn ask(&self, media: MediaId, command: Command) -> Option<MediaReply> {
        if self.plane.command(peer(media), command) {
            return None;
        }
        let refusal = media::Refusal::Conflict(String::from("the connection is gone"));
        Some(MediaReply::Refused { media, refusal })
    }
}

fn peer(media: MediaId) -> PeerKey {
    PeerKey(media.0)
}

fn media_id(peer: PeerKey) -> MediaId {
    MediaId(peer.0)
}

fn to_selection(selection: media::Selection) -> event::Selection {
    event::Selection {
        quality: match selection.quality {
            media::Quality::Auto => event::Quality::Auto,
            media::Quality::High => event::Quality::High,
            media::Quality::Medium => event::Quality::Medium,
            media::Quality::Low => event::Quality::Low,
        },
        audio_only: selection.audio_only,
    }
}

fn from_refusal(refusal: event::Refusal) -> media::Refusal {
    let text = refusal.to_string();
    match refusal {
        event::Refusal::InvalidSdp(_) | event::Refusal::InvalidCandidate(_) => {
            media::Refusal::Invalid(text)
        }
        event::Refusal::NoCommonCodec(codecs) => media::Refusal::NoCommonCodec(codecs),
        event::Refusal::Limit(limit) => {
            tracing::warn!(limit, "the media plane refused a peer at a limit");
            media::Refusal::Overloaded
        }
        event::Refusal::Unknown | event::Refusal::OutOfOrder(_) | _ => {
            media::Refusal::Conflict(text)
        }
    }
}

fn close_reason(reason: event::CloseReason) -> &'static str {
    match reason {
        event::CloseReason::PeerClosed => "peer_closed",
        event::CloseReason::TimedOut => "timed_out",
        event::CloseReason::Replaced => "replaced",
        event::CloseReason::StreamEnded => "stream_ended",
        event::CloseReason::Failed => "failed",
        event::CloseReason::BadAnswer => "bad_answer",
        event::CloseReason::Internal => "internal",
    }
}

fn from_kind(kind: event::Kind) -> media::Kind {
    match kind {
        event::Kind::Audio => media::Kind::Audio,
        event::Kind::Video => media::Kind::Video,
    }
}

fn codec_name(codec: event::Codec) -> &'static str {
    match codec {
        event::Codec::Opus => "opus",
        event::Codec::Vp8 => "vp8",
        event::Codec::Vp9 => "vp9",
        event::Codec::H264 => "h264",
        event::Codec::Av1 => "av1",
    }
}

fn from_track(track: event::TrackInfo) -> media::Track {
    media::Track {
        track: track.track,
        kind: from_kind(track.kind),
        codec: codec_name(track.codec).to_owned(),
        muted: track.muted,
        layers: track.layers.into_iter().map(from_layer).collect(),
    }
}

fn from_layer(layer: event::LayerInfo) -> media::Layer {
    media::Layer {
        rid: layer.rid,
        width: layer.width,
        height: layer.height,
        fps: layer.fps,
        bitrate_bps: layer.bitrate_bps,
    }
}

fn from_layer_reason(reason: event::LayerReason) -> media::LayerReason {
    match reason {
        event::LayerReason::Started => media::LayerReason::Started,
        event::LayerReason::Chosen => media::LayerReason::Chosen,
        event::LayerReason::Published => media::LayerReason::Published,
    }
}

fn from_stats(stats: event::PublisherStats) -> media::PublisherStats {
    media::PublisherStats {
        bitrate_bps: stats.bitrate_bps,
        fps: stats.fps,
        rtt_ms: stats.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        loss: stats.loss,
        layers: stats.layers.into_iter().map(from_layer).collect(),
    }
}
