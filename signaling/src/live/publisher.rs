//! Who publishes a stream, and how long it lives without a publisher.
//!
//! A publisher is *present* while its media is heard (or still negotiated) and, when it came over a WebSocket, its
//! session is attached. A present one is protected from a second; any other gives way at once. A stream whose media is
//! not heard ends after the grace time, one whose publisher only lost its WebSocket goes on.

use std::time::Instant;

use serde_json::Value;

use crate::api;
use crate::broker::Audience;
use crate::config::Takeover;
use crate::context::{Awaiting, Context, object};
use crate::error::{Error, ErrorCode};
use crate::grants::{Caller, User};
use crate::id::Channel;
use crate::live::{Live, Then};
use crate::media::{MediaId, MediaIntent, PublisherStats, Refusal, Selection, Track};
use crate::message::ServerMessage;
use crate::message::live::{
    EndReason, Sdp, StartStream, StreamEnded, StreamStarted, StreamStats, StreamUpdated,
    TracksChanged,
};
use crate::peers::{Asked, Owner, Peer, Pending, Phase, Requester, Side};
use crate::session::Key;
use crate::store::{self, StoreOp};
use crate::time::{Now, millis};

/// One run of a stream, from `start_stream` or the first publish until it ends.
#[derive(Debug)]
pub(crate) struct Run {
    /// Unique, for the store.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) tags: Vec<String>,
    pub(crate) streamer: User,
    created: Instant,
    /// When media was first heard.
    pub(crate) started: Option<Now>,
    pub(crate) tracks: Vec<Track>,
    publisher: Option<MediaId>,
    /// Who published last, also when that connection is gone.
    last_publisher: Option<MediaId>,
    /// The publisher before, until its successor is accepted.
    previous: Option<MediaId>,
    /// A connection that a session was given by `start_stream` and has not offered yet.
    reserved: Option<MediaId>,
    /// Since when no media is heard.
    away_since: Option<Instant>,
    peak_viewers: u64,
}

impl Run {
    fn new(id: String, title: String, tags: Vec<String>, streamer: User, now: Now) -> Self {
        Self {
            id,
            title,
            tags,
            streamer,
            created: now.mono,
            started: None,
            tracks: Vec::new(),
            publisher: None,
            last_publisher: None,
            previous: None,
            reserved: None,
            away_since: None,
            peak_viewers: 0,
        }
    }
}

impl Live {
    pub(crate) fn is_live(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.started.is_some())
    }

    pub(super) fn note_peak(&mut self) {
        let count = self.viewers.count();
        if let Some(run) = &mut self.run {
            run.peak_viewers = run.peak_viewers.max(count);
        }
    }

    /// `start_stream`: a session wants to publish, or to say what its stream is called.
    pub(crate) fn start_stream(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        start: StartStream,
    ) -> Result<(), Error> {
        let caller = self.publishing_caller(context, key)?;
        if context.is_draining {
            return Err(draining());
        }
        self.check_other_session(context, now, key)?;
        let title = start.title.into_string();
        let tags = start
            .tags
            .into_iter()
            .map(|tag| tag.into_string())
            .collect();
        self.name_run(context, now, &caller.user, title, tags);
        self.drop_reservation(context, now);
        let wire_id = context.random_id();
        let media = self.new_peer(
            context,
            caller.user,
            Side::Publisher,
            Owner::Session(key),
            wire_id.clone(),
            Phase::Reserved,
        );
        if let Some(run) = &mut self.run {
            run.reserved = Some(media);
        }
        if let Some(session) = context.sessions.get_mut(key) {
            session.publishing.insert(self.stream.clone());
        }
        let stream_id = Value::from(self.stream.as_str());
        let data = object([("stream_id", stream_id), ("session", Value::from(wire_id))]);
        context.ack(now, key, id, data);
        Ok(())
    }

    fn publishing_caller(&self, context: &Context, key: Key) -> Result<Caller, Error> {
        let Some(session) = context.sessions.get(key) else {
            return Err(Error::not_found("the session is gone"));
        };
        if !session.caller.grants.may_publish(&self.stream) {
            return Err(Error::forbidden("the token does not grant publish"));
        }
        Ok(session.caller.clone())
    }

    /// Refuses a second session while another one publishes and takeover is not allowed.
    fn check_other_session(&self, context: &mut Context, now: Now, key: Key) -> Result<(), Error> {
        let other = self.present_publisher(context, now);
        let is_other_session = other
            .and_then(|media| context.peers.get(media))
            .is_some_and(|peer| matches!(peer.owner, Owner::Session(owner) if owner != key));
        if is_other_session && context.config.live.takeover == Takeover::Reject {
            context.stats.publish_conflicts += 1;
            return Err(second_publisher());
        }
        Ok(())
    }

    /// Starts a run with this name, or renames the one there is.
    fn name_run(
        &mut self,
        context: &mut Context,
        now: Now,
        streamer: &User,
        title: String,
        tags: Vec<String>,
    ) {
        let Some(run) = &mut self.run else {
            let id = context.random_id();
            self.run = Some(Run::new(id, title, tags, streamer.clone(), now));
            return;
        };
        if run.title == title && run.tags == tags {
            return;
        }
        run.title.clone_from(&title);
        run.tags.clone_from(&tags);
        if run.started.is_some() {
            context.is_directory_stale = true;
            let updated = StreamUpdated {
                stream_id: self.stream.clone(),
                title,
                tags,
            };
            self.room
                .publish(context, now, &ServerMessage::StreamUpdated(updated));
        }
    }

    pub(super) fn new_peer(
        &self,
        context: &mut Context,
        user: User,
        side: Side,
        owner: Owner,
        wire_id: String,
        phase: Phase,
    ) -> MediaId {
        let etag = context.random_epoch();
        context.peers.insert(Peer {
            stream: self.stream.clone(),
            side,
            owner,
            user,
            wire_id,
            etag,
            phase,
            selection: Selection::default(),
            pending: std::collections::VecDeque::new(),
        })
    }

    /// Takes back the name that was given for an offer that never came.
    fn drop_reservation(&mut self, context: &mut Context, now: Now) {
        if let Some(media) = self.run.as_mut().and_then(|run| run.reserved.take()) {
            context.forget_peer(now, media, "replaced");
        }
    }

    /// The publisher whose place nobody may take without takeover.
    fn present_publisher(&self, context: &Context, now: Now) -> Option<MediaId> {
        let media = self.run.as_ref()?.publisher?;
        let peer = context.peers.get(media)?;
        let is_heard = match peer.phase {
            Phase::Heard => true,
            Phase::Negotiating { since } => now.mono < since + context.config.live.connect_timeout,
            Phase::Reserved | Phase::Silent => false,
        };
        let is_attached = match peer.owner {
            Owner::Session(key) => context.sessions.is_attached(key),
            Owner::Http => true,
        };
        (is_heard && is_attached).then_some(media)
    }

    /// `webrtc_offer` of a session, on a connection of its own.
    pub(crate) fn offer(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        key: Key,
        id: Option<String>,
        sdp: String,
    ) -> Result<(), Error> {
        self.publishing_caller(context, key)?;
        let limit = context.config.live.pending_media_requests_max;
        let Some(peer) = context.peers.get_mut(media) else {
            return Err(Error::not_found("session: no such connection"));
        };
        if peer.phase == Phase::Reserved {
            let requester = Requester::Session { key, id };
            return self.publish(context, now, media, requester, sdp);
        }
        if peer.pending.len() >= limit {
            let wait = std::time::Duration::from_secs(1);
            return Err(Error::rate_limited("too many open offers", wait));
        }
        peer.pending.push_back(Pending {
            what: Asked::Offer,
            requester: Requester::Session { key, id },
        });
        context.ask_media(MediaIntent::Offer { media, sdp });
        Ok(())
    }

    /// WHIP POST.
    pub(crate) fn whip_publish(
        &mut self,
        context: &mut Context,
        now: Now,
        request: crate::id::RequestId,
        caller: &Caller,
        offer: String,
    ) -> Result<(), Error> {
        if context.is_draining {
            return Err(draining());
        }
        let wire_id = context.random_id();
        let media = self.new_peer(
            context,
            caller.user.clone(),
            Side::Publisher,
            Owner::Http,
            wire_id,
            Phase::Reserved,
        );
        let created = self.run.is_none();
        if created {
            let title = caller.user.name.clone();
            self.name_run(context, now, &caller.user, title, Vec::new());
        }
        context.requests.insert(request, Awaiting::Media(media));
        let result = self.publish(context, now, media, Requester::Http(request), offer);
        if result.is_err() {
            context.peers.remove(media);
        }
        result
    }

    /// Puts a connection in the publisher's place and hands its offer to the media plane.
    fn publish(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        requester: Requester,
        offer: String,
    ) -> Result<(), Error> {
        if let Some(present) = self.present_publisher(context, now) {
            let owner_of = |media| context.peers.get(media).map(|peer| peer.owner);
            let is_own = matches!(
                (owner_of(present), owner_of(media)),
                (Some(Owner::Session(a)), Some(Owner::Session(b))) if a == b
            );
            if !is_own && context.config.live.takeover == Takeover::Reject {
                context.stats.publish_conflicts += 1;
                return Err(second_publisher());
            }
        }
        let Some(run) = &mut self.run else {
            return Err(Error::not_found("the stream has ended: start it again"));
        };
        if run.reserved == Some(media) {
            run.reserved = None;
        }
        let before = run.publisher.replace(media);
        run.last_publisher = Some(media);
        // Of two that are both on their way out only the last can come back.
        let discarded = match (before, run.previous) {
            (Some(before), discarded) => {
                run.previous = Some(before);
                discarded
            }
            (None, _) => None,
        };
        if let Some(peer) = context.peers.get_mut(media) {
            peer.phase = Phase::Negotiating { since: now.mono };
            peer.pending.push_back(Pending {
                what: Asked::Open,
                requester,
            });
        }
        if let Some(discarded) = discarded {
            context.ask_media(MediaIntent::Close { media: discarded });
            context.forget_peer(now, discarded, "replaced");
        }
        context.ask_media(MediaIntent::Publish {
            media,
            stream: self.stream.clone(),
            offer,
        });
        Ok(())
    }

    /// The media plane answered an offer.
    pub(crate) fn handle_answer(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        sdp: String,
    ) {
        let Some(peer) = context.peers.get_mut(media) else {
            return;
        };
        let pending = peer.pending.pop_front();
        let (wire_id, etag) = (peer.wire_id.clone(), peer.etag.clone());
        let (side, owner) = (peer.side, peer.owner);
        if side == Side::Publisher && pending.as_ref().is_some_and(|p| p.what == Asked::Open) {
            let previous = self.run.as_mut().and_then(|run| run.previous.take());
            if let Some(previous) = previous {
                context.forget_peer(now, previous, "replaced");
            }
        }
        match pending.map(|pending| pending.requester) {
            Some(Requester::Http(request)) => {
                let created = api::Reply::Created {
                    resource: wire_id,
                    answer: sdp,
                    etag,
                };
                context.reply(request, Ok(created));
            }
            Some(Requester::Session { key, id }) => {
                let data = object([("session", Value::from(wire_id.clone()))]);
                context.ack(now, key, id, data);
                self.send_answer(context, now, key, wire_id, sdp);
            }
            None => {
                if let Owner::Session(key) = owner {
                    self.send_answer(context, now, key, wire_id, sdp);
                }
            }
        }
    }

    fn send_answer(&self, context: &mut Context, now: Now, key: Key, session: String, sdp: String) {
        let message = ServerMessage::WebrtcAnswer(Sdp { session, sdp });
        context.send(now, key, &message, &self.room.metadata());
    }

    /// The media plane refused something about a connection.
    pub(crate) fn handle_refused(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        refusal: Refusal,
    ) {
        let error = refused(refusal);
        let Some(peer) = context.peers.get_mut(media) else {
            return;
        };
        let (side, owner) = (peer.side, peer.owner);
        let is_viewer_without_offer = side == Side::Viewer
            && matches!(owner, Owner::Session(_))
            && matches!(peer.phase, Phase::Reserved);
        let pending = peer.pending.pop_front();
        let is_first = pending.as_ref().is_some_and(|p| p.what == Asked::Open);
        match (pending, owner) {
            (Some(pending), _) => context.fail(now, pending.requester, error),
            (None, Owner::Session(key)) => context.refuse(now, key, None, error),
            (None, Owner::Http) => {}
        }
        match side {
            Side::Publisher if is_first => self.publisher_refused(context, now, media),
            Side::Viewer if is_first || is_viewer_without_offer => {
                self.viewer_gone(context, now, media, "refused");
            }
            Side::Publisher | Side::Viewer => {}
        }
    }

    /// A first offer was refused: the publisher before is in its place again.
    fn publisher_refused(&mut self, context: &mut Context, now: Now, media: MediaId) {
        context.forget_peer(now, media, "refused");
        let Some(run) = &mut self.run else { return };
        if run.publisher == Some(media) {
            run.publisher = run.previous.take();
        } else if run.previous == Some(media) {
            run.previous = None;
        }
        self.note_absence(context, now);
        self.drop_empty_run(context, now);
    }

    /// Starts the grace time when nothing is heard of any publisher.
    fn note_absence(&mut self, context: &Context, now: Now) {
        let Some(run) = &mut self.run else { return };
        let phase = run
            .publisher
            .and_then(|media| context.peers.get(media))
            .map(|peer| peer.phase);
        match phase {
            Some(Phase::Heard) => run.away_since = None,
            // Neither heard nor given up: a pending grace time goes on, or a failing successor would prolong it forever.
            Some(Phase::Negotiating { .. }) => {}
            Some(Phase::Silent | Phase::Reserved) | None => {
                run.away_since.get_or_insert(now.mono);
            }
        }
    }

    /// A run that was never heard of and that nobody is about to publish leaves no trace.
    fn drop_empty_run(&mut self, context: &mut Context, now: Now) {
        let is_empty = self.run.as_ref().is_some_and(|run| {
            run.started.is_none() && run.publisher.is_none() && run.reserved.is_none()
        });
        if is_empty {
            self.end_run(context, now, EndReason::NeverStarted);
        }
    }

    /// Media is heard, for the first time or again.
    pub(crate) fn handle_publisher_connected(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
    ) {
        if let Some(peer) = context.peers.get_mut(media) {
            peer.phase = Phase::Heard;
        }
        let Some(run) = &mut self.run else { return };
        if run.publisher != Some(media) {
            return;
        }
        if run.away_since.take().is_some() && run.started.is_some() {
            context.stats.publisher_returns += 1;
        }
        if run.started.is_none() {
            self.announce(context, now);
        }
    }

    fn announce(&mut self, context: &mut Context, now: Now) {
        let Some(run) = &mut self.run else { return };
        run.started = Some(now);
        context.stats.streams_started += 1;
        context.is_directory_stale = true;
        let started = StreamStarted {
            stream_id: self.stream.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            started_at: now.wall_ms,
            streamer: run.streamer.clone(),
            tracks: run.tracks.clone(),
        };
        let record = store::StreamStarted {
            stream: self.stream.clone(),
            run: run.id.clone(),
            publisher: run.streamer.id.clone(),
            title: run.title.clone(),
            tags: run.tags.clone(),
            at_ms: now.wall_ms,
        };
        self.room
            .publish(context, now, &ServerMessage::StreamStarted(started));
        self.ask_store(context, StoreOp::StreamStarted(record), Then::Record);
        self.serve_waiting(context, now);
    }

    /// Nothing is heard of a publisher; it may come back.
    pub(crate) fn handle_publisher_silent(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
    ) {
        if let Some(peer) = context.peers.get_mut(media) {
            peer.phase = Phase::Silent;
        }
        self.note_absence(context, now);
    }

    /// A publisher is gone for good.
    pub(crate) fn handle_publisher_closed(
        &mut self,
        context: &mut Context,
        now: Now,
        media: MediaId,
        reason: &str,
    ) {
        context.forget_peer(now, media, reason);
        let Some(run) = &mut self.run else { return };
        if run.previous == Some(media) {
            run.previous = None;
        }
        if run.reserved == Some(media) {
            run.reserved = None;
        }
        if run.publisher == Some(media) {
            run.publisher = None;
        }
        self.note_absence(context, now);
        self.drop_empty_run(context, now);
    }

    /// Closes what a session publishes here.
    pub(crate) fn close_publisher_of(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        reason: &str,
    ) {
        for media in self.publishers_of(context, key) {
            let is_open = context
                .peers
                .get(media)
                .is_some_and(|peer| peer.phase != Phase::Reserved);
            if is_open {
                context.ask_media(MediaIntent::Close { media });
            }
            self.handle_publisher_closed(context, now, media, reason);
        }
    }

    /// A session is over. What it was about to publish is dropped; what it publishes goes on while it is heard, so that
    /// a stream survives the loss of its WebSocket.
    pub(crate) fn handle_session_over(&mut self, context: &mut Context, now: Now, key: Key) {
        for media in self.publishers_of(context, key) {
            let is_reserved = context
                .peers
                .get(media)
                .is_some_and(|peer| peer.phase == Phase::Reserved);
            if is_reserved {
                self.handle_publisher_closed(context, now, media, "session over");
            }
        }
    }

    fn publishers_of(&self, context: &Context, key: Key) -> Vec<MediaId> {
        let Some(run) = &self.run else {
            return Vec::new();
        };
        [run.publisher, run.previous, run.reserved]
            .into_iter()
            .flatten()
            .filter(|media| {
                let owner = context.peers.get(*media).map(|peer| peer.owner);
                owner == Some(Owner::Session(key))
            })
            .collect()
    }

    /// The media plane tells the tracks of the stream.
    pub(crate) fn handle_tracks(&mut self, context: &mut Context, now: Now, tracks: Vec<Track>) {
        let Some(run) = &mut self.run else { return };
        let is_new = !is_same_shape(&run.tracks, &tracks);
        run.tracks.clone_from(&tracks);
        if is_new && run.started.is_some() {
            context.is_directory_stale = true;
            let changed = TracksChanged {
                stream_id: self.stream.clone(),
                tracks,
            };
            self.room
                .publish(context, now, &ServerMessage::TracksChanged(changed));
        }
    }

    /// How the publisher fares: for the streamer and moderators.
    pub(crate) fn handle_publisher_stats(
        &self,
        context: &mut Context,
        now: Now,
        stats: PublisherStats,
    ) {
        if !self.is_live() {
            return;
        }
        let message = ServerMessage::StreamStats(StreamStats {
            bitrate: stats.bitrate_bps,
            fps: stats.fps,
            rtt_ms: stats.rtt_ms,
            loss: stats.loss,
            layers: stats.layers,
            viewers: self.viewers.count(),
        });
        self.room.broadcast(context, now, Audience::Staff, &message);
    }

    /// DELETE of a WHIP resource. One that was replaced no longer speaks for the stream.
    pub(crate) fn delete_publisher(&mut self, context: &mut Context, now: Now, media: MediaId) {
        let Some(run) = &self.run else { return };
        let is_current = run.publisher == Some(media);
        let is_known = context.peers.get(media).is_some();
        // Its connection closed before the DELETE came, and nobody has taken its place.
        let was_last = run.publisher.is_none() && run.last_publisher == Some(media);
        if is_current || was_last {
            self.end_run(context, now, EndReason::Ended);
        } else if is_known {
            context.ask_media(MediaIntent::Close { media });
            self.handle_publisher_closed(context, now, media, "deleted");
        }
    }

    /// Ends the stream because somebody said so.
    ///
    /// # Errors
    /// `not_found` when there is nothing to end.
    pub(crate) fn end_stream(
        &mut self,
        context: &mut Context,
        now: Now,
        reason: EndReason,
    ) -> Result<(), Error> {
        if self.run.is_none() {
            return Err(Error::not_found("the stream is not live"));
        }
        self.end_run(context, now, reason);
        Ok(())
    }

    fn end_run(&mut self, context: &mut Context, now: Now, reason: EndReason) {
        let Some(run) = self.run.take() else { return };
        let has_media = run.publisher.is_some() || run.previous.is_some() || run.started.is_some();
        if has_media {
            context.ask_media(MediaIntent::EndStream {
                stream: self.stream.clone(),
            });
        }
        for media in [run.publisher, run.previous, run.reserved]
            .into_iter()
            .flatten()
        {
            if let Some(peer) = context.peers.get(media)
                && let Owner::Session(key) = peer.owner
                && let Some(session) = context.sessions.get_mut(key)
            {
                session.publishing.remove(&self.stream);
            }
            context.forget_peer(now, media, "stream_ended");
        }
        if let Some(started) = run.started {
            let duration_ms = millis(now.mono.saturating_duration_since(started.mono));
            let ended = StreamEnded {
                stream_id: self.stream.clone(),
                reason,
                duration_ms,
                peak_viewers: run.peak_viewers,
            };
            self.room
                .publish(context, now, &ServerMessage::StreamEnded(ended));
            let record = store::StreamEnded {
                stream: self.stream.clone(),
                run: run.id,
                reason: reason.as_str().to_owned(),
                duration_ms,
                peak_viewers: run.peak_viewers,
                at_ms: now.wall_ms,
            };
            self.ask_store(context, StoreOp::StreamEnded(record), Then::Record);
            context.stats.streams_ended += 1;
            context.is_directory_stale = true;
        }
        self.end_viewers(context, now);
    }

    pub(super) fn run_deadline(&self, context: &Context) -> Option<Instant> {
        let run = self.run.as_ref()?;
        let limits = &context.config.live;
        match run.started {
            Some(_) => run.away_since.map(|at| at + limits.publisher_grace),
            None => Some(run.created + limits.start_timeout),
        }
    }

    /// Ends a stream whose publisher did not come (back) in time.
    pub(super) fn expire_run(&mut self, context: &mut Context, now: Now) {
        if self.run_deadline(context).is_none_or(|at| at > now.mono) {
            return;
        }
        let reason = if self.is_live() {
            EndReason::PublisherLost
        } else {
            EndReason::NeverStarted
        };
        self.end_run(context, now, reason);
    }

    /// Whether the session may end this stream.
    pub(crate) fn may_end(&self, caller: &Caller) -> bool {
        caller.grants.may_publish(&self.stream)
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::Live(self.stream.clone())
    }
}

/// Whether two lists of tracks differ only in what is measured all the time.
fn is_same_shape(a: &[Track], b: &[Track]) -> bool {
    let shape = |tracks: &[Track]| -> Vec<Track> {
        let mut tracks = tracks.to_vec();
        for layer in tracks.iter_mut().flat_map(|track| &mut track.layers) {
            layer.bitrate_bps = 0;
            layer.fps = 0;
        }
        tracks
    };
    shape(a) == shape(b)
}

fn second_publisher() -> Error {
    Error::conflict("the stream already has a publisher")
}

pub(crate) fn draining() -> Error {
    Error::unavailable("the server is about to be replaced")
        .retry_after(std::time::Duration::from_secs(2))
}

/// What a refusal of the media plane means to whoever asked.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Invalid(what) => Error::new(ErrorCode::InvalidField, format!("sdp: {what}")),
        Refusal::NoCommonCodec(what) => Error::new(
            ErrorCode::Unsupported,
            format!("no codec in common: {what}"),
        ),
        Refusal::Conflict(what) => Error::conflict(what),
        Refusal::Overloaded => Error::unavailable("the media plane is full")
            .retry_after(std::time::Duration::from_secs(5)),
    }
}
