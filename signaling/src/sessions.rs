//! All sessions of this node: by number, socket, user and resume token, and their way out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use slab::Slab;

use crate::close::CloseCode;
use crate::config::{self, Config};
use crate::hub::Output;
use crate::id::{SessionId, UserId};
use crate::outbox::{Frame, Outbox, Pushed};
use crate::session::{Ending, Fate, Key, Session};
use crate::stats::MESSAGE_TYPES;

/// All sessions of this node.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Slab<Session>,
    next_serial: u32,
    /// Looked up, never iterated: the order of a hash map would make runs differ.
    sockets: HashMap<SessionId, Key>,
    resume_tokens: HashMap<String, Key>,
    users: BTreeMap<UserId, BTreeSet<Key>>,
    /// The longest detached first.
    detached: BTreeSet<(Instant, Key)>,
    /// Sockets that are being closed once what was queued is written.
    partings: BTreeMap<SessionId, Parting>,
    /// Sessions with something to write and nothing in flight.
    ready: VecDeque<Key>,
    /// Sessions to be closed at the end of this turn.
    endings: VecDeque<Key>,
    pub(crate) counters: Counters,
}

/// What the sessions count.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) sent: [u64; MESSAGE_TYPES.len()],
    pub(crate) received: [u64; MESSAGE_TYPES.len()],
    pub(crate) dropped: u64,
    pub(crate) slow_consumers: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            sent: [0; MESSAGE_TYPES.len()],
            received: [0; MESSAGE_TYPES.len()],
            dropped: 0,
            slow_consumers: 0,
        }
    }
}

/// A socket on its way out.
#[derive(Debug)]
pub(crate) struct Parting {
    outbox: Outbox,
    code: CloseCode,
    reason: String,
    pub(crate) scheduled: Option<Instant>,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slab::new(),
            next_serial: 0,
            sockets: HashMap::new(),
            resume_tokens: HashMap::new(),
            users: BTreeMap::new(),
            detached: BTreeSet::new(),
            partings: BTreeMap::new(),
            ready: VecDeque::new(),
            endings: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Sessions, attached or not.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Session> {
        self.slots
            .get(key.index as usize)
            .filter(|session| session.serial == key.serial)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|session| session.serial == key.serial)
    }

    pub(crate) fn by_socket(&self, socket: SessionId) -> Option<Key> {
        self.sockets.get(&socket).copied()
    }

    pub(crate) fn by_resume_token(&self, token: &str) -> Option<Key> {
        self.resume_tokens.get(token).copied()
    }

    /// The sessions of a user, attached or not.
    pub(crate) fn of_user(&self, user: &UserId) -> impl Iterator<Item = Key> + use<'_> {
        self.users.get(user).into_iter().flatten().copied()
    }

    pub(crate) fn is_attached(&self, key: Key) -> bool {
        self.get(key).is_some_and(Session::is_attached)
    }

    /// Whether a session is the one with this `session_id`.
    pub(crate) fn is_named(&self, key: Key, wire_id: &str) -> bool {
        self.get(key)
            .is_some_and(|session| session.wire_id == wire_id)
    }

    pub(crate) fn oldest_detached(&self) -> Option<Key> {
        self.detached.first().map(|(_, key)| *key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Session)> {
        self.slots.iter().map(|(index, session)| {
            let key = Key {
                index: u32::try_from(index).unwrap_or(u32::MAX),
                serial: session.serial,
            };
            (key, session)
        })
    }

    /// Adds an attached session.
    pub(crate) fn insert(&mut self, mut session: Session) -> Key {
        let entry = self.slots.vacant_entry();
        let key = Key {
            index: u32::try_from(entry.key()).expect("sessions are bounded by the configuration"),
            serial: self.next_serial,
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        session.serial = key.serial;
        let (socket, user) = (session.socket, session.caller.user.id.clone());
        entry.insert(session);
        if let Some(socket) = socket {
            self.sockets.insert(socket, key);
        }
        self.users.entry(user).or_default().insert(key);
        key
    }

    /// Gives the session a new resume token; the old one is void.
    pub(crate) fn set_resume_token(&mut self, key: Key, token: String) {
        let Some(session) = self.get_mut(key) else {
            return;
        };
        let old = std::mem::replace(&mut session.resume_token, token.clone());
        self.resume_tokens.remove(&old);
        self.resume_tokens.insert(token, key);
    }

    /// Moves the session to a new socket, with an empty outbox. Answers the old socket when it was still there.
    pub(crate) fn attach(&mut self, key: Key, socket: SessionId) -> Option<SessionId> {
        let session = self.get_mut(key)?;
        let old = session.socket.replace(socket);
        let detached_at = session.detached_at.take();
        session.outbox = Outbox::new();
        if let Some(at) = detached_at {
            self.detached.remove(&(at, key));
        }
        if let Some(old) = old {
            self.sockets.remove(&old);
        }
        self.sockets.insert(socket, key);
        old
    }

    /// Takes the socket away; the session waits to be resumed. Answers the socket and what was queued for it.
    pub(crate) fn detach(&mut self, key: Key, now: Instant) -> Option<(SessionId, Outbox)> {
        let session = self.get_mut(key)?;
        let socket = session.socket.take()?;
        session.detached_at = Some(now);
        session.ending = None;
        session.verifying = None;
        let outbox = std::mem::take(&mut session.outbox);
        self.sockets.remove(&socket);
        self.detached.insert((now, key));
        Some((socket, outbox))
    }

    /// Forgets a session.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Session> {
        self.get(key)?;
        let session = self.slots.remove(key.index as usize);
        self.resume_tokens.remove(&session.resume_token);
        if let Some(socket) = session.socket {
            self.sockets.remove(&socket);
        }
        if let Some(at) = session.detached_at {
            self.detached.remove(&(at, key));
        }
        let user = &session.caller.user.id;
        if let Some(keys) = self.users.get_mut(user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.users.remove(user);
            }
        }
        Some(session)
    }

    /// Queues a message for a session; one that has no room for it is closed at the end of this turn.
    pub(crate) fn deliver(&mut self, key: Key, frame: Frame, limits: &config::Outbox) {
        let Some(session) = self
            .slots
            .get_mut(key.index as usize)
            .filter(|session| session.serial == key.serial && session.is_attached())
        else {
            return;
        };
        match session.outbox.push(frame, limits) {
            Pushed::Queued { dropped } => {
                self.counters.dropped += dropped;
                if !session.is_ready {
                    session.is_ready = true;
                    self.ready.push_back(key);
                }
            }
            Pushed::Overflow => {
                self.counters.slow_consumers += 1;
                // What is queued would only keep the socket busy: the client recovers it all when it comes back.
                session.outbox = Outbox::new();
                session.ending = Some(Ending {
                    code: CloseCode::TooSlow,
                    reason: "reads too slowly".to_owned(),
                    fate: Fate::Resumable,
                });
                self.endings.push_back(key);
            }
        }
    }

    /// Marks a session to be closed at the end of this turn; what is queued still goes out, nothing new does.
    pub(crate) fn end(&mut self, key: Key, code: CloseCode, reason: impl Into<String>, fate: Fate) {
        let Some(session) = self.get_mut(key) else {
            return;
        };
        if let Some(ending) = &mut session.ending {
            // Being sent away outweighs being slow.
            if fate == Fate::Destroyed {
                ending.fate = fate;
                ending.code = code;
                ending.reason = reason.into();
            }
            return;
        }
        session.ending = Some(Ending {
            code,
            reason: reason.into(),
            fate,
        });
        self.endings.push_back(key);
    }

    /// The next session to be closed.
    pub(crate) fn next_ending(&mut self) -> Option<Key> {
        self.endings.pop_front()
    }

    /// Keeps what is queued for a socket that is to be closed, and closes it when that has been handed out.
    pub(crate) fn part(
        &mut self,
        socket: SessionId,
        outbox: Outbox,
        ending: Ending,
        limits: &config::Outbox,
        outputs: &mut VecDeque<Output>,
    ) {
        let parting = Parting {
            outbox,
            code: ending.code,
            reason: ending.reason,
            scheduled: None,
        };
        self.partings.insert(socket, parting);
        self.pump_parting(socket, limits, outputs);
    }

    fn pump_parting(
        &mut self,
        socket: SessionId,
        limits: &config::Outbox,
        outputs: &mut VecDeque<Output>,
    ) {
        let Some(parting) = self.partings.get_mut(&socket) else {
            return;
        };
        let sent = &mut self.counters.sent;
        let frames = parting
            .outbox
            .next_batch(limits, |kind| sent[usize::from(kind)] += 1);
        if !frames.is_empty() {
            outputs.push_back(Output::Write {
                session: socket,
                frames,
            });
        }
        if parting.outbox.is_empty() {
            self.cut_parting(socket, outputs);
        }
    }

    /// Closes a socket without waiting any longer for what is still queued.
    pub(crate) fn cut_parting(&mut self, socket: SessionId, outputs: &mut VecDeque<Output>) {
        if let Some(parting) = self.partings.remove(&socket) {
            outputs.push_back(Output::Close {
                session: socket,
                code: parting.code,
                reason: parting.reason,
            });
        }
    }

    pub(crate) fn parting_mut(&mut self, socket: SessionId) -> Option<&mut Parting> {
        self.partings.get_mut(&socket)
    }

    /// The socket of a parting is gone by itself.
    pub(crate) fn forget_parting(&mut self, socket: SessionId) -> bool {
        self.partings.remove(&socket).is_some()
    }

    /// The write in flight of a socket has left.
    pub(crate) fn written(
        &mut self,
        socket: SessionId,
        limits: &config::Outbox,
        outputs: &mut VecDeque<Output>,
    ) {
        if let Some(parting) = self.partings.get_mut(&socket) {
            parting.outbox.written();
            self.pump_parting(socket, limits, outputs);
        } else if let Some(key) = self.by_socket(socket)
            && let Some(session) = self.get_mut(key)
        {
            session.outbox.written();
            if !session.outbox.is_empty() && !session.is_ready {
                session.is_ready = true;
                self.ready.push_back(key);
            }
        }
    }

    /// The next batch of some session.
    pub(crate) fn poll_write(&mut self, config: &Config) -> Option<Output> {
        while let Some(key) = self.ready.pop_front() {
            let Some(session) = self
                .slots
                .get_mut(key.index as usize)
                .filter(|session| session.serial == key.serial)
            else {
                continue;
            };
            session.is_ready = false;
            let Some(socket) = session.socket else {
                continue;
            };
            let sent = &mut self.counters.sent;
            let frames = session
                .outbox
                .next_batch(&config.outbox, |kind| sent[usize::from(kind)] += 1);
            if !frames.is_empty() {
                return Some(Output::Write {
                    session: socket,
                    frames,
                });
            }
        }
        None
    }
}
