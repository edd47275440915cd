//! The channel `chats`: everybody's own list of rooms. Its state is whole at each subscription; from there on `chat_update`
//! says of one room how it is now.

use std::collections::{BTreeMap, BTreeSet};

use super::view;
use crate::broker::{Audience, Publication};
use crate::context::{Context, encode_frame, object};
use crate::envelope::Metadata;
use crate::id::{Channel, UserId};
use crate::live::unavailable_store;
use crate::message::ServerMessage;
use crate::message::chat::{ChatsState, PresenceView};
use crate::message::connection::{ChannelState, Subscribed};
use crate::outbox::Frame;
use crate::people::{self, People};
use crate::session::Key;
use crate::store::StoreError;
use crate::store::chat::{ChatOk, RoomEntry, RoomKind};
use crate::time::Now;

/// Who follows their list.
#[derive(Debug)]
pub(crate) struct List {
    number: u32,
    epoch: String,
    subscribers: BTreeSet<Key>,
    /// Subscriptions whose list is being read.
    reading: BTreeMap<Key, Reading>,
    /// Who has a direct room with somebody in their list, and is told when they come and go.
    watchers: BTreeMap<UserId, BTreeSet<Key>>,
    /// The same by session.
    watched: BTreeMap<Key, BTreeSet<UserId>>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Reading {
    ticket: u64,
    id: Option<String>,
    /// What changed meanwhile: the list may have been read before or behind it.
    changes: Vec<Frame>,
    /// More changed than is kept.
    is_overrun: bool,
}

/// What to do with a list that was read.
pub(crate) enum Read {
    /// Nothing more.
    Done,
    /// Read it again for this session.
    Again { user: UserId, ticket: u64 },
}

impl List {
    pub(crate) fn new(context: &mut Context) -> Self {
        Self {
            number: context.next_channel_number(),
            epoch: context.random_epoch(),
            subscribers: BTreeSet::new(),
            reading: BTreeMap::new(),
            watchers: BTreeMap::new(),
            watched: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// From here on a session is told when somebody comes and goes; as many as a list has rooms.
    fn watch(&mut self, context: &Context, key: Key, user: UserId) {
        let watched = self.watched.entry(key).or_default();
        if watched.len() < context.config.rooms.list_rooms {
            watched.insert(user.clone());
            self.watchers.entry(user).or_default().insert(key);
        }
    }

    fn unwatch(&mut self, key: Key, user: &UserId) {
        if let Some(keys) = self.watchers.get_mut(user) {
            keys.remove(&key);
            if keys.is_empty() {
                self.watchers.remove(user);
            }
        }
    }

    /// Somebody came or went: told to the lists that have a direct room with them.
    pub(crate) fn tell_presence(&self, context: &mut Context, now: Now, presence: PresenceView) {
        let keys = self.watchers.get(&presence.user_id).into_iter().flatten();
        let users = keys.filter_map(|key| context.sessions.get(*key));
        let users: BTreeSet<UserId> = users
            .map(|session| session.caller.user.id.clone())
            .collect();
        if !users.is_empty() {
            say_presence(context, now, users.into_iter().collect(), presence);
        }
    }

    /// Somebody is blocked: they are told nothing more of who blocks them.
    pub(crate) fn hide(&mut self, context: &mut Context, now: Now, user: &UserId, from: &UserId) {
        let watchers = self.watchers.get(user).into_iter().flatten();
        let is_theirs = |key: &&Key| {
            let session = context.sessions.get(**key);
            session.is_some_and(|session| session.caller.user.id == *from)
        };
        let keys: Vec<Key> = watchers.filter(is_theirs).copied().collect();
        if keys.is_empty() {
            return;
        }
        for key in keys {
            self.unwatch(key, user);
            if let Some(watched) = self.watched.get_mut(&key) {
                watched.remove(user);
            }
        }
        say_presence(context, now, vec![from.clone()], people::hidden(user));
    }

    /// Keeps a place for a session whose list is to be read; answers the number of the reading.
    pub(crate) fn begin(&mut self, context: &mut Context, key: Key, id: Option<String>) -> u64 {
        self.unsubscribe(context, key);
        if let Some(session) = context.sessions.get_mut(key) {
            session.subscriptions.insert(Channel::Chats);
        }
        self.next_ticket += 1;
        let reading = Reading {
            ticket: self.next_ticket,
            id,
            changes: Vec::new(),
            is_overrun: false,
        };
        self.reading.insert(key, reading);
        self.next_ticket
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, context: &mut Context, key: Key) {
        self.subscribers.remove(&key);
        self.reading.remove(&key);
        for user in self.watched.remove(&key).unwrap_or_default() {
            self.unwatch(key, &user);
        }
        if let Some(session) = context.sessions.get_mut(key) {
            session.subscriptions.remove(&Channel::Chats);
        }
    }

    /// A session's list was read, or not.
    pub(crate) fn handle_read(
        &mut self,
        context: &mut Context,
        people: &People,
        now: Now,
        key: Key,
        ticket: u64,
        result: Result<ChatOk, StoreError>,
    ) -> Read {
        let Some(reading) = self.reading.get_mut(&key) else {
            return Read::Done;
        };
        let Some(session) = context.sessions.get(key) else {
            return Read::Done;
        };
        if reading.ticket != ticket {
            return Read::Done;
        }
        let user = session.caller.user.id.clone();
        if reading.is_overrun && result.is_ok() {
            context.stats.limits_hit += 1;
            reading.is_overrun = false;
            reading.changes.clear();
            return Read::Again { user, ticket };
        }
        let Some(reading) = self.reading.remove(&key) else {
            return Read::Done;
        };
        let Ok(ChatOk::Rooms { rooms, has_more }) = result else {
            self.unsubscribe(context, key);
            context.refuse(now, key, reading.id, unavailable_store());
            return Read::Done;
        };
        let grants = &session.caller.grants;
        let is_granted = |entry: &RoomEntry| grants.may_enter(&entry.id);
        let rooms: Vec<RoomEntry> = rooms.into_iter().filter(is_granted).collect();
        for other in rooms.iter().filter_map(|entry| partner(entry, &user)) {
            self.watch(context, key, other);
        }
        let rooms = rooms.into_iter();
        let mut rooms = rooms
            .map(|entry| view::listing(people, now, entry))
            .collect();
        let was_cut = view::fit(&mut rooms, context.config.rooms.page_bytes_max);
        let state = ChatsState {
            rooms,
            has_more: has_more || was_cut,
        };
        self.finish(context, now, key, reading, state);
        Read::Done
    }

    fn finish(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        reading: Reading,
        state: ChatsState,
    ) {
        let subscribed = Subscribed {
            channel: Channel::Chats,
            epoch: self.epoch.clone(),
            seq: 0,
            recovered: false,
            state: ChannelState::Chats(state),
        };
        let message = ServerMessage::Subscribed(Box::new(subscribed));
        context.send(now, key, &message, &about());
        for frame in reading.changes {
            context.deliver(key, frame);
        }
        self.subscribers.insert(key);
        context.ack(now, key, reading.id, object([]));
    }

    /// What was said to some people's lists comes back from the broker.
    pub(crate) fn handle_published(&mut self, context: &mut Context, publication: &Publication) {
        let keys = match &publication.audience {
            Audience::User(user) => self.keys(context, std::slice::from_ref(user)),
            Audience::Users(users) => self.keys(context, users),
            Audience::Elsewhere { user, session } => {
                let mut keys = self.keys(context, std::slice::from_ref(user));
                keys.retain(|key| !context.sessions.is_named(*key, session));
                keys
            }
            // A list is personal: nothing is said to all of them.
            Audience::All | Audience::Staff | Audience::Except(_) => Vec::new(),
        };
        if keys.is_empty() {
            return;
        }
        let (message, at_ms) = (&publication.message, publication.at_ms);
        if let ServerMessage::ChatUpdate(update) = message
            && update.kind == RoomKind::Direct
            && let Some([one, other]) = update.members.as_deref()
        {
            for key in &keys {
                let session = context.sessions.get(*key);
                let is_one = session.is_some_and(|session| session.caller.user.id == one.id);
                let partner = if is_one { other } else { one };
                self.watch(context, *key, partner.id.clone());
            }
        }
        let frame = encode_frame(message, at_ms, &about(), self.number);
        let waiting_max = context.config.rooms.list_waiting_max;
        for key in keys {
            match self.reading.get_mut(&key) {
                None => context.deliver(key, frame.clone()),
                Some(reading) if reading.changes.len() < waiting_max => {
                    reading.changes.push(frame.clone());
                }
                Some(reading) => reading.is_overrun = true,
            }
        }
    }

    fn keys(&self, context: &Context, users: &[UserId]) -> Vec<Key> {
        if self.subscribers.is_empty() && self.reading.is_empty() {
            return Vec::new();
        }
        let keys = users.iter().flat_map(|user| context.sessions.of_user(user));
        keys.filter(|key| self.subscribers.contains(key) || self.reading.contains_key(key))
            .collect()
    }
}

/// Whose coming and going somebody may know of, of a direct room in their list.
fn partner(entry: &RoomEntry, user: &UserId) -> Option<UserId> {
    let mut members = entry.members.iter().map(|member| &member.user.id);
    let other = members.find(|member| *member != user)?;
    let may_know = entry.kind == RoomKind::Direct && !entry.blockers.contains(other);
    may_know.then(|| other.clone())
}

fn say_presence(context: &mut Context, now: Now, users: Vec<UserId>, presence: PresenceView) {
    context.publish(Publication {
        channel: Channel::Chats,
        audience: Audience::Users(users),
        position: None,
        message: ServerMessage::Presence(presence),
        at_ms: now.wall_ms,
    });
}

fn about() -> Metadata {
    Metadata {
        channel: Some(Channel::Chats.to_string()),
        ..Metadata::default()
    }
}
