//! The hub: all sessions and channels of this node, as one state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api;
use crate::broker::Publication;
use crate::chat::Chat;
use crate::close::CloseCode;
use crate::config::Config;
use crate::context::{Context, Waiting};
use crate::directory::Directory;
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{Channel, RequestId, SessionId, StreamName};
use crate::live::{Deferred, Live};
use crate::media::{MediaIntent, MediaReply};
use crate::notifications::Notifications;
use crate::session::Key;
use crate::stats::{MESSAGE_TYPES, Snapshot, TypeCount};
use crate::store::{StoreReply, StoreRequest};
use crate::time::Now;
use crate::timer::Timers;

mod connection;
mod dispatch;
mod media;
mod request;
mod resource;

/// A WebSocket that was upgraded and authenticated.
#[derive(Debug, Clone)]
pub struct Connect {
    /// From the token.
    pub caller: Caller,
    /// The channel of the path, none for the multiplexed `/ws`.
    pub channel: Option<Channel>,
    /// The query parameter `resume`: the `resume_token` of the session to take up again.
    pub resume: Option<String>,
}

/// How a socket went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The other end said goodbye (close codes 1000 and 1001): a closed tab, a page that was left. Nobody will resume the
    /// session.
    Left,
    /// Anything else: the client may come back and resume the session.
    Lost,
}

/// Why a token that was to extend a session was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyError {
    /// What is wrong with it, for whoever wrote the client.
    pub reason: String,
}

/// What the shell must do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send these text messages on the session's socket, in order, then call [`Hub::handle_written`]. Until then there
    /// is no other `Write` for this session.
    Write {
        /// Whose socket.
        session: SessionId,
        /// One text message each; the bytes of a broadcast are shared between sessions.
        frames: Vec<Bytes>,
    },
    /// Send a WebSocket ping frame, behind what is being written. Its pong counts as [`Hub::handle_heard`].
    Ping {
        /// Whose socket.
        session: SessionId,
    },
    /// Close the socket behind what is being written, and cut it when that takes long. The session number is forgotten:
    /// whatever still comes from it is ignored.
    Close {
        /// Whose socket.
        session: SessionId,
        /// For the close frame.
        code: CloseCode,
        /// For the close frame, at most 123 bytes.
        reason: String,
    },
    /// Verify a token and answer with [`Hub::handle_verified`]. At most one is open for a session.
    Verify {
        /// Who wants to go on.
        session: SessionId,
        /// The new token.
        token: String,
    },
    /// Ask the media plane.
    Media(MediaIntent),
    /// Ask the store.
    Store(StoreRequest),
    /// Hand this to every node, this one included, by [`Hub::handle_published`]; publications of one channel in order.
    Publish(Publication),
    /// Answer a request over HTTP; exactly one for each.
    Reply {
        /// Which.
        request: RequestId,
        /// What came of it.
        result: Result<api::Reply, Error>,
    },
}

/// Why the hub asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A session's heartbeat, idle timeout, token or resume window; the token behind a WHIP or WHEP connection.
    Session,
    /// Something of a live stream: counts, grace, waiting requests.
    Live,
    /// The directory of streams has news.
    Directory,
    /// Chat: typing that ends, presence, rooms that nobody needs.
    Chat,
    /// Notifications: a batching window, retention.
    Notifications,
}

/// All sessions and channels of this node.
#[derive(Debug)]
pub struct Hub {
    context: Context,
    lives: BTreeMap<StreamName, Live>,
    directory: Directory,
    chat: Chat,
    notifications: Notifications,
    timers: Timers<Timer>,
    /// Streams that were touched in this turn: their deadlines may have changed, and they may be idle now.
    touched: BTreeSet<StreamName>,
}

/// Whose deadline it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Session(Key),
    Parting(SessionId),
    Peers,
    Live(StreamName),
    Directory,
    Chat,
    Notifications,
}

impl Hub {
    /// A hub without sessions. The seed decides every id and token it will hand out: random in production, fixed in
    /// tests.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let mut context = Context::new(config, seed);
        let directory = Directory::new(&mut context);
        let chat = Chat::new(&mut context);
        Self {
            context,
            lives: BTreeMap::new(),
            directory,
            chat,
            notifications: Notifications::new(),
            timers: Timers::new(),
            touched: BTreeSet::new(),
        }
    }

    /// The limits it runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.context.config
    }

    /// A socket was upgraded and its token verified.
    pub fn handle_connect(&mut self, now: Now, session: SessionId, connect: Connect) {
        self.connect(now, session, connect);
        self.settle(now);
    }

    /// One text message arrived.
    pub fn handle_message(&mut self, now: Now, session: SessionId, message: &[u8]) {
        if let Some(key) = self.context.sessions.by_socket(session) {
            self.receive(now, key, message);
            self.settle(now);
        }
    }

    /// Something else arrived that shows the other end is there: a pong frame.
    pub fn handle_heard(&mut self, now: Now, session: SessionId) {
        if let Some(key) = self.context.sessions.by_socket(session)
            && let Some(session) = self.context.sessions.get_mut(key)
        {
            session.last_heard = now.mono;
        }
    }

    /// The last [`Output::Write`] of the session has left.
    pub fn handle_written(&mut self, now: Now, session: SessionId) {
        let Context {
            sessions,
            config,
            outputs,
            ..
        } = &mut self.context;
        sessions.written(session, &config.outbox, outputs);
        self.settle(now);
    }

    /// The socket is gone.
    pub fn handle_disconnect(&mut self, now: Now, session: SessionId, departure: Departure) {
        self.disconnect(now, session, departure);
        self.settle(now);
    }

    /// Answers [`Output::Verify`].
    pub fn handle_verified(
        &mut self,
        now: Now,
        session: SessionId,
        result: Result<Caller, VerifyError>,
    ) {
        if let Some(key) = self.context.sessions.by_socket(session) {
            self.verified(now, key, result);
            self.settle(now);
        }
    }

    /// A request came over HTTP. Answered by [`Output::Reply`].
    pub fn handle_request(
        &mut self,
        now: Now,
        request: RequestId,
        caller: Caller,
        ask: api::Request,
    ) {
        match self.check_quota(now, &caller, &ask) {
            Ok(()) => self.request(now, request, caller, ask),
            Err(error) => self.answer_at_once(request, Err(error)),
        }
        self.settle(now);
    }

    /// Whoever made a request is gone: nothing needs to be answered, and what was to be created for them is closed.
    pub fn handle_request_gone(&mut self, now: Now, request: RequestId) {
        self.request_gone(now, request);
        self.settle(now);
    }

    /// The media plane says something.
    pub fn handle_media(&mut self, now: Now, reply: MediaReply) {
        self.media(now, reply);
        self.settle(now);
    }

    /// The store says something.
    pub fn handle_store(&mut self, now: Now, reply: StoreReply) {
        let (stream, then) = match self.context.writes.remove(&reply.id) {
            Some(Waiting::Live(stream, then)) => (stream, then),
            Some(Waiting::Chat(then)) => {
                self.chat
                    .handle_stored(&mut self.context, now, then, reply.result);
                return self.settle(now);
            }
            Some(Waiting::Notifications(then)) => {
                self.notifications
                    .handle_stored(&mut self.context, now, then, reply.result);
                return self.settle(now);
            }
            None => return,
        };
        let Some(live) = self.lives.get_mut(&stream) else {
            return;
        };
        let loaded = live.handle_stored(&mut self.context, now, then, reply);
        self.touched.insert(stream.clone());
        if let Some((deferred, error)) = loaded {
            self.resume_deferred(now, &stream, deferred, error);
        }
        self.settle(now);
    }

    /// The broker hands a publication to this node.
    pub fn handle_published(&mut self, now: Now, publication: Publication) {
        match &publication.channel {
            Channel::Live(stream) => {
                let stream = stream.clone();
                self.with_live(&stream, |live, context| {
                    live.handle_published(context, publication);
                });
            }
            Channel::Streams => self
                .directory
                .handle_published(&mut self.context, publication),
            Channel::Chat(_) | Channel::Chats => {
                self.chat
                    .handle_published(&mut self.context, now, publication);
            }
            Channel::Notifications => {
                self.notifications
                    .handle_published(&mut self.context, now, publication);
            }
        }
        self.settle(now);
    }

    /// The process will end in `grace`: tells every session when to come back and closes it; new ones are turned away.
    /// Media goes on.
    pub fn handle_drain(&mut self, now: Now, grace: Duration) {
        self.drain(now, grace);
        self.settle(now);
    }

    /// The moment of [`Hub::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(timer) = self.timers.pop_due(now.mono) {
            match timer {
                Timer::Session(key) => self.session_timeout(now, key),
                Timer::Parting(socket) => {
                    let Context {
                        sessions, outputs, ..
                    } = &mut self.context;
                    sessions.cut_parting(socket, outputs);
                }
                Timer::Peers => {
                    self.context.peers.scheduled = None;
                    self.expire_peers(now);
                }
                Timer::Live(stream) => {
                    if let Some(live) = self.lives.get_mut(&stream) {
                        live.scheduled = None;
                        live.handle_timeout(&mut self.context, now);
                        self.touched.insert(stream);
                    }
                }
                Timer::Directory => self.directory.scheduled = None,
                Timer::Chat => {
                    self.chat.scheduled = None;
                    self.chat.handle_timeout(&mut self.context, now);
                }
                Timer::Notifications => {
                    self.notifications.scheduled = None;
                    self.notifications.handle_timeout(&mut self.context, now);
                }
            }
        }
        self.settle(now);
    }

    /// The next thing to do. After each `handle_*`, call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        let Context {
            outputs,
            sessions,
            config,
            ..
        } = &mut self.context;
        outputs.pop_front().or_else(|| sessions.poll_write(config))
    }

    /// When to call [`Hub::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let (at, timer) = self.timers.first()?;
        let reason = match timer {
            Timer::Session(_) | Timer::Parting(_) | Timer::Peers => Reason::Session,
            Timer::Live(_) => Reason::Live,
            Timer::Directory => Reason::Directory,
            Timer::Chat => Reason::Chat,
            Timer::Notifications => Reason::Notifications,
        };
        Some((*at, reason))
    }

    /// What was counted so far. Walks over all sessions and channels: meant for a scrape, not for every turn.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        let mut stats = self.context.stats.clone();
        for (_, session) in self.context.sessions.iter() {
            stats.outbox_bytes += session.outbox.bytes() as u64;
            match (&session.socket, &session.default_channel) {
                (None, _) => stats.sessions_resumable += 1,
                (Some(_), Some(Channel::Live(_))) => stats.sessions_live += 1,
                (Some(_), Some(Channel::Chat(_))) => stats.sessions_chat += 1,
                (Some(_), Some(Channel::Notifications)) => stats.sessions_notifications += 1,
                (Some(_), Some(Channel::Streams | Channel::Chats) | None) => {
                    stats.sessions_multiplexed += 1;
                }
            }
        }
        stats.channels = self.lives.len() as u64;
        self.chat.fill_stats(&mut stats);
        for live in self.lives.values() {
            stats.live_streams += u64::from(live.is_live());
            stats.live_viewers += live.viewers_count();
        }
        let counters = &self.context.sessions.counters;
        stats.messages_dropped = counters.dropped;
        stats.slow_consumers = counters.slow_consumers;
        stats.messages = MESSAGE_TYPES
            .iter()
            .enumerate()
            .map(|(index, kind)| TypeCount {
                kind,
                received: counters.received[index],
                sent: counters.sent[index],
            })
            .collect();
        stats
    }

    /// The stream's state in memory, loaded or loading.
    fn live_or_load(&mut self, now: Now, stream: &StreamName) -> Result<(), Error> {
        self.touched.insert(stream.clone());
        if self.lives.contains_key(stream) {
            return Ok(());
        }
        if self.lives.len() >= self.context.config.channel.max_channels && !self.evict_idle() {
            self.context.stats.limits_hit += 1;
            return Err(Error::unavailable("too many channels are in use"));
        }
        let live = Live::load(&mut self.context, now, stream.clone());
        self.lives.insert(stream.clone(), live);
        Ok(())
    }

    /// Makes room by forgetting the channel that was idle longest.
    fn evict_idle(&mut self) -> bool {
        let idle = self.lives.values().filter(|live| live.is_loaded());
        let oldest = idle
            .filter_map(|live| Some((live.idle_since()?, live.stream.clone())))
            .min();
        let Some((_, stream)) = oldest else {
            return false;
        };
        self.forget_live(&stream);
        true
    }

    fn forget_live(&mut self, stream: &StreamName) {
        if let Some(mut live) = self.lives.remove(stream) {
            let timer = Timer::Live(stream.clone());
            self.timers.schedule(&timer, &mut live.scheduled, None);
        }
    }

    /// Does with a stream's live state what `act` says, with everything else at hand.
    fn with_live<T>(
        &mut self,
        stream: &StreamName,
        act: impl FnOnce(&mut Live, &mut Context) -> T,
    ) -> Option<T> {
        let live = self.lives.get_mut(stream)?;
        self.touched.insert(stream.clone());
        Some(act(live, &mut self.context))
    }

    /// Does what waited for the stream's state, or refuses it.
    fn resume_deferred(
        &mut self,
        now: Now,
        stream: &StreamName,
        deferred: std::collections::VecDeque<Deferred>,
        error: Option<Error>,
    ) {
        for deferred in deferred {
            match &error {
                None => self.carry_out(now, stream, deferred),
                Some(error) => self.refuse_deferred(now, deferred, error.clone()),
            }
        }
    }

    /// Ends a turn: sessions that must close are closed, idle channels forgotten, timers set.
    fn settle(&mut self, now: Now) {
        while let Some(notice) = self.context.notices.pop_front() {
            self.notifications
                .handle_notice(&mut self.context, now, notice);
        }
        while let Some(key) = self.context.sessions.next_ending() {
            self.finish_ending(now, key);
        }
        self.directory.flush(&mut self.context, now, &self.lives);
        let deadline = self.directory.deadline(&self.context);
        self.timers
            .schedule(&Timer::Directory, &mut self.directory.scheduled, deadline);
        let deadline = self.notifications.deadline(now);
        let scheduled = &mut self.notifications.scheduled;
        self.timers
            .schedule(&Timer::Notifications, scheduled, deadline);
        let peers = &mut self.context.peers;
        let deadline = peers.first_expiry();
        self.timers
            .schedule(&Timer::Peers, &mut peers.scheduled, deadline);
        // Messages of this turn may have overflowed an outbox.
        while let Some(key) = self.context.sessions.next_ending() {
            self.finish_ending(now, key);
        }
        let deadline = self.chat.deadline(&self.context);
        self.timers
            .schedule(&Timer::Chat, &mut self.chat.scheduled, deadline);
        while let Some(stream) = self.touched.pop_first() {
            let Some(live) = self.lives.get_mut(&stream) else {
                continue;
            };
            if live.settle(&self.context, now) {
                self.forget_live(&stream);
                continue;
            }
            let deadline = live.deadline(&self.context);
            self.timers
                .schedule(&Timer::Live(stream), &mut live.scheduled, deadline);
        }
    }
}
