//! One room in memory: its members and newest messages as the store has them, and the feed to its subscribers.
//!
//! Two positions say how far it is. `state_seq`: members, unread counts and recent messages include the log up to there; it
//! moves when the store has answered a write of this node. The feed's own: subscribers have been told up to there; it moves
//! when a publication comes back from the broker. When either finds that something was skipped, another node wrote, or the
//! store's answer was lost: the room is loaded and its log read again before it goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::catching::Catching;
use super::feed::Feed;
use super::groups::Change;
use super::positions::{Mark, Typing};
use super::quota::Quota;
use super::{Answer, Asker, view};
use crate::broker::{Audience, Publication};
use crate::config;
use crate::context::{Context, Waiting};
use crate::error::{Error, Rule};
use crate::grants::User;
use crate::id::{Channel, RoomId, UserId};
use crate::live::unavailable_store;
use crate::message::ServerMessage;
use crate::message::chat::{ChatUpdate, MemberView, MessageView, RoomUpdated, RoomView};
use crate::message::connection::Position;
use crate::peers::Requester;
use crate::people::{self, People};
use crate::session::Key;
use crate::store::chat::{ChatOp, Member, MemberRole, Message, RoomChange, RoomKind, RoomState};
use crate::store::{StoreError, StoreId, StoreOp};
use crate::time::Now;

/// What a room needs beside itself.
pub(crate) struct Turn<'a> {
    pub(crate) context: &'a mut Context,
    pub(crate) people: &'a People,
    pub(crate) quota: &'a mut Quota,
    pub(crate) now: Now,
}

/// What follows in a room when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {
    /// The room as it is now.
    Reload,
    /// The log behind what was delivered.
    Log,
    /// The log behind what a session has seen.
    Recover {
        key: Key,
        id: Option<String>,
        ticket: u64,
        since: u64,
    },
    /// A message is stored: acknowledge and publish it.
    Message {
        requesters: Vec<Requester>,
        sender: UserId,
        client_id: Option<String>,
    },
    /// A message was edited.
    Edit { requester: Requester },
    /// A message was deleted.
    Delete { requester: Requester, by: UserId },
    /// A member's positions have moved.
    Position {
        requester: Requester,
        user: UserId,
        mark: Mark,
    },
    /// A page of messages.
    Page { requester: Requester, newest: bool },
    /// A group was changed.
    Change { asker: Asker, change: RoomChange },
}

/// A room whose state is in memory.
#[derive(Debug)]
pub(crate) struct Room {
    pub(super) id: RoomId,
    pub(super) kind: RoomKind,
    pub(super) title: Option<String>,
    created_at_ms: u64,
    pub(super) updated_at_ms: u64,
    pub(super) members: BTreeMap<UserId, Member>,
    /// Who of the members blocks whom.
    pub(super) blocks: BTreeSet<(UserId, UserId)>,
    /// The newest messages, oldest first.
    pub(super) recent: VecDeque<Message>,
    pub(super) has_older: bool,
    recent_max: usize,
    pub(super) state_seq: u64,
    /// The newest position that is known to be taken.
    pub(super) known_seq: u64,
    pub(super) feed: Feed,
    pub(super) typing: BTreeMap<UserId, Typing>,
    /// Messages that are being stored, by sender and `client_id`.
    pub(super) storing: BTreeMap<(UserId, String), StoreId>,
    pub(super) changes: VecDeque<Change>,
    pub(super) is_changing: bool,
    pub(super) catching: Catching,
    /// A write has failed, and whether it was stored is not known; or blocks changed while the room was loaded.
    pub(super) is_suspect: bool,
    pub(super) failures: u32,
    /// Store requests that are open.
    open: usize,
    /// Members may have come or gone since the room was last found by user.
    pub(super) has_new_members: bool,
    /// Members under whom the room is found by user.
    pub(super) indexed: BTreeSet<UserId>,
    pub(super) idle_since: Option<Instant>,
    /// The moment its timer is set to.
    pub(super) scheduled: Option<Instant>,
}

impl Room {
    /// A room as loaded. `seen_seq` is the newest position that was published meanwhile.
    pub(super) fn new(context: &mut Context, state: RoomState, seen_seq: u64) -> Self {
        let mut feed = Feed::new(context, &state.id, state.epoch.clone(), state.last_seq);
        feed.note(seen_seq);
        let mut room = Self {
            id: state.id.clone(),
            kind: state.kind,
            title: None,
            created_at_ms: state.created_at_ms,
            updated_at_ms: 0,
            members: BTreeMap::new(),
            blocks: BTreeSet::new(),
            recent: VecDeque::new(),
            has_older: false,
            recent_max: context.config.rooms.recent_messages,
            state_seq: 0,
            known_seq: seen_seq,
            feed,
            typing: BTreeMap::new(),
            storing: BTreeMap::new(),
            changes: VecDeque::new(),
            is_changing: false,
            catching: Catching::Up,
            is_suspect: false,
            failures: 0,
            open: 0,
            has_new_members: true,
            indexed: BTreeSet::new(),
            idle_since: None,
            scheduled: None,
        };
        room.restore(state);
        room
    }

    /// Asks for a room as it is now: one message more than is kept tells whether there are older ones.
    pub(super) fn load(room: &RoomId, limits: &config::Rooms) -> ChatOp {
        ChatOp::LoadRoom {
            room: room.clone(),
            messages: limits.recent_messages + 1,
        }
    }

    pub(super) fn restore(&mut self, state: RoomState) {
        self.title = state.title;
        self.updated_at_ms = state.updated_at_ms;
        self.members = by_user(state.members);
        self.has_new_members = true;
        self.blocks = state.blocks.into_iter().collect();
        self.has_older = false;
        self.recent = state.messages.into();
        self.trim();
        self.state_seq = state.last_seq;
        self.known_seq = self.known_seq.max(state.last_seq);
    }

    /// The caller as a member; none for an admin of the platform who asks over HTTP.
    pub(super) fn member(&self, asker: &Asker) -> Result<Option<&Member>, Error> {
        let member = self.members.get(&asker.caller.user.id);
        if member.is_none() && !asker.is_platform_admin() {
            return Err(not_a_member());
        }
        Ok(member)
    }

    /// The room as one of its members or an admin sees it.
    pub(super) fn view(&self, turn: &Turn<'_>, viewer: &UserId) -> RoomView {
        let hides = |one: &UserId| self.blocks.contains(&(one.clone(), viewer.clone()));
        let members = self.members.values();
        let members = members
            .map(|one| view::member(turn.people, turn.now, one, hides(&one.user.id)))
            .collect();
        RoomView {
            id: self.id.clone(),
            kind: self.kind,
            title: self.title.clone(),
            members,
            created_at: self.created_at_ms,
            updated_at: self.updated_at_ms,
        }
    }

    /// The members as everybody may see them: who blocks somebody here is shown as offline.
    pub(super) fn members_for_all(&self, turn: &Turn<'_>) -> Vec<MemberView> {
        let hides = |one: &UserId| self.blocks.iter().any(|(who, _)| who == one);
        let members = self.members.values();
        members
            .map(|one| view::member(turn.people, turn.now, one, hides(&one.user.id)))
            .collect()
    }

    /// Whose presence and typing somebody's is hidden from, themselves included: those whom they block, and those who
    /// block them.
    pub(super) fn deaf_to(&self, user: &UserId) -> Vec<UserId> {
        let others = self.blocks.iter().filter_map(|(who, whom)| {
            if who == user {
                Some(whom)
            } else if whom == user {
                Some(who)
            } else {
                None
            }
        });
        let mut deaf: Vec<UserId> = others.cloned().collect();
        deaf.push(user.clone());
        deaf
    }

    /// Somebody came or went: told to those who look at the room.
    pub(super) fn tell_presence(&self, turn: &mut Turn<'_>, user: &UserId) {
        let Some(member) = self
            .members
            .get(user)
            .filter(|_| self.feed.has_subscribers())
        else {
            return;
        };
        let presence = turn.people.view(turn.now, user, member.last_seen_ms);
        let audience = Audience::Except(self.deaf_to(user));
        self.say(turn, audience, ServerMessage::Presence(presence));
    }

    /// A block between two members was set or lifted.
    pub(super) fn set_block(
        &mut self,
        turn: &mut Turn<'_>,
        user: &UserId,
        blocked: &UserId,
        on: bool,
    ) {
        let pair = (user.clone(), blocked.clone());
        let presence = if on {
            self.blocks.insert(pair);
            self.end_typing(turn, user);
            people::hidden(user)
        } else {
            self.blocks.remove(&pair);
            let last_seen = self.members.get(user).and_then(|one| one.last_seen_ms);
            turn.people.view(turn.now, user, last_seen)
        };
        // What is being loaded may have been read before.
        self.is_suspect |= self.catching == Catching::Loading;
        let audience = Audience::User(blocked.clone());
        self.say(turn, audience, ServerMessage::Presence(presence));
    }

    /// Says something without a position to those who look at the room.
    pub(super) fn say(&self, turn: &mut Turn<'_>, audience: Audience, message: ServerMessage) {
        turn.context.publish(Publication {
            channel: self.feed.channel().clone(),
            audience,
            position: None,
            message,
            at_ms: turn.now.wall_ms,
        });
    }

    /// Says what the log holds at `seq`.
    pub(super) fn publish(&self, turn: &mut Turn<'_>, seq: u64, message: ServerMessage) {
        turn.context.publish(Publication {
            channel: self.feed.channel().clone(),
            audience: Audience::All,
            position: Some(Position {
                epoch: self.feed.epoch().to_owned(),
                seq,
            }),
            message,
            at_ms: turn.now.wall_ms,
        });
    }

    /// What was said to the room comes back from the broker.
    pub(super) fn handle_published(&mut self, turn: &mut Turn<'_>, publication: Publication) {
        match &publication.position {
            None => self.feed.broadcast(turn.context, &publication),
            Some(position) if position.epoch != self.feed.epoch() => {}
            Some(position) if position.seq == self.feed.last_seq() + 1 => {
                self.deliver(turn, publication.at_ms, &publication.message);
                self.deliver_held(turn);
            }
            Some(position) => {
                let seq = position.seq;
                self.feed.hold(turn.context, seq, publication);
                self.catch_up(turn);
            }
        }
    }

    pub(super) fn deliver_held(&mut self, turn: &mut Turn<'_>) {
        while let Some((_, publication)) = self.feed.next_held() {
            self.deliver(turn, publication.at_ms, &publication.message);
        }
        self.catch_up(turn);
    }

    /// Hands what carries the next position to everybody who follows.
    pub(super) fn deliver(&mut self, turn: &mut Turn<'_>, at_ms: u64, message: &ServerMessage) {
        self.feed.deliver(turn.context, at_ms, message);
        let seq = self.feed.last_seq();
        self.known_seq = self.known_seq.max(seq);
        if seq == self.state_seq + 1 && self.apply(seq, message) {
            self.state_seq = seq;
            self.updated_at_ms = at_ms;
        }
        if let ServerMessage::RoomUpdated(RoomUpdated {
            change: RoomChange::MemberRemoved { user, .. },
            ..
        }) = message
        {
            self.drop_sessions(turn, user);
        }
    }

    fn drop_sessions(&mut self, turn: &mut Turn<'_>, user: &UserId) {
        let keys: Vec<Key> = turn.context.sessions.of_user(user).collect();
        for key in keys {
            self.unsubscribe(turn, key);
        }
        self.typing.remove(user);
    }

    /// What another node has written becomes part of the state; false when it takes more than memory holds.
    pub(super) fn apply(&mut self, seq: u64, message: &ServerMessage) -> bool {
        if let ServerMessage::ChatMessage(view) = message {
            self.add(stored(view));
        } else if let ServerMessage::MessageEdited(edited) = message {
            let mut messages = self.recent.iter_mut();
            if let Some(message) = messages.find(|message| message.id == edited.id) {
                message.text.clone_from(&edited.text);
                message.edited_at_ms = Some(edited.edited_at);
            }
        } else if let ServerMessage::MessageDeleted(deleted) = message {
            let message = self.recent.iter().find(|message| message.id == deleted.id);
            let Some(message) = message.cloned() else {
                return false;
            };
            self.erase(&message);
        } else if let ServerMessage::RoomUpdated(updated) = message {
            self.title.clone_from(&updated.title);
            let members = updated.members.iter();
            let members = members.map(|one| {
                let known = self.members.get(&one.id);
                Member {
                    user: User {
                        id: one.id.clone(),
                        name: one.name.clone(),
                    },
                    role: one.role,
                    delivered_seq: one.delivered_seq,
                    read_seq: one.read_seq,
                    unread: known.map_or(0, |known| known.unread),
                    last_seen_ms: known.map_or(one.last_seen, |known| known.last_seen_ms),
                    joined_seq: known.map_or(seq, |known| known.joined_seq),
                }
            });
            self.members = by_user(members.collect());
            self.has_new_members = true;
        }
        true
    }

    /// A message was added to the log.
    pub(super) fn add(&mut self, message: Message) {
        for (user, member) in &mut self.members {
            if *user == message.sender.id {
                member.delivered_seq = message.seq;
                member.read_seq = message.seq;
                member.unread = 0;
            } else {
                member.unread += 1;
            }
        }
        self.updated_at_ms = message.created_at_ms;
        self.recent.push_back(message);
        self.trim();
    }

    pub(super) fn trim(&mut self) {
        while self.recent.len() > self.recent_max {
            self.recent.pop_front();
            self.has_older = true;
        }
    }

    /// A message is a tombstone now.
    pub(super) fn erase(&mut self, message: &Message) {
        for (user, member) in &mut self.members {
            if *user != message.sender.id && message.seq > member.read_seq {
                member.unread = member.unread.saturating_sub(1);
            }
        }
        let mut recent = self.recent.iter_mut();
        if let Some(known) = recent.find(|known| known.id == message.id) {
            known.text.clear();
            known.attachments.clear();
            known.deleted_at_ms = message.deleted_at_ms.or(Some(self.updated_at_ms));
        }
    }

    /// A write of this node was stored at `seq`: what it does to the state is done, unless something is missing before it.
    /// True when the state is whole.
    pub(super) fn advance(&mut self, seq: u64, act: impl FnOnce(&mut Self)) -> bool {
        self.known_seq = self.known_seq.max(seq);
        if seq == self.state_seq + 1 {
            act(self);
            self.state_seq = seq;
        }
        self.state_seq >= self.known_seq
    }

    /// A message of this node was stored.
    pub(super) fn add_stored(&mut self, message: Message) -> bool {
        self.advance(message.seq, |room| room.add(message))
    }

    /// The room as the lists of some members show it.
    pub(super) fn chat_update(&self, members: Option<Vec<MemberView>>, unread: u64) -> ChatUpdate {
        ChatUpdate {
            room: self.id.clone(),
            kind: self.kind,
            title: self.title.clone(),
            members,
            last_message: self.recent.back().cloned().map(MessageView::from),
            unread,
            updated_at: self.updated_at_ms,
            removed: false,
        }
    }

    /// Tells the lists of all members how the room is now: one publication for each unread count.
    pub(super) fn tell_lists(&self, turn: &mut Turn<'_>, with_members: bool) {
        let mut by_unread: BTreeMap<u64, Vec<UserId>> = BTreeMap::new();
        for (user, member) in &self.members {
            by_unread
                .entry(member.unread)
                .or_default()
                .push(user.clone());
        }
        let members = with_members.then(|| self.members_for_all(turn));
        for (unread, users) in by_unread {
            let update = self.chat_update(members.clone(), unread);
            tell_list(turn, Audience::Users(users), update);
        }
    }

    pub(super) fn ask_store(&mut self, context: &mut Context, op: ChatOp, then: Then) -> StoreId {
        self.open += 1;
        let waiting = Waiting::Chat(super::Then::Room(self.id.clone(), then));
        context.ask_store(StoreOp::Chat(op), waiting)
    }

    /// The store has answered one of the room's requests.
    pub(super) fn close_request(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// Whether one more write may wait for the store.
    pub(super) fn check_writes(&self, context: &mut Context) -> Result<(), Error> {
        if self.open >= context.config.rooms.pending_writes_max {
            context.stats.limits_hit += 1;
            return Err(unavailable_store());
        }
        Ok(())
    }

    /// The store has refused a write, or failed.
    pub(super) fn fail(
        &mut self,
        turn: &mut Turn<'_>,
        requester: Requester,
        error: &StoreError,
        not_found: &str,
        forbidden: Error,
    ) {
        let error = match error {
            StoreError::NotFound => Error::not_found(not_found),
            StoreError::Forbidden => forbidden,
            StoreError::Unavailable(_) => {
                self.suspect();
                unavailable_store()
            }
        };
        turn.context.fail(turn.now, requester, error);
        self.catch_up(turn);
    }

    /// Whether nobody needs it.
    pub(super) fn is_idle(&self) -> bool {
        self.feed.is_idle() && self.open == 0 && self.changes.is_empty()
    }

    /// When something is next due.
    pub(super) fn deadline(&self, limits: &config::Rooms) -> Option<Instant> {
        let retry = self.catching.deadline();
        let idle = self.idle_since.map(|at| at + limits.linger);
        let typing = self.typing.values().map(|typing| typing.until);
        typing.chain(retry).chain(idle).min()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        self.expire_typing(turn);
        self.retry(turn);
    }

    /// Answers whoever asked for the room.
    pub(super) fn answer_view(&self, turn: &mut Turn<'_>, asker: &Asker) {
        let view = self.view(turn, &asker.caller.user.id);
        let answer = Answer::Room(view);
        super::answer(turn.context, turn.now, asker.requester.clone(), answer);
    }

    /// The role of a member; an admin of the platform may what an owner may.
    pub(super) fn role(&self, asker: &Asker) -> Result<MemberRole, Error> {
        let member = self.member(asker)?;
        if asker.is_platform_admin() {
            return Ok(MemberRole::Owner);
        }
        Ok(member.map_or(MemberRole::Owner, |member| member.role))
    }
}

/// Tells the lists of some users how a room is.
pub(super) fn tell_list(turn: &mut Turn<'_>, audience: Audience, update: ChatUpdate) {
    turn.context.publish(Publication {
        channel: Channel::Chats,
        audience,
        position: None,
        message: ServerMessage::ChatUpdate(update),
        at_ms: turn.now.wall_ms,
    });
}

pub(super) fn by_user(members: Vec<Member>) -> BTreeMap<UserId, Member> {
    let members = members.into_iter();
    members
        .map(|member| (member.user.id.clone(), member))
        .collect()
}

pub(super) fn not_a_member() -> Error {
    Error::forbidden("you are not a member of this room")
}

pub(super) fn blocked() -> Error {
    Error::forbidden("they want to hear nothing of you").by_rule(Rule::Blocked)
}

fn stored(view: &MessageView) -> Message {
    let view = view.clone();
    Message {
        id: view.id,
        room: view.room,
        seq: view.seq,
        sender: view.sender,
        text: view.text,
        client_id: view.client_id,
        reply_to_id: view.reply_to_id,
        attachments: view.attachments,
        created_at_ms: view.created_at,
        edited_at_ms: view.edited_at,
        deleted_at_ms: view.deleted.then_some(view.created_at),
    }
}
