//! What sessions say: taken apart, paced, and handed to the channel it is about.

use std::time::Duration;

use super::{Hub, Output};
use crate::codec;
use crate::context::{Context, object};
use crate::envelope::Metadata;
use crate::error::{Error, ErrorCode};
use crate::id::{Channel, InvalidChannel, RoomId, StreamName};
use crate::live::{Deferred, Live};
use crate::media::{MediaId, MediaIntent};
use crate::message::ClientMessage;
use crate::message::ServerMessage;
use crate::message::connection::{Empty, Position, RefreshToken, Subscribe, Unsubscribe};
use crate::message::live::{EndReason, IceCandidate, Sdp};
use crate::moderation::Decision;
use crate::peers::{Owner, Phase, Side};
use crate::quota::Kind;
use crate::session::Key;
use crate::time::Now;

impl Hub {
    /// One message of a session.
    pub(super) fn receive(&mut self, now: Now, key: Key, bytes: &[u8]) {
        let Context {
            sessions,
            quotas,
            config,
            ..
        } = &mut self.context;
        let Some(session) = sessions.get_mut(key) else {
            return;
        };
        if !session.is_attached() {
            return;
        }
        session.last_heard = now.mono;
        let mut paced = session.messages.take(now.mono);
        if paced.is_ok() && !session.caller.grants.admin {
            let user = &session.caller.user.id;
            paced = quotas.take(now.mono, user, Kind::Messages, &config.quota);
        }
        let decoded = codec::decode(bytes, self.context.config.session.message_bytes_max);
        let incoming = match decoded {
            Ok(incoming) => incoming,
            Err(malformed) => {
                self.count_received("other");
                return self.refuse_bad(now, key, malformed.id, malformed.error);
            }
        };
        self.count_received(&incoming.kind);
        if let Err(wait) = paced {
            self.context.stats.rate_limited += 1;
            let error = Error::rate_limited("too many messages", wait);
            self.context.refuse(now, key, incoming.id, error);
            return self.context.strike(now, key);
        }
        match ClientMessage::decode(&incoming.kind, incoming.data) {
            Ok(message) => self.dispatch(now, key, incoming.id, incoming.channel, message),
            Err(error) => self.refuse_bad(now, key, incoming.id, error),
        }
    }

    fn count_received(&mut self, kind: &str) {
        let is_known = ClientMessage::TYPES.contains(&kind);
        let index = codec::type_index(if is_known { kind } else { "other" });
        self.context.sessions.counters.received[index] += 1;
    }

    fn refuse_bad(&mut self, now: Now, key: Key, id: Option<String>, error: Error) {
        self.context.stats.bad_messages += 1;
        self.context.refuse(now, key, id, error);
        self.context.strike(now, key);
    }

    fn dispatch(
        &mut self,
        now: Now,
        key: Key,
        id: Option<String>,
        channel: Option<String>,
        message: ClientMessage,
    ) {
        match message {
            ClientMessage::Ping(Empty {}) => {
                let about = Metadata {
                    reply_to: id.clone(),
                    ..Metadata::default()
                };
                // With an id it is a request like any other, and those are answered by `ack`.
                if id.is_some() {
                    self.context.ack(now, key, id, object([]));
                } else {
                    let pong = ServerMessage::Pong(Empty {});
                    self.context.send(now, key, &pong, &about);
                }
            }
            ClientMessage::Pong(Empty {}) => self.context.ack(now, key, id, object([])),
            ClientMessage::RefreshToken(refresh) => self.refresh_token(now, key, id, refresh),
            ClientMessage::Subscribe(Subscribe { channel, since }) => {
                match Channel::parse(&channel) {
                    Ok(channel) => self.subscribe(now, key, id, &channel, since),
                    Err(error) => self.refuse_channel(now, key, id, &error),
                }
            }
            ClientMessage::Unsubscribe(Unsubscribe { channel }) => match Channel::parse(&channel) {
                Ok(channel) => self.unsubscribe(now, key, id, &channel),
                Err(error) => self.refuse_channel(now, key, id, &error),
            },
            ClientMessage::WebrtcOffer(sdp) => self.offer(now, key, id, sdp),
            ClientMessage::WebrtcAnswer(sdp) => self.answer(now, key, id, sdp),
            ClientMessage::IceCandidate(candidate) => self.candidate(now, key, id, candidate),
            ClientMessage::StartStream(_)
            | ClientMessage::EndStream(_)
            | ClientMessage::Watch(_)
            | ClientMessage::StopWatching(_)
            | ClientMessage::SetQuality(_)
            | ClientMessage::Comment(_)
            | ClientMessage::DeleteComment(_)
            | ClientMessage::Kick(_)
            | ClientMessage::Ban(_)
            | ClientMessage::Unban(_)
            | ClientMessage::Timeout(_)
            | ClientMessage::SlowMode(_)
            | ClientMessage::PinComment(_)
            | ClientMessage::SetRole(_)
            | ClientMessage::Reaction(_) => match self.stream_of(key, channel) {
                Ok(stream) => {
                    let deferred = Deferred::Message { key, id, message };
                    self.carry_out_or_defer(now, &stream, deferred);
                }
                Err(error) => self.refuse_bad(now, key, id, error),
            },
            ClientMessage::ChatMessage(_)
            | ClientMessage::EditMessage(_)
            | ClientMessage::DeleteMessage(_)
            | ClientMessage::Typing(_)
            | ClientMessage::MarkDelivered(_)
            | ClientMessage::MarkRead(_)
            | ClientMessage::History(_)
            | ClientMessage::AddMembers(_)
            | ClientMessage::RemoveMember(_)
            | ClientMessage::LeaveRoom(_)
            | ClientMessage::RenameRoom(_)
            | ClientMessage::SetMemberRole(_) => match self.room_of(key, channel) {
                Ok(room) => {
                    self.chat
                        .message(&mut self.context, now, key, id, &room, message);
                }
                Err(error) => self.refuse_bad(now, key, id, error),
            },
            ClientMessage::NotificationRead(_) | ClientMessage::MarkAllRead(_) => {
                self.notifications
                    .message(&mut self.context, now, key, id, message);
            }
        }
    }

    fn refuse_channel(&mut self, now: Now, key: Key, id: Option<String>, error: &InvalidChannel) {
        let error = match error {
            InvalidChannel::UnknownKind => Error::not_found(error.to_string()),
            InvalidChannel::Name(name) => Error::invalid_field("data.channel", name),
        };
        self.refuse_bad(now, key, id, error);
    }

    /// The channel that a message is about: the one it names, else that of the path.
    fn channel_of(
        &self,
        key: Key,
        channel: Option<String>,
        expected: &str,
    ) -> Result<Channel, Error> {
        let refuse = |what: &str| Error::invalid_field("metadata.channel", what);
        match channel {
            Some(text) => Channel::parse(&text).map_err(|_| refuse(expected)),
            None => self
                .context
                .sessions
                .get(key)
                .and_then(|session| session.default_channel.clone())
                .ok_or_else(|| refuse("missing, and the path names no channel")),
        }
    }

    /// The stream that a message is about.
    fn stream_of(&self, key: Key, channel: Option<String>) -> Result<StreamName, Error> {
        const EXPECTED: &str = "expected live:<stream>";
        match self.channel_of(key, channel, EXPECTED)? {
            Channel::Live(stream) => Ok(stream),
            Channel::Streams | Channel::Chat(_) | Channel::Chats | Channel::Notifications => {
                Err(Error::invalid_field("metadata.channel", EXPECTED))
            }
        }
    }

    /// The room that a message is about.
    fn room_of(&self, key: Key, channel: Option<String>) -> Result<RoomId, Error> {
        const EXPECTED: &str = "expected chat:<room>";
        match self.channel_of(key, channel, EXPECTED)? {
            Channel::Chat(room) => Ok(room),
            Channel::Streams | Channel::Live(_) | Channel::Chats | Channel::Notifications => {
                Err(Error::invalid_field("metadata.channel", EXPECTED))
            }
        }
    }

    fn refresh_token(&mut self, now: Now, key: Key, id: Option<String>, refresh: RefreshToken) {
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        if session.verifying.is_some() {
            let error = Error::conflict("a token is being verified");
            return self.context.refuse(now, key, id, error);
        }
        let Some(socket) = session.socket else {
            return;
        };
        session.verifying = Some(id);
        self.context.outputs.push_back(Output::Verify {
            session: socket,
            token: refresh.token,
        });
    }

    /// Subscribes a session, once the channel's state is there.
    pub(super) fn subscribe(
        &mut self,
        now: Now,
        key: Key,
        id: Option<String>,
        channel: &Channel,
        since: Option<Position>,
    ) {
        let Some(session) = self.context.sessions.get(key) else {
            return;
        };
        let is_path = id.is_none() && session.default_channel.as_ref() == Some(channel);
        let limit = self.context.config.session.max_subscriptions;
        let is_full =
            session.subscriptions.len() >= limit && !session.subscriptions.contains(channel);
        if !session.caller.grants.may_subscribe(channel) {
            let error = Error::forbidden(format!("the token does not grant {channel}"));
            if is_path {
                return self.refuse_path(now, key, error);
            }
            return self.context.refuse(now, key, id, error);
        }
        if is_full {
            self.context.stats.limits_hit += 1;
            let error = Error::conflict(format!("at most {limit} channels"));
            return self.context.refuse(now, key, id, error);
        }
        match channel {
            Channel::Streams => {
                self.context.ack(now, key, id, object([]));
                let since = since.as_ref();
                self.directory
                    .subscribe(&mut self.context, now, key, since, &self.lives);
            }
            Channel::Live(stream) => {
                let deferred = Deferred::Subscribe { key, id, since };
                self.carry_out_or_defer(now, stream, deferred);
            }
            Channel::Chat(room) => {
                self.chat
                    .subscribe(&mut self.context, now, key, id, room, since);
            }
            Channel::Chats => self.chat.subscribe_list(&mut self.context, now, key, id),
            Channel::Notifications => {
                self.notifications
                    .subscribe(&mut self.context, now, key, id, since);
            }
        }
    }

    fn unsubscribe(&mut self, now: Now, key: Key, id: Option<String>, channel: &Channel) {
        match channel {
            Channel::Streams => {
                self.directory.unsubscribe(key);
                if let Some(session) = self.context.sessions.get_mut(key) {
                    session.subscriptions.remove(channel);
                }
            }
            Channel::Live(stream) => {
                self.with_live(stream, |live, context| live.unsubscribe(context, key));
            }
            Channel::Chat(_) | Channel::Chats => {
                self.chat.unsubscribe(&mut self.context, now, key, channel);
            }
            Channel::Notifications => self.notifications.unsubscribe(&mut self.context, key),
        }
        self.context.ack(now, key, id, object([]));
    }

    /// Does something now when the stream's state is there, later when it must be loaded first.
    pub(super) fn carry_out_or_defer(&mut self, now: Now, stream: &StreamName, what: Deferred) {
        if let Err(error) = self.live_or_load(now, stream) {
            return self.refuse_deferred(now, what, error);
        }
        let is_loaded = self.lives.get(stream).is_some_and(Live::is_loaded);
        if is_loaded {
            return self.carry_out(now, stream, what);
        }
        match self.with_live(stream, |live, context| live.check_deferred(context)) {
            Some(Err(error)) => self.refuse_deferred(now, what, error),
            Some(Ok(())) | None => {
                self.with_live(stream, |live, _| live.defer(what));
            }
        }
    }

    pub(super) fn refuse_deferred(&mut self, now: Now, what: Deferred, error: Error) {
        match what {
            Deferred::Subscribe { key, id, .. } | Deferred::Message { key, id, .. } => {
                self.context.refuse(now, key, id, error);
            }
            Deferred::Http { request, .. } => self.context.reply(request, Err(error)),
        }
    }

    /// Does what needs the stream's state, which is there.
    pub(super) fn carry_out(&mut self, now: Now, stream: &StreamName, what: Deferred) {
        match what {
            Deferred::Subscribe { key, id, since } => {
                self.carry_out_subscribe(now, stream, key, id, since);
            }
            Deferred::Message { key, id, message } => {
                let result = self.with_live(stream, |live, context| {
                    live_message(live, context, now, key, id.clone(), message)
                });
                if let Some(Err(error)) = result {
                    self.context.refuse(now, key, id, error);
                }
            }
            Deferred::Http {
                request,
                caller,
                wanted,
            } => self.carry_out_request(now, stream, request, caller, wanted),
        }
    }

    fn carry_out_subscribe(
        &mut self,
        now: Now,
        stream: &StreamName,
        key: Key,
        id: Option<String>,
        since: Option<Position>,
    ) {
        if !self.context.sessions.is_attached(key) {
            return;
        }
        let is_path = id.is_none()
            && self.context.sessions.get(key).is_some_and(|session| {
                session.default_channel == Some(Channel::Live(stream.clone()))
            });
        let acked = id.clone();
        let result = self.with_live(stream, |live, context| {
            live.subscribe(context, now, key, since.as_ref())
        });
        match result {
            Some(Err(error)) if is_path => self.refuse_path(now, key, error),
            Some(Err(error)) => self.context.refuse(now, key, id, error),
            Some(Ok(())) | None => self.context.ack(now, key, acked, object([])),
        }
    }

    /// The connection that a session names, when it is its own.
    fn own_peer(
        &self,
        key: Key,
        wire_id: &str,
        side: Side,
    ) -> Result<(MediaId, StreamName), Error> {
        self.context
            .peers
            .by_wire_id(wire_id)
            .filter(|(_, peer)| peer.owner == Owner::Session(key) && peer.side == side)
            .map(|(media, peer)| (media, peer.stream.clone()))
            .ok_or_else(|| Error::not_found("session: no such connection of yours"))
    }

    fn offer(&mut self, now: Now, key: Key, id: Option<String>, sdp: Sdp) {
        let result = match self.own_peer(key, &sdp.session, Side::Publisher) {
            Ok((media, stream)) => self
                .with_live(&stream, |live, context| {
                    live.offer(context, now, media, key, id.clone(), sdp.sdp)
                })
                .unwrap_or(Ok(())),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.context.refuse(now, key, id, error);
        }
    }

    fn answer(&mut self, now: Now, key: Key, id: Option<String>, sdp: Sdp) {
        match self.own_peer(key, &sdp.session, Side::Viewer) {
            Ok((media, _)) => {
                self.context.ask_media(MediaIntent::Answer {
                    media,
                    sdp: sdp.sdp,
                });
                self.context.ack(now, key, id, object([]));
            }
            Err(error) => self.context.refuse(now, key, id, error),
        }
    }

    fn candidate(&mut self, now: Now, key: Key, id: Option<String>, candidate: IceCandidate) {
        let found = self
            .own_peer(key, &candidate.session, Side::Publisher)
            .or_else(|_| self.own_peer(key, &candidate.session, Side::Viewer));
        let result = found.and_then(|(media, _)| {
            let phase = self.context.peers.get(media).map(|peer| peer.phase);
            if phase == Some(Phase::Reserved) {
                return Err(Error::conflict("session: offer before candidates"));
            }
            Ok(media)
        });
        match result {
            Ok(media) => {
                self.context.ask_media(MediaIntent::Candidate {
                    media,
                    candidate: candidate.candidate.unwrap_or_default(),
                });
                self.context.ack(now, key, id, object([]));
            }
            Err(error) => self.context.refuse(now, key, id, error),
        }
    }
}

/// A message about a stream, whose state is there.
fn live_message(
    live: &mut Live,
    context: &mut crate::context::Context,
    now: Now,
    key: Key,
    id: Option<String>,
    message: ClientMessage,
) -> Result<(), Error> {
    if !context.sessions.is_attached(key) {
        return Ok(());
    }
    let text = |reason: Option<crate::message::text::Text<0, 200>>| {
        reason
            .map(|reason| reason.into_string())
            .filter(|reason| !reason.is_empty())
    };
    match message {
        ClientMessage::StartStream(start) => live.start_stream(context, now, key, id, start),
        ClientMessage::EndStream(Empty {}) => end_stream(live, context, now, key, id),
        ClientMessage::Watch(watch) => live.watch(context, now, key, id, watch),
        ClientMessage::StopWatching(stop) => live.stop_watching(context, now, key, id, &stop),
        ClientMessage::SetQuality(wanted) => live.set_quality(context, now, key, id, &wanted),
        ClientMessage::Comment(write) => live.comment(context, now, key, id, write),
        ClientMessage::DeleteComment(by_id) => {
            live.delete_comment(context, now, key, id, by_id.id.into_string())
        }
        ClientMessage::Kick(kick) => {
            let (user, reason) = (kick.user_id, text(kick.reason));
            let decide = |_: &Live, _: &_| Decision::Kick;
            live.moderate(context, now, key, id, user, reason, decide)
        }
        ClientMessage::Ban(ban) => {
            let (user, reason) = (ban.user_id, text(ban.reason));
            let (who, why) = (user.clone(), reason.clone());
            let decide = |live: &Live, by: &_| live.new_ban(now, who, by, why);
            live.moderate(context, now, key, id, user, reason, decide)
        }
        ClientMessage::Unban(unban) => {
            let (user, reason) = (unban.user_id, text(unban.reason));
            let decide = |_: &Live, _: &_| Decision::Unban;
            live.moderate(context, now, key, id, user, reason, decide)
        }
        ClientMessage::Timeout(timeout) => {
            let limit = context.config.chat.timeout_max;
            let seconds = timeout.seconds;
            if seconds == 0 || Duration::from_secs(seconds) > limit {
                let expected = format!("expected 1 to {}", limit.as_secs());
                return Err(Error::invalid_field("data.seconds", expected));
            }
            let (user, reason) = (timeout.user_id, text(timeout.reason));
            let (who, why) = (user.clone(), reason.clone());
            let decide = |live: &Live, by: &_| live.new_timeout(now, who, by, why, seconds);
            live.moderate(context, now, key, id, user, reason, decide)
        }
        ClientMessage::SlowMode(slow_mode) => live.set_slow_mode(context, key, id, slow_mode),
        ClientMessage::PinComment(pin) => live.pin_comment(context, key, id, &pin),
        ClientMessage::SetRole(set) => live.set_role(context, now, key, id, set.user_id, set.role),
        ClientMessage::Reaction(reaction) => live.react(context, now, key, id, reaction.emoji),
        ClientMessage::Subscribe(_)
        | ClientMessage::Unsubscribe(_)
        | ClientMessage::Ping(_)
        | ClientMessage::Pong(_)
        | ClientMessage::RefreshToken(_)
        | ClientMessage::WebrtcOffer(_)
        | ClientMessage::WebrtcAnswer(_)
        | ClientMessage::IceCandidate(_)
        | ClientMessage::ChatMessage(_)
        | ClientMessage::EditMessage(_)
        | ClientMessage::DeleteMessage(_)
        | ClientMessage::Typing(_)
        | ClientMessage::MarkDelivered(_)
        | ClientMessage::MarkRead(_)
        | ClientMessage::History(_)
        | ClientMessage::AddMembers(_)
        | ClientMessage::RemoveMember(_)
        | ClientMessage::LeaveRoom(_)
        | ClientMessage::RenameRoom(_)
        | ClientMessage::SetMemberRole(_)
        | ClientMessage::NotificationRead(_)
        | ClientMessage::MarkAllRead(_) => {
            let what = "this type is not about a stream";
            Err(Error::new(ErrorCode::UnknownType, what))
        }
    }
}

fn end_stream(
    live: &mut Live,
    context: &mut crate::context::Context,
    now: Now,
    key: Key,
    id: Option<String>,
) -> Result<(), Error> {
    let may_end = context
        .sessions
        .get(key)
        .is_some_and(|session| live.may_end(&session.caller));
    if !may_end {
        return Err(Error::forbidden("the token does not grant publish"));
    }
    live.end_stream(context, now, EndReason::Ended)?;
    let stream_id = serde_json::Value::from(live.stream.as_str());
    context.ack(now, key, id, object([("stream_id", stream_id)]));
    Ok(())
}
