//! The hub: all sessions and channels of this node, as one state machine.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::api;
use crate::close::CloseCode;
use crate::config::Config;
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{Channel, RequestId, SessionId};
use crate::media::{MediaIntent, MediaReply};
use crate::stats::Snapshot;
use crate::store::{StoreReply, StoreRequest};
use crate::time::Now;

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
    /// A session's heartbeat, idle timeout, token or resume window.
    Session,
    /// Something of a live stream: counts, grace, waiting requests.
    Live,
    /// The directory of streams has news.
    Directory,
}

/// All sessions and channels of this node.
#[derive(Debug)]
pub struct Hub {
    config: Config,
}

impl Hub {
    /// A hub without sessions. The seed decides every id and token it will hand out: random in production, fixed in
    /// tests.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let _ = seed;
        Self { config }
    }

    /// A socket was upgraded and its token verified.
    pub fn handle_connect(&mut self, now: Now, session: SessionId, connect: Connect) {
        let _ = (now, session, connect, &self.config);
    }

    /// One text message arrived.
    pub fn handle_message(&mut self, now: Now, session: SessionId, message: &[u8]) {
        let _ = (now, session, message);
    }

    /// Something else arrived that shows the other end is there: a pong frame.
    pub fn handle_heard(&mut self, now: Now, session: SessionId) {
        let _ = (now, session);
    }

    /// The last [`Output::Write`] of the session has left.
    pub fn handle_written(&mut self, now: Now, session: SessionId) {
        let _ = (now, session);
    }

    /// The socket is gone.
    pub fn handle_disconnect(&mut self, now: Now, session: SessionId) {
        let _ = (now, session);
    }

    /// Answers [`Output::Verify`].
    pub fn handle_verified(
        &mut self,
        now: Now,
        session: SessionId,
        result: Result<Caller, VerifyError>,
    ) {
        let _ = (now, session, result);
    }

    /// A request came over HTTP. Answered by [`Output::Reply`].
    pub fn handle_request(
        &mut self,
        now: Now,
        request: RequestId,
        caller: Caller,
        ask: api::Request,
    ) {
        let _ = (now, request, caller, ask);
    }

    /// Whoever made a request is gone; nothing needs to be answered, what was created is closed.
    pub fn handle_request_gone(&mut self, now: Now, request: RequestId) {
        let _ = (now, request);
    }

    /// The media plane says something.
    pub fn handle_media(&mut self, now: Now, reply: MediaReply) {
        let _ = (now, reply);
    }

    /// The store says something.
    pub fn handle_store(&mut self, now: Now, reply: StoreReply) {
        let _ = (now, reply);
    }

    /// The process will end in `grace`: tells every session when to come back and closes it; new ones are turned away.
    pub fn handle_drain(&mut self, now: Now, grace: Duration) {
        let _ = (now, grace);
    }

    /// The moment of [`Hub::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        let _ = now;
    }

    /// The next thing to do. After each `handle_*`, call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When to call [`Hub::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        Snapshot::default()
    }
}
