//! Chat: rooms loaded on demand, their members, messages and positions, everybody's list of rooms, and who is here.
//!
//! A message is checked in memory, stored, acknowledged, then said to the room. What one room needs is in `chat/room.rs`;
//! here is which rooms are in memory, and what concerns several of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::broker::Publication;
use crate::context::Context;
use crate::error::Error;
use crate::id::{Channel, RoomId, UserId};
use crate::live::unavailable_store;
use crate::message::ClientMessage;
use crate::message::connection::Position;
use crate::peers::Requester;
use crate::people::People;
use crate::session::Key;
use crate::stats::Snapshot;
use crate::store::chat::{ChatOk, ChatOp};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;
use crate::timer::Timers;

mod ask;
mod attachment;
mod catching;
mod feed;
mod groups;
mod list;
mod messages;
mod positions;
mod presence;
mod quota;
mod recovery;
mod requests;
mod room;
mod view;

use ask::{
    Answer, Ask, Asker, answer, ask_of, carry_out, handle_stored, is_path, refuse, refuse_path,
};
use list::{List, Read};
use quota::Quota;
use requests::ask_store;
use room::{Room, Turn};

/// What follows when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {
    /// A room that is needed is there.
    Load(RoomId),
    /// What a room in memory has asked.
    Room(RoomId, room::Then),
    /// The list of a session.
    List { key: Key, ticket: u64 },
    /// A page of somebody's rooms.
    Rooms(Asker),
    /// A room was created, or was there.
    Created(Asker),
    /// Messages were found.
    Found(Asker),
    /// Whom somebody blocks.
    Blocks(Asker),
    /// Whether somebody may block one more.
    MayBlock { asker: Asker, user: UserId },
    /// A block was set or lifted.
    Block {
        asker: Asker,
        user: UserId,
        on: bool,
    },
    /// What is known about somebody.
    Presence { asker: Asker, user: UserId },
    /// Nothing waits for it.
    Seen,
}

/// A room that somebody needs.
#[derive(Debug)]
enum Slot {
    Loading {
        deferred: VecDeque<(Asker, Ask)>,
        /// The newest position that was published meanwhile.
        seen_seq: u64,
        /// Blocks changed meanwhile: what is loaded may be older.
        is_overtaken: bool,
    },
    Ready(Box<Room>),
}

/// Rooms in memory and who follows them.
#[derive(Debug)]
pub(crate) struct Chat {
    rooms: BTreeMap<RoomId, Slot>,
    /// Loaded rooms of each user.
    rooms_of: BTreeMap<UserId, BTreeSet<RoomId>>,
    /// Loaded rooms that nobody needs, the longest idle first.
    idle: BTreeSet<(Instant, RoomId)>,
    people: People,
    list: List,
    quota: Quota,
    timers: Timers<RoomId>,
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

impl Chat {
    pub(crate) fn new(context: &mut Context) -> Self {
        Self {
            rooms: BTreeMap::new(),
            rooms_of: BTreeMap::new(),
            idle: BTreeSet::new(),
            people: People::default(),
            list: List::new(context),
            quota: Quota::default(),
            timers: Timers::new(),
            scheduled: None,
        }
    }

    /// Subscribes a session to a room. `id` is none for the channel of the path.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        room: &RoomId,
        since: Option<Position>,
    ) {
        self.ask_of_session(context, now, key, id, room, Ask::Subscribe(since));
    }

    /// Subscribes a session to the list of its own rooms.
    pub(crate) fn subscribe_list(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
    ) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        let user = session.caller.user.id.clone();
        let opened = self
            .quota
            .open_read(&context.config.rooms, &mut context.stats);
        if let Err(error) = opened {
            return context.refuse(now, key, id, error);
        }
        let ticket = self.list.begin(context, key, id);
        read_list(context, user, key, ticket);
    }

    /// Ends a subscription to a room or to the list.
    pub(crate) fn unsubscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        channel: &Channel,
    ) {
        match channel {
            Channel::Chat(id) => {
                self.with_room(context, now, id, |room, turn| room.unsubscribe(turn, key));
            }
            Channel::Chats => self.list.unsubscribe(context, key),
            Channel::Live(_) | Channel::Streams | Channel::Notifications => {}
        }
    }

    /// A message about a room.
    pub(crate) fn message(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        room: &RoomId,
        message: ClientMessage,
    ) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        match ask_of(message, &session.caller.user.id) {
            Ok(ask) => self.ask_of_session(context, now, key, id, room, ask),
            Err(error) => context.refuse(now, key, id, error),
        }
    }

    fn ask_of_session(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        room: &RoomId,
        ask: Ask,
    ) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        let asker = Asker {
            caller: session.caller.clone(),
            requester: Requester::Session { key, id },
        };
        self.ask(context, now, asker, room, ask);
    }

    /// Asks something of a room, once it is there.
    fn ask(&mut self, context: &mut Context, now: Now, asker: Asker, id: &RoomId, ask: Ask) {
        if !asker.caller.grants.may_enter(id) {
            let error = Error::forbidden(format!("the token does not grant chat:{id}"));
            return refuse(context, now, &asker, &ask, id, error);
        }
        let pending_max = context.config.rooms.pending_max;
        match self.rooms.get_mut(id) {
            Some(Slot::Ready(_)) => return self.carry_out(context, now, asker, id, ask),
            Some(Slot::Loading { deferred, .. }) if deferred.len() < pending_max => {
                return deferred.push_back((asker, ask));
            }
            Some(Slot::Loading { .. }) => {
                context.stats.limits_hit += 1;
                let error = Error::unavailable("the room is being loaded");
                return asker.fail(context, now, error);
            }
            None => {}
        }
        if !self.make_room(context) {
            context.stats.limits_hit += 1;
            let error = Error::unavailable("too many rooms are in use");
            return asker.fail(context, now, error);
        }
        let slot = Slot::Loading {
            deferred: VecDeque::from([(asker, ask)]),
            seen_seq: 0,
            is_overtaken: false,
        };
        self.rooms.insert(id.clone(), slot);
        let op = Room::load(id, &context.config.rooms);
        ask_store(context, op, Then::Load(id.clone()));
    }

    /// Whether one more room fits in memory; one that nobody needs makes room.
    fn make_room(&mut self, context: &mut Context) -> bool {
        if self.rooms.len() < context.config.rooms.max_rooms {
            return true;
        }
        let Some((_, id)) = self.idle.first().cloned() else {
            return false;
        };
        context.stats.chat_evictions += 1;
        self.forget(&id);
        true
    }

    fn forget(&mut self, id: &RoomId) {
        let Some(Slot::Ready(mut room)) = self.rooms.remove(id) else {
            return;
        };
        self.timers.schedule(id, &mut room.scheduled, None);
        if let Some(since) = room.idle_since {
            self.idle.remove(&(since, id.clone()));
        }
        for user in &room.indexed {
            unindex(&mut self.rooms_of, user, id);
        }
    }

    /// Does with a loaded room what `act` says, with everything else at hand.
    fn with_room<T>(
        &mut self,
        context: &mut Context,
        now: Now,
        id: &RoomId,
        act: impl FnOnce(&mut Room, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let Some(Slot::Ready(room)) = self.rooms.get_mut(id) else {
            return None;
        };
        let mut turn = Turn {
            context,
            people: &self.people,
            quota: &mut self.quota,
            now,
        };
        let done = act(room, &mut turn);
        self.settle(context, now, id);
        Some(done)
    }

    /// Ends what was done to a room: its members are found by user, its timer is set, and it may be idle now.
    fn settle(&mut self, context: &Context, now: Now, id: &RoomId) {
        let Some(Slot::Ready(room)) = self.rooms.get_mut(id) else {
            return;
        };
        if std::mem::take(&mut room.has_new_members) {
            let members: BTreeSet<UserId> = room.members.keys().cloned().collect();
            for user in room.indexed.difference(&members) {
                unindex(&mut self.rooms_of, user, id);
            }
            for user in members.difference(&room.indexed) {
                let rooms = self.rooms_of.entry(user.clone()).or_default();
                rooms.insert(id.clone());
            }
            room.indexed = members;
        }
        match (room.is_idle(), room.idle_since) {
            (true, None) => {
                room.idle_since = Some(now.mono);
                self.idle.insert((now.mono, id.clone()));
            }
            (false, Some(since)) => {
                room.idle_since = None;
                self.idle.remove(&(since, id.clone()));
            }
            (true, Some(_)) | (false, None) => {}
        }
        let deadline = room.deadline(&context.config.rooms);
        self.timers.schedule(id, &mut room.scheduled, deadline);
    }

    fn carry_out(&mut self, context: &mut Context, now: Now, asker: Asker, id: &RoomId, ask: Ask) {
        if let Requester::Session { key, .. } = asker.requester
            && !context.sessions.is_attached(key)
        {
            return;
        }
        let is_path = is_path(context, &asker, &ask, id);
        let who = asker.clone();
        let result = self.with_room(context, now, id, |room, turn| {
            carry_out(room, turn, asker, ask)
        });
        match result {
            Some(Err(error)) if is_path => refuse_path(context, now, &who, error),
            Some(Err(error)) => who.fail(context, now, error),
            Some(Ok(())) | None => {}
        }
    }

    /// A room that was needed is there, or is not.
    fn handle_loaded(
        &mut self,
        context: &mut Context,
        now: Now,
        id: &RoomId,
        result: Result<ChatOk, StoreError>,
    ) {
        let Some(Slot::Loading {
            deferred,
            seen_seq,
            is_overtaken,
        }) = self.rooms.remove(id)
        else {
            return;
        };
        let error = match result {
            Ok(ChatOk::Room(state)) => {
                let mut room = Room::new(context, state, seen_seq);
                if is_overtaken {
                    room.suspect();
                }
                self.rooms.insert(id.clone(), Slot::Ready(Box::new(room)));
                self.with_room(context, now, id, |room, turn| room.catch_up(turn));
                for (asker, ask) in deferred {
                    self.carry_out(context, now, asker, id, ask);
                }
                return;
            }
            Err(StoreError::NotFound) => Error::not_found(format!("there is no room {id}")),
            Ok(_) | Err(StoreError::Forbidden | StoreError::Unavailable(_)) => unavailable_store(),
        };
        for (asker, ask) in deferred {
            refuse(context, now, &asker, &ask, id, error.clone());
        }
    }

    /// A session has new grants: what they no longer allow ends here.
    pub(crate) fn handle_new_grants(&mut self, context: &mut Context, now: Now, key: Key) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        let grants = &session.caller.grants;
        let channels = session.subscriptions.iter();
        let lost = channels.filter(|channel| !grants.may_subscribe(channel));
        let lost: Vec<Channel> = lost.cloned().collect();
        for channel in lost {
            self.unsubscribe(context, now, key, &channel);
        }
        if context.sessions.is_attached(key) {
            self.handle_attached(context, now, key);
        }
    }

    /// The store has answered.
    pub(crate) fn handle_stored(
        &mut self,
        context: &mut Context,
        now: Now,
        then: Then,
        result: Result<StoreOk, StoreError>,
    ) {
        if matches!(result, Err(StoreError::Unavailable(_))) {
            context.stats.store_failures += 1;
        }
        let result = match result {
            Ok(StoreOk::Chat(ok)) => Ok(ok),
            Ok(_) => Err(StoreError::Unavailable(
                "an answer to something else".to_owned(),
            )),
            Err(error) => Err(error),
        };
        match then {
            Then::Load(id) => return self.handle_loaded(context, now, &id, result),
            Then::Room(id, then) => {
                self.with_room(context, now, &id, |room, turn| {
                    handle_stored(room, turn, then, result);
                });
                return;
            }
            Then::Created(asker) => return self.handle_created(context, now, asker, result),
            Then::Block { asker, user, on } => {
                return self.handle_block(context, now, &asker, &user, on, result);
            }
            Then::Seen => return,
            Then::List { .. }
            | Then::Rooms(_)
            | Then::Found(_)
            | Then::Blocks(_)
            | Then::MayBlock { .. }
            | Then::Presence { .. } => self.quota.close_read(),
        }
        match then {
            Then::List { key, ticket } => self.handle_list(context, now, key, ticket, result),
            Then::Rooms(asker) => self.handle_rooms(context, now, &asker, result),
            Then::Found(asker) => Self::handle_found(context, now, &asker, result),
            Then::Blocks(asker) => Self::handle_blocks(context, now, &asker, result),
            Then::MayBlock { asker, user } => {
                Self::handle_may_block(context, now, asker, user, result);
            }
            Then::Presence { asker, user } => {
                self.handle_presence(context, now, &asker, &user, result);
            }
            Then::Load(_) | Then::Room(..) | Then::Created(_) | Then::Block { .. } | Then::Seen => {
            }
        }
    }

    fn handle_list(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        ticket: u64,
        result: Result<ChatOk, StoreError>,
    ) {
        let people = &self.people;
        let read = self
            .list
            .handle_read(context, people, now, key, ticket, result);
        if let Read::Again { user, ticket } = read {
            // It was open a moment ago, so there is room for it.
            let limits = &context.config.rooms;
            if self.quota.open_read(limits, &mut context.stats).is_ok() {
                read_list(context, user, key, ticket);
            }
        }
    }

    /// What was said to a room or a list comes back from the broker.
    pub(crate) fn handle_published(
        &mut self,
        context: &mut Context,
        now: Now,
        publication: Publication,
    ) {
        let Channel::Chat(id) = &publication.channel else {
            return self.list.handle_published(context, &publication);
        };
        let id = id.clone();
        if let Some(Slot::Loading { seen_seq, .. }) = self.rooms.get_mut(&id) {
            let seq = publication.position.map_or(0, |position| position.seq);
            *seen_seq = seq.max(*seen_seq);
            return;
        }
        self.with_room(context, now, &id, |room, turn| {
            room.handle_published(turn, publication);
        });
    }

    /// When something is next due.
    pub(crate) fn deadline(&self, context: &Context) -> Option<Instant> {
        let rooms = self.timers.first().map(|(at, _)| *at);
        let gone = self.people.deadline(context.config.rooms.offline_delay);
        rooms.into_iter().chain(gone).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, context: &mut Context, now: Now) {
        self.handle_gone(context, now);
        let linger = context.config.rooms.linger;
        while let Some(id) = self.timers.pop_due(now.mono) {
            let Some(Slot::Ready(room)) = self.rooms.get_mut(&id) else {
                continue;
            };
            room.scheduled = None;
            if room
                .idle_since
                .is_some_and(|since| since + linger <= now.mono)
            {
                self.forget(&id);
                continue;
            }
            self.with_room(context, now, &id, |room, turn| room.handle_timeout(turn));
        }
    }

    /// Fills in what is counted when it is asked for.
    pub(crate) fn fill_stats(&self, stats: &mut Snapshot) {
        stats.chat_rooms = self.rooms.len() as u64;
        stats.people_online = self.people.len() as u64;
    }
}

fn read_list(context: &mut Context, user: UserId, key: Key, ticket: u64) {
    let limit = context.config.rooms.list_rooms;
    let op = ChatOp::ListRooms {
        user,
        before: None,
        limit,
    };
    ask_store(context, op, Then::List { key, ticket });
}

fn unindex(rooms_of: &mut BTreeMap<UserId, BTreeSet<RoomId>>, user: &UserId, id: &RoomId) {
    if let Some(rooms) = rooms_of.get_mut(user) {
        rooms.remove(id);
        if rooms.is_empty() {
            rooms_of.remove(user);
        }
    }
}
