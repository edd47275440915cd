//! Resources of WHIP and WHEP: whose they are, PATCH and DELETE.

use std::time::Duration;

use super::Hub;
use super::request::not_granted;
use crate::api::{Reply, ResourceKind};
use crate::context::Awaiting;
use crate::error::{Error, ErrorCode};
use crate::grants::Caller;
use crate::id::RequestId;
use crate::media::{MediaId, MediaIntent};
use crate::peers::{Asked, Owner, Peer, Pending, Requester, Side};
use crate::time::Now;

impl Hub {
    /// A resource of the caller's.
    fn own_resource(
        &self,
        caller: &Caller,
        resource: &str,
        side: Side,
    ) -> Result<(MediaId, &Peer), Error> {
        let found = self
            .context
            .peers
            .by_wire_id(resource)
            .filter(|(_, peer)| peer.owner == Owner::Http && peer.side == side);
        let Some((media, peer)) = found else {
            return Err(Error::not_found("there is no such resource"));
        };
        if peer.user.id != caller.user.id && !caller.grants.admin {
            return Err(Error::forbidden("the resource belongs to somebody else"));
        }
        Ok((media, peer))
    }

    pub(super) fn patch(
        &mut self,
        now: Now,
        request: RequestId,
        caller: &Caller,
        resource: &str,
        kind: ResourceKind,
        if_match: Option<&str>,
        fragment: String,
    ) -> Result<(), Error> {
        let limit = self.context.config.live.pending_media_requests_max;
        let (media, peer) = self.own_resource(caller, resource, side_of(kind))?;
        let Some(wanted) = if_match else {
            let message = "If-Match: expected the entity tag of the ICE session, or *";
            return Err(Error::new(ErrorCode::PreconditionRequired, message));
        };
        if !matches_etag(wanted, &peer.etag) {
            let message = "If-Match: not the current ICE session";
            return Err(Error::new(ErrorCode::PreconditionFailed, message));
        }
        if peer.pending.len() >= limit {
            let wait = Duration::from_secs(1);
            self.context.stats.limits_hit += 1;
            return Err(Error::rate_limited("too many open requests", wait));
        }
        let is_granted = match kind {
            ResourceKind::Whip => caller.grants.may_publish(&peer.stream),
            ResourceKind::Whep => caller.grants.may_watch(&peer.stream),
        };
        if !is_granted {
            return Err(not_granted("this stream any more"));
        }
        if peer.user.id == caller.user.id {
            let expires_at = now.mono_at(caller.expires_at_ms);
            self.context.peers.extend(media, expires_at);
        }
        if let Some(peer) = self.context.peers.get_mut(media) {
            peer.pending.push_back(Pending {
                what: Asked::Patch,
                requester: Requester::Http(request),
            });
        }
        self.context
            .requests
            .insert(request, Awaiting::Media(media));
        self.context
            .ask_media(MediaIntent::Patch { media, fragment });
        Ok(())
    }

    /// The media plane has applied a PATCH.
    pub(super) fn patched(&mut self, media: MediaId, fragment: Option<String>) {
        let new_etag = fragment.is_some().then(|| self.context.random_epoch());
        let Some(peer) = self.context.peers.get_mut(media) else {
            return;
        };
        if let Some(etag) = new_etag {
            // An ICE restart begins a new ICE session (RFC 9725 section 4.3.3).
            peer.etag = etag;
        }
        let etag = peer.etag.clone();
        let pending = peer.pending.pop_front().map(|pending| pending.requester);
        if let Some(Requester::Http(request)) = pending {
            self.context
                .reply(request, Ok(Reply::Patched { fragment, etag }));
        }
    }

    pub(super) fn delete(
        &mut self,
        now: Now,
        caller: &Caller,
        resource: &str,
        kind: ResourceKind,
    ) -> Result<Reply, Error> {
        let side = side_of(kind);
        let (media, stream) = match self.own_resource(caller, resource, side) {
            Ok((media, peer)) => (media, peer.stream.clone()),
            Err(error) => {
                // Clients close the connection first and delete the resource then.
                let tombstone = self.context.peers.tombstone(resource);
                let mine = tombstone
                    .filter(|tombstone| tombstone.side == side && tombstone.user == caller.user.id);
                let Some(tombstone) = mine else {
                    return Err(error);
                };
                (tombstone.media, tombstone.stream.clone())
            }
        };
        self.with_live(&stream, |live, context| match side {
            Side::Publisher => live.delete_publisher(context, now, media),
            Side::Viewer => {
                if context.peers.get(media).is_some() {
                    live.close_viewer(context, now, media, "deleted");
                }
            }
        });
        Ok(Reply::Done)
    }
}

fn side_of(kind: ResourceKind) -> Side {
    match kind {
        ResourceKind::Whip => Side::Publisher,
        ResourceKind::Whep => Side::Viewer,
    }
}

/// Whether an `If-Match` value (RFC 9110 section 13.1.1) names the entity tag; quotes are forgiven.
fn matches_etag(if_match: &str, etag: &str) -> bool {
    if_match.split(',').any(|one| {
        let one = one.trim();
        let one = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || one.trim_matches('"') == etag
    })
}
