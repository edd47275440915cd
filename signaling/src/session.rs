//! One client: who it is, what it follows, watches and publishes, and when it was last heard.
//!
//! A session outlives its socket: for the resume window it waits, detached, for the client to come back with its resume
//! token. It is destroyed when nobody comes, or at once when it was sent away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::close::CloseCode;
use crate::config;
use crate::grants::Caller;
use crate::id::{Channel, SessionId, StreamName};
use crate::media::MediaId;
use crate::outbox::Outbox;
use crate::peers::Side;
use crate::rate_limit::Bucket;
use crate::time::Now;

/// Number of a session inside the hub; it stays when the session moves to another socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) serial: u32,
    /// The socket; none while detached.
    pub(crate) socket: Option<SessionId>,
    pub(crate) detached_at: Option<Instant>,
    /// `session_id` of the wire.
    pub(crate) wire_id: String,
    pub(crate) resume_token: String,
    pub(crate) caller: Caller,
    /// When the token ends.
    pub(crate) expires_at: Instant,
    /// The channel of the path.
    pub(crate) default_channel: Option<Channel>,
    pub(crate) outbox: Outbox,
    /// Whether it is in the list of sessions with something to write.
    pub(crate) is_ready: bool,
    /// Set when it is to be closed; nothing is delivered from then on.
    pub(crate) ending: Option<Ending>,
    pub(crate) last_heard: Instant,
    pub(crate) last_ping: Instant,
    pub(crate) messages: Bucket,
    pub(crate) reactions: Bucket,
    pub(crate) abuse: Bucket,
    pub(crate) subscriptions: BTreeSet<Channel>,
    /// What it watches, by stream.
    pub(crate) watches: BTreeMap<StreamName, MediaId>,
    /// Streams on which it publishes or is about to, with the number of its connections there: two while one replaces
    /// the other.
    pub(crate) publishing: BTreeMap<StreamName, usize>,
    /// An open `refresh_token`, with the id of the request.
    pub(crate) verifying: Option<Option<String>>,
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

/// How a session ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) code: CloseCode,
    pub(crate) reason: String,
    /// What becomes of its state.
    pub(crate) fate: Fate,
}

/// What becomes of a session's state when its socket closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It can be resumed.
    Resumable,
    /// It is over, and its media is closed.
    Destroyed,
}

impl Session {
    pub(crate) fn new(
        now: Now,
        socket: SessionId,
        caller: Caller,
        wire_id: String,
        config: &config::Config,
    ) -> Self {
        let (limits, chat) = (&config.session, &config.chat);
        let at = now.mono;
        Self {
            serial: 0,
            socket: Some(socket),
            detached_at: None,
            wire_id,
            resume_token: String::new(),
            expires_at: now.mono_at(caller.expires_at_ms),
            caller,
            default_channel: None,
            outbox: Outbox::new(),
            is_ready: false,
            ending: None,
            last_heard: at,
            last_ping: at,
            messages: Bucket::per_second(limits.messages_per_second, limits.messages_burst, at),
            reactions: Bucket::per_second(chat.reactions_per_second, chat.reactions_burst, at),
            abuse: Bucket::per_second(limits.abuse_forgiven_per_second, limits.abuse_budget, at),
            subscriptions: BTreeSet::new(),
            watches: BTreeMap::new(),
            publishing: BTreeMap::new(),
            verifying: None,
            scheduled: None,
        }
    }

    /// One of its connections is gone.
    pub(crate) fn forget_peer(&mut self, stream: &StreamName, media: MediaId, side: Side) {
        match side {
            Side::Viewer if self.watches.get(stream) == Some(&media) => {
                self.watches.remove(stream);
            }
            Side::Viewer => {}
            Side::Publisher => {
                if let Some(count) = self.publishing.get_mut(stream) {
                    *count -= 1;
                    if *count == 0 {
                        self.publishing.remove(stream);
                    }
                }
            }
        }
    }

    /// Whether it has a socket that is not being closed.
    pub(crate) fn is_attached(&self) -> bool {
        self.socket.is_some() && self.ending.is_none()
    }

    /// When something is next due.
    pub(crate) fn deadline(&self, limits: &config::Session, is_draining: bool) -> Option<Instant> {
        if let Some(detached_at) = self.detached_at {
            // While draining, media lives as long as the process does.
            return (!is_draining).then(|| detached_at + limits.resume_window);
        }
        let idle = self.last_heard + limits.idle_timeout;
        let ping = self.last_heard.max(self.last_ping) + limits.heartbeat;
        Some(idle.min(ping).min(self.expires_at))
    }
}
