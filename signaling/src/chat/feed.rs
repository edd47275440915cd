//! Hot path. What a room's subscribers are told, in the order of its log: each message is encoded once and handed to all of
//! them, and what was skipped is read from the log before anything behind it goes out.

use std::collections::BTreeMap;

use crate::broker::{Audience, Publication};
use crate::config;
use crate::context::{Context, encode_frame};
use crate::envelope::Metadata;
use crate::history::History;
use crate::id::{Channel, RoomId, UserId};
use crate::message::ServerMessage;
use crate::message::chat::ChatState;
use crate::message::connection::{ChannelState, Position, Subscribed};
use crate::outbox::Frame;
use crate::session::Key;
use crate::time::Now;

/// Subscribers and the newest messages of a room.
#[derive(Debug)]
pub(crate) struct Feed {
    channel: Channel,
    number: u32,
    epoch: String,
    history: History,
    /// The newest position that is known to be taken.
    known_seq: u64,
    /// What came ahead of its turn, by position.
    held: BTreeMap<u64, Publication>,
    subscribers: BTreeMap<Key, UserId>,
    /// Sessions of each user among them.
    present: BTreeMap<UserId, u32>,
    /// Subscriptions that wait for what they missed to be read, with the number of that reading.
    recovering: BTreeMap<Key, u64>,
    next_ticket: u64,
}

/// What a session that comes back can be given.
pub(crate) enum Missed {
    /// Everything, from memory.
    Here(Vec<Frame>),
    /// Everything, from the log.
    InLog,
    /// Not everything.
    TooMuch,
}

impl Feed {
    /// The feed of a room whose log has reached `last_seq`.
    pub(crate) fn new(context: &mut Context, room: &RoomId, epoch: String, last_seq: u64) -> Self {
        let limits = &context.config.rooms;
        let (messages, bytes) = (limits.history_messages, limits.history_bytes);
        Self {
            channel: Channel::Chat(room.clone()),
            number: context.next_channel_number(),
            epoch,
            history: History::starting_at(last_seq, messages, bytes),
            known_seq: last_seq,
            held: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            present: BTreeMap::new(),
            recovering: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Up to here everything has been delivered.
    pub(crate) fn last_seq(&self) -> u64 {
        self.history.last_seq()
    }

    /// Whether something is known to come before what was delivered next.
    pub(crate) fn has_gap(&self) -> bool {
        self.known_seq > self.last_seq()
    }

    /// Notes that a position is taken.
    pub(crate) fn note(&mut self, seq: u64) {
        self.known_seq = self.known_seq.max(seq);
    }

    /// Whether nobody follows.
    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && self.recovering.is_empty() && self.held.is_empty()
    }

    pub(crate) fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    pub(crate) fn is_subscribed(&self, key: Key) -> bool {
        self.subscribers.contains_key(&key)
    }

    /// Whether somebody looks at the room on some device.
    pub(crate) fn is_present(&self, user: &UserId) -> bool {
        self.present.contains_key(user)
    }

    /// A publication with a position has come: kept until its turn.
    pub(crate) fn hold(&mut self, context: &mut Context, seq: u64, publication: Publication) {
        if seq <= self.last_seq() {
            return;
        }
        self.note(seq);
        if self.held.len() >= context.config.rooms.held_max {
            // The log has it as well.
            context.stats.limits_hit += 1;
            return;
        }
        self.held.insert(seq, publication);
    }

    /// The publication whose turn it is.
    pub(crate) fn next_held(&mut self) -> Option<(u64, Publication)> {
        let (seq, _) = self.held.first_key_value()?;
        if *seq != self.last_seq() + 1 {
            return None;
        }
        self.held.pop_first()
    }

    /// Delivers what carries the position after `last_seq`, to everybody.
    pub(crate) fn deliver(&mut self, context: &mut Context, at_ms: u64, message: &ServerMessage) {
        let frame = self.encode(self.last_seq() + 1, at_ms, message);
        for key in self.subscribers.keys() {
            context.deliver(*key, frame.clone());
        }
        self.history.push(frame);
        self.note(self.last_seq());
        while let Some(entry) = self.held.first_entry()
            && *entry.key() <= self.history.last_seq()
        {
            entry.remove();
        }
    }

    /// A message with its position, for any number of sessions.
    pub(crate) fn encode(&self, seq: u64, at_ms: u64, message: &ServerMessage) -> Frame {
        let about = Metadata {
            channel: Some(self.channel.to_string()),
            seq: Some(seq),
            epoch: Some(self.epoch.clone()),
            ..Metadata::default()
        };
        encode_frame(message, at_ms, &about, self.number)
    }

    fn about(&self) -> Metadata {
        Metadata {
            channel: Some(self.channel.to_string()),
            ..Metadata::default()
        }
    }

    /// Delivers what has no position to those who may hear it.
    pub(crate) fn broadcast(&self, context: &mut Context, publication: &Publication) {
        let keys = self.audience(context, &publication.audience);
        if keys.is_empty() {
            return;
        }
        let (message, at_ms) = (&publication.message, publication.at_ms);
        let frame = encode_frame(message, at_ms, &self.about(), self.number);
        for key in keys {
            context.deliver(key, frame.clone());
        }
    }

    fn audience(&self, context: &Context, audience: &Audience) -> Vec<Key> {
        let sessions = &context.sessions;
        let of = |user: &UserId| {
            sessions
                .of_user(user)
                .filter(|key| self.is_subscribed(*key))
        };
        match audience {
            Audience::All => self.subscribers.keys().copied().collect(),
            Audience::Staff => Vec::new(),
            Audience::Except(users) => {
                let meant = self.subscribers.iter();
                meant
                    .filter(|(_, user)| !users.contains(user))
                    .map(|(key, _)| *key)
                    .collect()
            }
            Audience::User(user) => of(user).collect(),
            Audience::Users(users) => users.iter().flat_map(of).collect(),
            Audience::Elsewhere { user, session } => of(user)
                .filter(|key| !sessions.is_named(*key, session))
                .collect(),
        }
    }

    /// What a session that has seen everything up to `since` has missed.
    pub(crate) fn missed(&self, since: &Position, limits: &config::Rooms) -> Missed {
        let Some(count) = self.last_seq().checked_sub(since.seq) else {
            return Missed::TooMuch;
        };
        if since.epoch != self.epoch {
            return Missed::TooMuch;
        }
        if let Some(frames) = self.history.since(since.seq) {
            return Missed::Here(frames.cloned().collect());
        }
        let fits = usize::try_from(count).is_ok_and(|count| count <= limits.recovery_messages);
        if fits && self.recovering.len() < limits.recoveries_max {
            Missed::InLog
        } else {
            Missed::TooMuch
        }
    }

    /// What was delivered after `seq`; none when some of it is no longer here.
    pub(crate) fn since(&self, seq: u64) -> Option<Vec<Frame>> {
        Some(self.history.since(seq)?.cloned().collect())
    }

    /// Keeps a place for a session whose missed messages are being read; answers the number of the reading.
    pub(crate) fn begin_recovery(&mut self, context: &mut Context, key: Key) -> u64 {
        self.unsubscribe(context, key);
        self.next_ticket += 1;
        self.recovering.insert(key, self.next_ticket);
        self.next_ticket
    }

    /// Whether a session still waits for that reading; it no longer does then.
    pub(crate) fn end_recovery(&mut self, key: Key, ticket: u64) -> bool {
        if self.recovering.get(&key) != Some(&ticket) {
            return false;
        }
        self.recovering.remove(&key);
        true
    }

    /// Adds a subscriber: tells it how things stand, then what it missed behind `seq`, when that is known.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        missed: Option<(u64, Vec<Frame>)>,
        state: ChatState,
    ) {
        let subscribed = Subscribed {
            channel: self.channel.clone(),
            epoch: self.epoch.clone(),
            seq: missed.as_ref().map_or(self.last_seq(), |(seq, _)| *seq),
            recovered: missed.is_some(),
            state: ChannelState::Chat(Box::new(state)),
        };
        let message = ServerMessage::Subscribed(Box::new(subscribed));
        context.send(now, key, &message, &self.about());
        for frame in missed.into_iter().flat_map(|(_, frames)| frames) {
            context.deliver(key, frame);
        }
        let Some(session) = context.sessions.get_mut(key) else {
            return;
        };
        session.subscriptions.insert(self.channel.clone());
        let user = session.caller.user.id.clone();
        if self.subscribers.insert(key, user.clone()).is_none() {
            *self.present.entry(user).or_default() += 1;
        }
    }

    /// Removes a subscriber.
    pub(crate) fn unsubscribe(&mut self, context: &mut Context, key: Key) {
        self.recovering.remove(&key);
        if let Some(session) = context.sessions.get_mut(key) {
            session.subscriptions.remove(&self.channel);
        }
        let Some(user) = self.subscribers.remove(&key) else {
            return;
        };
        if let Some(count) = self.present.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.present.remove(&user);
            }
        }
    }
}
