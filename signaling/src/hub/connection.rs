//! Sockets come, go, move and end; sessions outlive them for a while.

use std::time::Duration;

use rand::Rng;
use serde_json::Value;

use super::{Connect, Departure, Hub, Output, Timer, VerifyError};
use crate::close::CloseCode;
use crate::context::{encode_frame, object};
use crate::envelope::Metadata;
use crate::error::{Error, Rule};
use crate::grants::Caller;
use crate::id::{Channel, SessionId, StreamName};
use crate::message::ServerMessage;
use crate::message::connection::{ConnectionEstablished, Draining, Empty};
use crate::session::{Ending, Fate, Key, Session};
use crate::time::{Now, millis, rfc3339};

impl Hub {
    pub(super) fn connect(&mut self, now: Now, socket: SessionId, connect: Connect) {
        let Connect {
            caller,
            channel,
            resume,
        } = connect;
        if self.context.is_draining {
            return self.turn_away(now, socket);
        }
        let resumed = resume
            .and_then(|token| self.context.sessions.by_resume_token(&token))
            .filter(|key| {
                let session = self.context.sessions.get(*key);
                session.is_some_and(|session| session.caller.user.id == caller.user.id)
            });
        let key = match resumed {
            Some(key) => {
                self.resume(now, key, socket, caller);
                key
            }
            None => {
                if !self.make_room(now, &caller) {
                    self.context.stats.sessions_refused += 1;
                    self.context.outputs.push_back(Output::Close {
                        session: socket,
                        code: CloseCode::RateLimited,
                        reason: "too many sessions".to_owned(),
                    });
                    return;
                }
                let wire_id = self.context.random_id();
                let session = Session::new(now, socket, caller, wire_id, &self.context.config);
                self.context.sessions.insert(session)
            }
        };
        self.context.stats.connects += 1;
        self.chat.handle_attached(&mut self.context, now, key);
        let token = self.context.random_id();
        self.context.sessions.set_resume_token(key, token);
        self.greet(now, key, resumed.is_some(), channel.as_ref());
        self.schedule_session(key);
        if let Some(channel) = channel {
            self.subscribe(now, key, None, &channel, None);
        }
    }

    fn greet(&mut self, now: Now, key: Key, resumed: bool, channel: Option<&Channel>) {
        let heartbeat = self.context.config.session.heartbeat;
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        session.default_channel = channel.cloned();
        let established = ConnectionEstablished {
            user_id: session.caller.user.id.clone(),
            session_id: session.wire_id.clone(),
            name: session.caller.user.name.clone(),
            heartbeat_ms: millis(heartbeat),
            server_time: now.wall_ms,
            resume_token: session.resume_token.clone(),
            resumed,
        };
        let message = ServerMessage::ConnectionEstablished(established);
        self.context.send(now, key, &message, &Metadata::default());
    }

    /// Takes up an earlier session on a new socket. Its subscriptions are made anew by the client, from the positions it
    /// knows; what it watches and publishes goes on.
    fn resume(&mut self, now: Now, key: Key, socket: SessionId, caller: Caller) {
        self.leave_channels(now, key);
        if let Some(old) = self.context.sessions.attach(key, socket) {
            self.context.outputs.push_back(Output::Close {
                session: old,
                code: CloseCode::Replaced,
                reason: "resumed on another connection".to_owned(),
            });
        }
        self.context.stats.resumes += 1;
        if let Some(session) = self.context.sessions.get_mut(key) {
            session.last_heard = now.mono;
            session.last_ping = now.mono;
            session.verifying = None;
        }
        self.take_caller(now, key, caller);
    }

    /// Whether there is room for one more session of this user; sessions nobody has come back to make room.
    fn make_room(&mut self, now: Now, caller: &Caller) -> bool {
        let limits = &self.context.config.session;
        let (max, max_per_user) = (limits.max_sessions, limits.max_sessions_per_user);
        let of_user: Vec<Key> = self.context.sessions.of_user(&caller.user.id).collect();
        if of_user.len() >= max_per_user {
            let detached = of_user
                .into_iter()
                .find(|key| !self.context.sessions.is_attached(*key));
            let Some(key) = detached else {
                return false;
            };
            self.destroy(now, key, false);
        }
        if self.context.sessions.len() >= max {
            let Some(key) = self.context.sessions.oldest_detached() else {
                return false;
            };
            self.destroy(now, key, false);
        }
        true
    }

    pub(super) fn disconnect(&mut self, now: Now, socket: SessionId, departure: Departure) {
        if self.context.sessions.forget_parting(socket) {
            return;
        }
        let Some(key) = self.context.sessions.by_socket(socket) else {
            return;
        };
        self.leave_channels(now, key);
        self.context.sessions.detach(key, now.mono);
        self.chat.handle_detached(&self.context, now, key);
        match departure {
            Departure::Left => self.destroy(now, key, false),
            Departure::Lost => self.schedule_session(key),
        }
    }

    /// Ends every subscription of a session.
    fn leave_channels(&mut self, now: Now, key: Key) {
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        for channel in std::mem::take(&mut session.subscriptions) {
            match channel {
                Channel::Live(stream) => {
                    self.with_live(&stream, |live, context| live.unsubscribe(context, key));
                }
                Channel::Streams => self.directory.unsubscribe(key),
                Channel::Chat(_) | Channel::Chats => {
                    self.chat.unsubscribe(&mut self.context, now, key, &channel);
                }
                Channel::Notifications => {
                    self.notifications.unsubscribe(&mut self.context, key);
                }
            }
        }
    }

    /// Closes a session that was marked to end in this turn.
    pub(super) fn finish_ending(&mut self, now: Now, key: Key) {
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        let Some(ending) = session.ending.take() else {
            return;
        };
        self.leave_channels(now, key);
        let fate = ending.fate;
        if let Some((socket, outbox)) = self.context.sessions.detach(key, now.mono) {
            self.chat.handle_detached(&self.context, now, key);
            self.part(now, socket, outbox, ending);
        }
        match fate {
            Fate::Resumable => self.schedule_session(key),
            Fate::Destroyed => self.destroy(now, key, true),
        }
    }

    fn part(&mut self, now: Now, socket: SessionId, outbox: crate::outbox::Outbox, ending: Ending) {
        let context = &mut self.context;
        let limits = &context.config.outbox;
        context
            .sessions
            .part(socket, outbox, ending, limits, &mut context.outputs);
        let until = now.mono + context.config.session.close_linger;
        if let Some(parting) = context.sessions.parting_mut(socket) {
            let timer = Timer::Parting(socket);
            self.timers
                .schedule(&timer, &mut parting.scheduled, Some(until));
        }
    }

    /// Forgets a session and closes what it watches. What it publishes goes on while its media is heard, unless it was
    /// sent away or its token has ended (`is_cut`).
    fn destroy(&mut self, now: Now, key: Key, is_cut: bool) {
        self.leave_channels(now, key);
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        let mut scheduled = session.scheduled.take();
        let watches = std::mem::take(&mut session.watches);
        let publishing = std::mem::take(&mut session.publishing);
        let expires_at = session.expires_at;
        self.timers
            .schedule(&Timer::Session(key), &mut scheduled, None);
        // Removed first: nothing that follows is told to a session that is over.
        self.context.sessions.remove(key);
        for (stream, media) in watches {
            self.with_live(&stream, |live, context| {
                live.close_viewer(context, now, media, "session over");
            });
        }
        for stream in publishing.into_keys() {
            self.with_live(&stream, |live, context| {
                if is_cut {
                    live.close_publisher_of(context, now, key, "session over");
                } else {
                    live.handle_session_over(context, now, key, expires_at);
                }
            });
        }
    }

    pub(super) fn schedule_session(&mut self, key: Key) {
        let limits = &self.context.config.session;
        let is_draining = self.context.is_draining;
        if let Some(session) = self.context.sessions.get_mut(key) {
            let deadline = session.deadline(limits, is_draining);
            self.timers
                .schedule(&Timer::Session(key), &mut session.scheduled, deadline);
        }
    }

    /// Pings, closes or forgets a session whose time has come.
    pub(super) fn session_timeout(&mut self, now: Now, key: Key) {
        let limits = self.context.config.session.clone();
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        session.scheduled = None;
        let due = |at: std::time::Instant| at <= now.mono;
        if let Some(detached_at) = session.detached_at {
            if due(detached_at + limits.resume_window) && !self.context.is_draining {
                let is_expired = due(session.expires_at);
                return self.destroy(now, key, is_expired);
            }
            return self.schedule_session(key);
        }
        if due(session.expires_at) {
            self.context.stats.token_expiries += 1;
            let reason = "the token has expired";
            self.context
                .sessions
                .end(key, CloseCode::TokenExpired, reason, Fate::Resumable);
        } else if due(session.last_heard + limits.idle_timeout) {
            self.context.stats.idle_closes += 1;
            let reason = "nothing was heard";
            self.context
                .sessions
                .end(key, CloseCode::Idle, reason, Fate::Resumable);
        } else {
            if due(session.last_heard.max(session.last_ping) + limits.heartbeat) {
                session.last_ping = now.mono;
                if let Some(socket) = session.socket {
                    let ping = Output::Ping { session: socket };
                    self.context.outputs.push_back(ping);
                }
                let ping = ServerMessage::Ping(Empty {});
                self.context.send(now, key, &ping, &Metadata::default());
            }
            self.schedule_session(key);
        }
    }

    /// A token that was to extend a session has been checked.
    pub(super) fn verified(&mut self, now: Now, key: Key, result: Result<Caller, VerifyError>) {
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        let Some(id) = session.verifying.take() else {
            return;
        };
        let caller = match result {
            Ok(caller) if caller.user.id == session.caller.user.id => caller,
            Ok(_) => {
                let error = Error::forbidden("token: expected one of the same user");
                return self.context.refuse(now, key, id, error);
            }
            Err(VerifyError { reason }) => {
                let error = Error::forbidden(format!("token: {reason}"));
                return self.context.refuse(now, key, id, error);
            }
        };
        let expires_at = Value::from(rfc3339(caller.expires_at_ms));
        self.take_caller(now, key, caller);
        self.context
            .ack(now, key, id, object([("expires_at", expires_at)]));
        self.schedule_session(key);
    }

    /// A session has a new token: what it no longer grants ends.
    fn take_caller(&mut self, now: Now, key: Key, caller: Caller) {
        let Some(session) = self.context.sessions.get_mut(key) else {
            return;
        };
        session.expires_at = now.mono_at(caller.expires_at_ms);
        session.caller = caller;
        let subscribed = session.subscriptions.iter().filter_map(|channel| {
            let Channel::Live(stream) = channel else {
                return None;
            };
            Some(stream.clone())
        });
        let mut streams: std::collections::BTreeSet<StreamName> = subscribed.collect();
        streams.extend(session.watches.keys().cloned());
        streams.extend(session.publishing.keys().cloned());
        self.chat.handle_new_grants(&mut self.context, now, key);
        for stream in streams {
            self.with_live(&stream, |live, context| {
                live.handle_new_grants(context, now, key);
            });
        }
    }

    /// The default channel of the path refused the session: without it the socket is of no use.
    pub(super) fn refuse_path(&mut self, now: Now, key: Key, error: Error) {
        let code = match error.rule {
            Some(Rule::Banned | Rule::Kicked) => CloseCode::Removed,
            Some(Rule::Timeout | Rule::SlowMode | Rule::Blocked) | None => CloseCode::Unauthorised,
        };
        let reason = error.message.clone();
        self.context.refuse(now, key, None, error);
        self.context
            .sessions
            .end(key, code, reason, Fate::Destroyed);
    }

    pub(super) fn drain(&mut self, now: Now, grace: Duration) {
        self.context.is_draining = true;
        let sessions = self.context.sessions.len();
        tracing::info!(sessions, grace_ms = millis(grace), "draining");
        let keys: Vec<Key> = self.context.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            let message = self.draining_message();
            self.context.send(now, key, &message, &Metadata::default());
            if self.context.sessions.is_attached(key) {
                let reason = "the server is about to be replaced";
                self.context
                    .sessions
                    .end(key, CloseCode::Draining, reason, Fate::Resumable);
            }
            self.schedule_session(key);
        }
    }

    fn draining_message(&mut self) -> ServerMessage {
        let limits = &self.context.config.session;
        let least = millis(limits.drain_delay_min);
        let most = least + millis(limits.drain_spread);
        ServerMessage::Draining(Draining {
            reconnect_after_ms: self.context.rng.random_range(least..=most),
        })
    }

    /// Tells a socket that came while draining when to come back.
    fn turn_away(&mut self, now: Now, socket: SessionId) {
        let message = self.draining_message();
        let frame = encode_frame(&message, now.wall_ms, &Metadata::default(), 0);
        self.context.outputs.push_back(Output::Write {
            session: socket,
            frames: vec![frame.bytes],
        });
        self.context.outputs.push_back(Output::Close {
            session: socket,
            code: CloseCode::Draining,
            reason: "the server is about to be replaced".to_owned(),
        });
    }
}
