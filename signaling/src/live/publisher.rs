//! Who publishes a stream, and when another may take the place.
//!
//! A publisher is *present* while its media is heard (or still negotiated) and, when it came over a WebSocket, its
//! session is attached. A present one is protected from a second; any other gives way at once. A stream whose media is
//! not heard ends after the grace time, one whose publisher only lost its WebSocket goes on.

use std::time::Instant;

use serde_json::Value;

use crate::config::Takeover;
use crate::context::{Awaiting, Context, object};
use crate::error::Error;
use crate::grants::Caller;
use crate::live::Live;
use crate::media::{MediaId, MediaIntent};
use crate::message::live::{EndReason, StartStream};
use crate::peers::{Asked, Owner, Pending, Phase, Requester, Side};
use crate::session::Key;
use crate::time::Now;

impl Live {
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
        let limit = context.config.session.max_publishing;
        let is_full = context.sessions.get(key).is_some_and(|session| {
            session.publishing.len() >= limit && !session.publishing.contains_key(&self.stream)
        });
        if is_full {
            context.stats.limits_hit += 1;
            return Err(Error::conflict(format!(
                "at most {limit} streams at a time"
            )));
        }
        let title = start.title.into_string();
        let tags = start
            .tags
            .into_iter()
            .map(|tag| tag.into_string())
            .collect();
        self.name_run(context, now, &caller.user, title, tags);
        self.drop_reservation(context, now);
        let wire_id = context.random_id();
        let (side, owner) = (Side::Publisher, Owner::Session(key));
        let media = self.new_peer(context, now, &caller, side, owner, wire_id.clone());
        if let Some(run) = &mut self.run {
            run.reserved = Some(media);
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
            context.stats.limits_hit += 1;
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
        let side = Side::Publisher;
        let media = self.new_peer(context, now, caller, side, Owner::Http, wire_id);
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

    /// A first offer was refused: the publisher before is in its place again.
    pub(super) fn publisher_refused(&mut self, context: &mut Context, now: Now, media: MediaId) {
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
    /// a stream survives the loss of its WebSocket, but no longer than the token that it came with.
    pub(crate) fn handle_session_over(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        expires_at: Instant,
    ) {
        for media in self.publishers_of(context, key) {
            let is_reserved = context
                .peers
                .get(media)
                .is_some_and(|peer| peer.phase == Phase::Reserved);
            if is_reserved {
                self.handle_publisher_closed(context, now, media, "session over");
            } else {
                context.peers.extend(media, expires_at);
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
}

fn second_publisher() -> Error {
    Error::conflict("the stream already has a publisher")
}

pub(crate) fn draining() -> Error {
    Error::unavailable("the server is about to be replaced")
        .retry_after(std::time::Duration::from_secs(2))
}
