//! What HTTP asks: admission to a channel, WHIP, WHEP and the directory here; rooms and notifications are passed on.

use super::Hub;
use crate::api::{Reply, Request, ResourceKind};
use crate::broker::{Audience, Publication};
use crate::context::Awaiting;
use crate::directory;
use crate::error::{Error, ErrorCode};
use crate::grants::Caller;
use crate::id::{Channel, RequestId, StreamName, UserId};
use crate::live::Deferred;
use crate::media::{MediaId, MediaIntent};
use crate::message::ServerMessage;
use crate::message::connection::AppMessage;
use crate::message::live::EndReason;
use crate::peers::{Asked, Owner, Peer, Pending, Requester, Side};
use crate::session::Key;
use crate::time::Now;

impl Hub {
    pub(super) fn request(&mut self, now: Now, request: RequestId, caller: Caller, ask: Request) {
        let stream = match &ask {
            Request::Admit { channel } => {
                if !caller.grants.may_subscribe(channel) {
                    let error = Error::forbidden(format!("the token does not grant {channel}"));
                    return self.answer_at_once(request, Err(error));
                }
                match channel {
                    Channel::Live(stream) => stream.clone(),
                    Channel::Chat(_) => {
                        self.context.requests.insert(request, Awaiting::Store);
                        return self
                            .chat
                            .request(&mut self.context, now, request, caller, ask);
                    }
                    Channel::Streams | Channel::Chats | Channel::Notifications => {
                        return self.answer_at_once(request, Ok(Reply::Done));
                    }
                }
            }
            Request::WhipPublish { stream, .. } => {
                if !caller.grants.may_publish(stream) {
                    return self.answer_at_once(request, Err(not_granted("publish")));
                }
                stream.clone()
            }
            Request::WhepWatch { stream, .. } => {
                if !caller.grants.may_watch(stream) {
                    return self.answer_at_once(request, Err(not_granted("watch")));
                }
                stream.clone()
            }
            Request::Patch {
                resource,
                kind,
                if_match,
                fragment,
            } => {
                let result = self.patch(
                    request,
                    &caller,
                    resource,
                    *kind,
                    if_match.as_deref(),
                    fragment,
                );
                if let Err(error) = result {
                    self.answer_at_once(request, Err(error));
                }
                return;
            }
            Request::Delete { resource, kind } => {
                let result = self.delete(now, &caller, resource, *kind);
                return self.answer_at_once(request, result);
            }
            Request::ListStreams => {
                let limit = self.context.config.channel.directory_streams_max;
                let listed = directory::listed(&self.lives);
                let streams = directory::visible(&listed, &caller.grants, limit);
                return self.answer_at_once(request, Ok(Reply::Streams(streams)));
            }
            Request::GetStream { stream } => {
                let result = self.detail(&caller, stream);
                return self.answer_at_once(request, result);
            }
            Request::EndStream { stream } => {
                let result = self.end_by_api(now, &caller, stream);
                return self.answer_at_once(request, result);
            }
            Request::CreateRoom { .. }
            | Request::ListRooms { .. }
            | Request::GetRoom { .. }
            | Request::ChangeRoom { .. }
            | Request::RoomMessages { .. }
            | Request::PostMessage { .. }
            | Request::SearchMessages { .. }
            | Request::Block { .. }
            | Request::Unblock { .. }
            | Request::ListBlocks
            | Request::GetPresence { .. } => {
                self.context.requests.insert(request, Awaiting::Store);
                return self
                    .chat
                    .request(&mut self.context, now, request, caller, ask);
            }
            Request::Notify(_)
            | Request::ListNotifications { .. }
            | Request::MarkNotificationRead { .. }
            | Request::MarkAllNotificationsRead
            | Request::GetPreferences
            | Request::SetPreferences(_)
            | Request::ChangeFollowers { .. }
            | Request::ListFollowers { .. } => {
                self.context.requests.insert(request, Awaiting::Store);
                return self
                    .notifications
                    .request(&mut self.context, now, request, caller, ask);
            }
            Request::DisconnectUser { user, reason } => {
                let result = self.disconnect_user(&caller, user, reason.as_deref());
                return self.answer_at_once(request, result);
            }
            Request::Publish { .. } => {
                let result = self.publish_by_api(now, &caller, ask);
                return self.answer_at_once(request, result);
            }
        };
        let waits_for = Awaiting::Stream(stream.clone());
        self.context.requests.insert(request, waits_for);
        let deferred = Deferred::Http {
            request,
            caller,
            ask,
        };
        self.carry_out_or_defer(now, &stream, deferred);
    }

    /// Closes every connection of a user.
    fn disconnect_user(
        &mut self,
        caller: &Caller,
        user: &UserId,
        reason: Option<&str>,
    ) -> Result<Reply, Error> {
        if !caller.grants.admin {
            return Err(not_granted("admin"));
        }
        let keys: Vec<Key> = self.context.sessions.of_user(user).collect();
        for key in &keys {
            self.context
                .send_away(*key, reason.unwrap_or("disconnected by the application"));
        }
        Ok(Reply::Disconnected {
            sessions: keys.len(),
        })
    }

    /// Says something of the application's own to a channel.
    fn publish_by_api(&mut self, now: Now, caller: &Caller, ask: Request) -> Result<Reply, Error> {
        let Request::Publish {
            channel,
            user,
            kind,
            payload,
        } = ask
        else {
            return Err(Error::not_found("there is no such request"));
        };
        if !caller.grants.admin {
            return Err(not_granted("admin"));
        }
        let audience = match (&channel, user) {
            (Channel::Chats | Channel::Notifications, Some(user)) => Audience::User(user),
            (Channel::Chats | Channel::Notifications, None) => {
                let what = "expected whose channel it is";
                return Err(Error::invalid_field("user", what));
            }
            (Channel::Live(_) | Channel::Streams | Channel::Chat(_), Some(user)) => {
                Audience::User(user)
            }
            (Channel::Live(_) | Channel::Streams | Channel::Chat(_), None) => Audience::All,
        };
        self.context.publish(Publication {
            channel,
            audience,
            position: None,
            message: ServerMessage::AppMessage(AppMessage { kind, payload }),
            at_ms: now.wall_ms,
        });
        Ok(Reply::Done)
    }

    fn answer_at_once(&mut self, request: RequestId, result: Result<Reply, Error>) {
        self.context
            .outputs
            .push_back(super::Output::Reply { request, result });
    }

    /// A WHIP or WHEP offer, or a question of admission, with the stream's state at hand.
    pub(super) fn carry_out_request(
        &mut self,
        now: Now,
        stream: &StreamName,
        request: RequestId,
        caller: Caller,
        ask: Request,
    ) {
        if !self.context.requests.contains_key(&request) {
            // Whoever asked has hung up while the state was loaded.
            return;
        }
        let result = self.with_live(stream, |live, context| match ask {
            Request::Admit { .. } => {
                live.admit(now, &caller)?;
                context.reply(request, Ok(Reply::Done));
                Ok(())
            }
            Request::WhipPublish { offer, .. } => {
                live.whip_publish(context, now, request, &caller, offer)
            }
            Request::WhepWatch { offer, wait, .. } => {
                live.whep_watch(context, now, request, caller, offer, wait)
            }
            // Everything else was answered without a stream's state.
            _ => Ok(()),
        });
        if let Some(Err(error)) = result {
            self.context.reply(request, Err(error));
        }
    }

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

    fn patch(
        &mut self,
        request: RequestId,
        caller: &Caller,
        resource: &str,
        kind: ResourceKind,
        if_match: Option<&str>,
        fragment: &str,
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
            let wait = std::time::Duration::from_secs(1);
            return Err(Error::rate_limited("too many open requests", wait));
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
        self.context.ask_media(MediaIntent::Patch {
            media,
            fragment: fragment.to_owned(),
        });
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

    fn delete(
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

    fn detail(&self, caller: &Caller, stream: &StreamName) -> Result<Reply, Error> {
        self.lives
            .get(stream)
            .filter(|_| caller.grants.may_watch(stream))
            .and_then(|live| live.summary())
            .map(Reply::Stream)
            .ok_or_else(|| Error::not_found("the stream is not live"))
    }

    fn end_by_api(
        &mut self,
        now: Now,
        caller: &Caller,
        stream: &StreamName,
    ) -> Result<Reply, Error> {
        if !caller.grants.may_publish(stream) {
            return Err(not_granted("publish"));
        }
        self.with_live(stream, |live, context| {
            live.end_stream(context, now, EndReason::EndedByApi)
        })
        .unwrap_or_else(|| Err(Error::not_found("the stream is not live")))?;
        Ok(Reply::Done)
    }

    /// Whoever made a request has hung up.
    pub(super) fn request_gone(&mut self, now: Now, request: RequestId) {
        match self.context.requests.remove(&request) {
            Some(Awaiting::Stream(stream)) => {
                self.with_live(&stream, |live, _| live.forget_waiting(request));
            }
            Some(Awaiting::Store) | None => {}
            Some(Awaiting::Media(media)) => {
                let Some(peer) = self.context.peers.get(media) else {
                    return;
                };
                let is_opening = peer.pending.iter().any(|pending| {
                    pending.what == Asked::Open && pending.requester == Requester::Http(request)
                });
                if !is_opening {
                    return;
                }
                // Nobody will ever know the resource.
                let (stream, side) = (peer.stream.clone(), peer.side);
                self.with_live(&stream, |live, context| match side {
                    Side::Publisher => {
                        context.ask_media(MediaIntent::Close { media });
                        live.handle_publisher_closed(context, now, media, "abandoned");
                    }
                    Side::Viewer => live.close_viewer(context, now, media, "abandoned"),
                });
            }
        }
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

fn not_granted(what: &str) -> Error {
    Error::forbidden(format!("the token does not grant {what}"))
}
