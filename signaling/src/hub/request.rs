//! What HTTP asks: admission to a channel, WHIP, WHEP and the directory here; rooms and notifications are passed on.

use super::Hub;
use crate::api::{Reply, Request};
use crate::broker::{Audience, Publication};
use crate::context::{Awaiting, Context};
use crate::directory;
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{Channel, RequestId, StreamName, UserId};
use crate::live::{Deferred, Wanted};
use crate::media::MediaIntent;
use crate::message::ServerMessage;
use crate::message::connection::AppMessage;
use crate::message::live::EndReason;
use crate::peers::{Asked, Requester, Side};
use crate::quota::Kind;
use crate::session::Key;
use crate::time::Now;

impl Hub {
    pub(super) fn request(&mut self, now: Now, request: RequestId, caller: Caller, ask: Request) {
        let (stream, wanted) = match ask {
            Request::Admit { channel } => {
                if !caller.grants.may_subscribe(&channel) {
                    let error = Error::forbidden(format!("the token does not grant {channel}"));
                    return self.answer_at_once(request, Err(error));
                }
                match channel {
                    Channel::Live(stream) => (stream, Wanted::Admission),
                    Channel::Chat(_) => {
                        self.context.requests.insert(request, Awaiting::Store);
                        let ask = Request::Admit { channel };
                        return self
                            .chat
                            .request(&mut self.context, now, request, caller, ask);
                    }
                    Channel::Streams | Channel::Chats | Channel::Notifications => {
                        return self.answer_at_once(request, Ok(Reply::Done));
                    }
                }
            }
            Request::WhipPublish { stream, offer } => {
                if !caller.grants.may_publish(&stream) {
                    return self.answer_at_once(request, Err(not_granted("publish")));
                }
                (stream, Wanted::Publish { offer })
            }
            Request::WhepWatch {
                stream,
                offer,
                wait,
            } => {
                if !caller.grants.may_watch(&stream) {
                    return self.answer_at_once(request, Err(not_granted("watch")));
                }
                (stream, Wanted::Watch { offer, wait })
            }
            Request::Patch {
                resource,
                kind,
                if_match,
                fragment,
            } => {
                let result = self.patch(
                    now,
                    request,
                    &caller,
                    &resource,
                    kind,
                    if_match.as_deref(),
                    fragment,
                );
                if let Err(error) = result {
                    self.answer_at_once(request, Err(error));
                }
                return;
            }
            Request::Delete { resource, kind } => {
                let result = self.delete(now, &caller, &resource, kind);
                return self.answer_at_once(request, result);
            }
            Request::ListStreams => {
                let limit = self.context.config.channel.directory_streams_max;
                let listed = directory::listed(&self.lives);
                let streams = directory::visible(&listed, &caller.grants, limit);
                return self.answer_at_once(request, Ok(Reply::Streams(streams)));
            }
            Request::GetStream { stream } => {
                let result = self.detail(&caller, &stream);
                return self.answer_at_once(request, result);
            }
            Request::EndStream { stream } => {
                let result = self.end_by_api(now, &caller, &stream);
                return self.answer_at_once(request, result);
            }
            ask @ (Request::CreateRoom { .. }
            | Request::ListRooms { .. }
            | Request::GetRoom { .. }
            | Request::ChangeRoom { .. }
            | Request::RoomMessages { .. }
            | Request::PostMessage { .. }
            | Request::SearchMessages { .. }
            | Request::Block { .. }
            | Request::Unblock { .. }
            | Request::ListBlocks
            | Request::GetPresence { .. }) => {
                self.context.requests.insert(request, Awaiting::Store);
                return self
                    .chat
                    .request(&mut self.context, now, request, caller, ask);
            }
            ask @ (Request::Notify(_)
            | Request::ListNotifications { .. }
            | Request::MarkNotificationRead { .. }
            | Request::MarkAllNotificationsRead
            | Request::GetPreferences
            | Request::SetPreferences(_)
            | Request::ChangeFollowers { .. }
            | Request::ListFollowers { .. }) => {
                self.context.requests.insert(request, Awaiting::Store);
                return self
                    .notifications
                    .request(&mut self.context, now, request, caller, ask);
            }
            Request::DisconnectUser { user, reason } => {
                let result = self.disconnect_user(&caller, &user, reason.as_deref());
                return self.answer_at_once(request, result);
            }
            Request::Publish {
                channel,
                user,
                kind,
                payload,
            } => {
                let message = AppMessage { kind, payload };
                let result = self.publish_by_api(now, &caller, channel, user, message);
                return self.answer_at_once(request, result);
            }
        };
        let waits_for = Awaiting::Stream(stream.clone());
        self.context.requests.insert(request, waits_for);
        let deferred = Deferred::Http {
            request,
            caller,
            wanted,
        };
        self.carry_out_or_defer(now, &stream, deferred);
    }

    /// Counts a request that costs the store something. Media and the directory have limits of their own, and one
    /// token may stand for many viewers there.
    pub(super) fn check_quota(
        &mut self,
        now: Now,
        caller: &Caller,
        ask: &Request,
    ) -> Result<(), Error> {
        let is_free = matches!(
            ask,
            Request::Admit { .. }
                | Request::WhipPublish { .. }
                | Request::WhepWatch { .. }
                | Request::Patch { .. }
                | Request::Delete { .. }
                | Request::ListStreams
                | Request::GetStream { .. }
                | Request::EndStream { .. }
        );
        if is_free || caller.grants.admin {
            return Ok(());
        }
        let Context {
            quotas,
            config,
            stats,
            ..
        } = &mut self.context;
        let user = &caller.user.id;
        quotas
            .take(now.mono, user, Kind::Requests, &config.quota)
            .map_err(|wait| {
                stats.rate_limited += 1;
                Error::rate_limited("too many requests", wait)
            })
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
    fn publish_by_api(
        &mut self,
        now: Now,
        caller: &Caller,
        channel: Channel,
        user: Option<UserId>,
        message: AppMessage,
    ) -> Result<Reply, Error> {
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
            message: ServerMessage::AppMessage(message),
            at_ms: now.wall_ms,
        });
        Ok(Reply::Done)
    }

    pub(super) fn answer_at_once(&mut self, request: RequestId, result: Result<Reply, Error>) {
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
        wanted: Wanted,
    ) {
        if !self.context.requests.contains_key(&request) {
            // Whoever asked has hung up while the state was loaded.
            return;
        }
        let result = self.with_live(stream, |live, context| match wanted {
            Wanted::Admission => {
                live.admit(now, &caller)?;
                context.reply(request, Ok(Reply::Done));
                Ok(())
            }
            Wanted::Publish { offer } => live.whip_publish(context, now, request, &caller, offer),
            Wanted::Watch { offer, wait } => {
                live.whep_watch(context, now, request, caller, offer, wait)
            }
        });
        if let Some(Err(error)) = result {
            self.context.reply(request, Err(error));
        }
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

pub(super) fn not_granted(what: &str) -> Error {
    Error::forbidden(format!("the token does not grant {what}"))
}
