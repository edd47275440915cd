//! Who watches a stream: over a WebSocket, over WHEP, and who waits for it to begin.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Audience;
use crate::config;
use crate::context::{Awaiting, Context, object};
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{RequestId, UserId};
use crate::live::{Live, publisher::draining};
use crate::media::{Layer, LayerReason, MediaId, MediaIntent, Selection};
use crate::message::ServerMessage;
use crate::message::live::{
    JoinLeave, MediaClosed, Person, QualityChanged, Sdp, SetQuality, StopWatching, ViewersUpdate,
    Watch, WatchUnavailable,
};
use crate::peers::{Asked, Owner, Pending, Phase, Requester, Side};
use crate::session::Key;
use crate::time::Now;

/// The connections that watch.
#[derive(Debug, Default)]
pub(crate) struct Viewers {
    media: BTreeMap<MediaId, UserId>,
    /// What subscribers were last told.
    told: u64,
    told_at: Option<Instant>,
    /// WHEP requests for a stream that is not live yet, in the order they came.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    request: RequestId,
    caller: Caller,
    offer: String,
    until: Instant,
}

impl Viewers {
    pub(crate) fn count(&self) -> u64 {
        self.media.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.media.is_empty() && self.waiting.is_empty() && self.told == 0
    }

    pub(crate) fn deadline(&self, limits: &config::Live) -> Option<Instant> {
        let count = (self.told != self.count())
            .then(|| self.told_at.map(|at| at + limits.viewers_interval))
            .flatten();
        let waiting = self.waiting.iter().map(|waiting| waiting.until).min();
        count.into_iter().chain(waiting).min()
    }
}

impl Live {
    /// `watch` of a session. The acknowledgement names the connection; the server's offer follows.
    pub(crate) fn watch(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        watch: Watch,
    ) -> Result<(), Error> {
        let Some(session) = context.sessions.get(key) else {
            return Ok(());
        };
        let caller = session.caller.clone();
        let before = session.watches.get(&self.stream).copied();
        let is_full =
            before.is_none() && session.watches.len() >= context.config.session.max_watches;
        self.check_viewer(context, now, &caller)?;
        if !self.is_live() {
            return Err(not_live());
        }
        if before.is_none() {
            self.check_room(context)?;
        }
        if is_full {
            context.stats.limits_hit += 1;
            return Err(Error::conflict("this session watches too many streams"));
        }
        if let Some(before) = before {
            self.close_viewer(context, now, before, "replaced");
        }
        let selection = Selection {
            quality: watch.quality,
            audio_only: watch.audio_only,
        };
        let wire_id = context.random_id();
        let media = self.add_viewer(context, now, &caller, Owner::Session(key), wire_id.clone());
        if let Some(peer) = context.peers.get_mut(media) {
            peer.selection = selection;
        }
        if let Some(session) = context.sessions.get_mut(key) {
            session.watches.insert(self.stream.clone(), media);
        }
        context.ack(now, key, id, object([("session", Value::from(wire_id))]));
        context.ask_media(MediaIntent::Watch {
            media,
            stream: self.stream.clone(),
            offer: None,
            selection,
        });
        Ok(())
    }

    /// Who may not watch, and when nobody may.
    fn check_viewer(&self, context: &Context, now: Now, caller: &Caller) -> Result<(), Error> {
        self.admit(now, caller)?;
        if context.is_draining {
            return Err(draining());
        }
        Ok(())
    }

    /// Whether one more may watch.
    fn check_room(&self, context: &mut Context) -> Result<(), Error> {
        if self.viewers.media.len() >= context.config.live.max_viewers {
            context.stats.limits_hit += 1;
            return Err(Error::unavailable(
                "the stream has as many viewers as it may",
            ));
        }
        Ok(())
    }

    /// WHEP POST.
    pub(crate) fn whep_watch(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: Caller,
        offer: String,
        wait: Option<Duration>,
    ) -> Result<(), Error> {
        self.check_viewer(context, now, &caller)?;
        if self.is_live() {
            self.check_room(context)?;
            let wire_id = context.random_id();
            let media = self.add_viewer(context, now, &caller, Owner::Http, wire_id);
            if let Some(peer) = context.peers.get_mut(media) {
                peer.pending.push_back(Pending {
                    what: Asked::Open,
                    requester: Requester::Http(request),
                });
            }
            context.requests.insert(request, Awaiting::Media(media));
            context.ask_media(MediaIntent::Watch {
                media,
                stream: self.stream.clone(),
                offer: Some(offer),
                selection: Selection::default(),
            });
            return Ok(());
        }
        let wait = wait.unwrap_or_default().min(context.config.live.wait_max);
        if wait.is_zero() {
            return Err(not_live());
        }
        if self.viewers.waiting.len() >= context.config.live.waiting_max {
            context.stats.limits_hit += 1;
            return Err(Error::unavailable("too many wait for this stream already"));
        }
        self.viewers.waiting.push_back(Waiting {
            request,
            caller,
            offer,
            until: now.mono + wait,
        });
        Ok(())
    }

    /// The stream is live: those who waited for it get in.
    pub(super) fn serve_waiting(&mut self, context: &mut Context, now: Now) {
        for waiting in std::mem::take(&mut self.viewers.waiting) {
            let Waiting {
                request,
                caller,
                offer,
                ..
            } = waiting;
            if let Err(error) = self.whep_watch(context, now, request, caller, offer, None) {
                context.reply(request, Err(error));
            }
        }
    }

    /// Whoever waited long enough is told that the stream is not live.
    pub(super) fn expire_waiting(&mut self, context: &mut Context, now: Now) {
        self.viewers.waiting.retain(|waiting| {
            let is_over = waiting.until <= now.mono;
            if is_over {
                context.reply(waiting.request, Err(not_live()));
            }
            !is_over
        });
    }

    /// Whoever waited has hung up.
    pub(crate) fn forget_waiting(&mut self, request: RequestId) {
        self.viewers
            .waiting
            .retain(|waiting| waiting.request != request);
    }

    fn add_viewer(
        &mut self,
        context: &mut Context,
        now: Now,
        caller: &Caller,
        owner: Owner,
        wire_id: String,
    ) -> MediaId {
        let user = caller.user.clone();
        let media = self.new_peer(context, now, caller, Side::Viewer, owner, wire_id);
        self.viewers.media.insert(media, user.id.clone());
        let person = Person {
            role: self.role(caller),
            id: user.id,
            name: user.name,
        };
        self.presence.join(person);
        self.note_peak();
        self.flush_viewers(context, now);
        self.flush_presence(context, now);
        media
    }

    /// The media plane offers to a viewer.
    pub(crate) fn handle_offer(
        &self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        sdp: String,
    ) {
        let Some(peer) = context.peers.get_mut(media) else {
            return;
        };
        if peer.phase == Phase::Reserved {
            peer.phase = Phase::Negotiating { since: now.mono };
        }
        let Owner::Session(key) = peer.owner else {
            return;
        };
        let session = peer.wire_id.clone();
        let message = ServerMessage::WebrtcOffer(Sdp { session, sdp });
        context.send(now, key, &message, &self.room.metadata());
    }

    /// `set_quality`.
    pub(crate) fn set_quality(
        &self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        wanted: &SetQuality,
    ) -> Result<(), Error> {
        let media = self.watched_by(context, key)?;
        let Some(peer) = context.peers.get_mut(media) else {
            return Err(not_watching());
        };
        peer.selection.quality = wanted.quality;
        if let Some(audio_only) = wanted.audio_only {
            peer.selection.audio_only = audio_only;
        }
        let selection = peer.selection;
        context.ask_media(MediaIntent::Select { media, selection });
        context.ack(now, key, id, object([]));
        Ok(())
    }

    fn watched_by(&self, context: &Context, key: Key) -> Result<MediaId, Error> {
        context
            .sessions
            .get(key)
            .and_then(|session| session.watches.get(&self.stream).copied())
            .ok_or_else(not_watching)
    }

    /// `stop_watching`.
    pub(crate) fn stop_watching(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        stop: &StopWatching,
    ) -> Result<(), Error> {
        let media = self.watched_by(context, key)?;
        let is_other = stop.session.as_ref().is_some_and(|wanted| {
            context
                .peers
                .get(media)
                .is_none_or(|peer| peer.wire_id != *wanted)
        });
        if is_other {
            return Err(not_watching());
        }
        if let Some(session) = context.sessions.get_mut(key) {
            // Taken out first: who stops watching need not be told that the connection is gone.
            session.watches.remove(&self.stream);
        }
        context.ask_media(MediaIntent::Close { media });
        context.peers.remove(media);
        self.remove_viewer(context, now, media);
        context.ack(now, key, id, object([]));
        Ok(())
    }

    /// Closes a viewer's connection and says why.
    pub(crate) fn close_viewer(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        reason: &str,
    ) {
        context.ask_media(MediaIntent::Close { media });
        self.viewer_gone(context, now, media, reason);
    }

    /// A viewer's connection is gone.
    pub(crate) fn viewer_gone(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        reason: &str,
    ) {
        context.forget_peer(now, media, reason);
        self.remove_viewer(context, now, media);
    }

    fn remove_viewer(&mut self, context: &mut Context, now: Now, media: MediaId) {
        if let Some(user) = self.viewers.media.remove(&media) {
            self.presence.leave(now.mono, &user);
            self.flush_viewers(context, now);
        }
    }

    /// The connections of a user, over WebSocket and WHEP.
    pub(crate) fn watched_by_user(&self, user: &UserId) -> Vec<MediaId> {
        let mine = self.viewers.media.iter().filter(|(_, who)| *who == user);
        mine.map(|(media, _)| *media).collect()
    }

    /// The media plane has closed everybody: the stream is over.
    pub(super) fn end_viewers(&mut self, context: &mut Context, now: Now) {
        for (media, user) in std::mem::take(&mut self.viewers.media) {
            self.presence.leave(now.mono, &user);
            let Some(peer) = context.peers.remove(media) else {
                continue;
            };
            for pending in peer.pending {
                context.fail(now, pending.requester, not_live());
            }
            let Owner::Session(key) = peer.owner else {
                continue;
            };
            if let Some(session) = context.sessions.get_mut(key) {
                session.watches.remove(&self.stream);
            }
            // Subscribers read it from `stream_ended`.
            if !self.is_subscribed(key) {
                let closed = MediaClosed {
                    session: peer.wire_id,
                    reason: "stream_ended".to_owned(),
                };
                let message = ServerMessage::MediaClosed(closed);
                context.send(now, key, &message, &self.room.metadata());
            }
        }
        self.flush_viewers(context, now);
    }

    /// Tells the count when it changed and the interval has passed.
    pub(super) fn flush_viewers(&mut self, context: &mut Context, now: Now) {
        let count = self.viewers.count();
        let interval = context.config.live.viewers_interval;
        let is_early = self
            .viewers
            .told_at
            .is_some_and(|at| now.mono < at + interval);
        if count == self.viewers.told || is_early {
            return;
        }
        self.viewers.told = count;
        self.viewers.told_at = Some(now.mono);
        context.is_directory_stale |= self.is_live();
        let message = ServerMessage::ViewersUpdate(ViewersUpdate { count });
        self.room.broadcast(context, now, Audience::All, &message);
    }

    /// Tells the streamer and moderators who came and went.
    pub(super) fn flush_presence(&mut self, context: &mut Context, now: Now) {
        let Some((joined, left)) = self.presence.poll(now.mono, &context.config.live) else {
            return;
        };
        let count = self.viewers.count();
        let batch = |mut people: Vec<Person>| -> Option<JoinLeave> {
            let (user, users) = match people.len() {
                0 => return None,
                1 => (people.pop(), None),
                _ => (None, Some(people)),
            };
            Some(JoinLeave { user, users, count })
        };
        if let Some(joined) = batch(joined) {
            let message = ServerMessage::UserJoined(joined);
            self.room.broadcast(context, now, Audience::Staff, &message);
        }
        if let Some(left) = batch(left) {
            let message = ServerMessage::UserLeft(left);
            self.room.broadcast(context, now, Audience::Staff, &message);
        }
    }

    /// A viewer's layer changed.
    pub(crate) fn handle_layer(
        &self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        layer: Layer,
        reason: LayerReason,
    ) {
        let Some((key, session)) = session_of(context, media) else {
            return;
        };
        let changed = QualityChanged {
            session,
            layer,
            reason,
        };
        let message = ServerMessage::QualityChanged(changed);
        context.send(now, key, &message, &self.room.metadata());
    }

    /// A viewer cannot decode a track.
    pub(crate) fn handle_undecodable(
        &self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        unavailable: impl FnOnce(String) -> WatchUnavailable,
    ) {
        let Some((key, session)) = session_of(context, media) else {
            return;
        };
        let message = ServerMessage::WatchUnavailable(unavailable(session));
        context.send(now, key, &message, &self.room.metadata());
    }
}

fn session_of(context: &Context, media: MediaId) -> Option<(Key, String)> {
    let peer = context.peers.get(media)?;
    match peer.owner {
        Owner::Session(key) => Some((key, peer.wire_id.clone())),
        Owner::Http => None,
    }
}

fn not_live() -> Error {
    Error::not_found("the stream is not live")
}

fn not_watching() -> Error {
    Error::not_found("this session does not watch the stream")
}
