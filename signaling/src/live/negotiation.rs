//! Connections of a stream on either side, and what the media plane answers about them.

use serde_json::Value;

use crate::api;
use crate::context::{Context, object};
use crate::error::{Error, ErrorCode};
use crate::grants::Caller;
use crate::live::Live;
use crate::media::{MediaId, Refusal};
use crate::message::ServerMessage;
use crate::message::live::Sdp;
use crate::peers::{Asked, Owner, Peer, Phase, Requester, Side};
use crate::session::Key;
use crate::time::Now;

impl Live {
    /// A connection that nothing is known of yet. One over HTTP ends with the token it came with; behind the others
    /// stands a session, which ends them with its own.
    pub(super) fn new_peer(
        &self,
        context: &mut Context,
        now: Now,
        caller: &Caller,
        side: Side,
        owner: Owner,
        wire_id: String,
    ) -> MediaId {
        let etag = context.random_epoch();
        let (stream, user) = (self.stream.clone(), caller.user.clone());
        let peer = Peer::new(stream, side, owner, user, wire_id, etag);
        let media = context.peers.insert(peer);
        match owner {
            Owner::Http => {
                let expires_at = now.mono_at(caller.expires_at_ms);
                context.peers.extend(media, expires_at);
            }
            Owner::Session(key) => {
                if side == Side::Publisher
                    && let Some(session) = context.sessions.get_mut(key)
                {
                    *session.publishing.entry(self.stream.clone()).or_default() += 1;
                }
            }
        }
        media
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
