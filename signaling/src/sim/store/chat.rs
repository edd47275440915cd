//! Rooms, messages, users and blocks as a store keeps them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::grants::User;
use crate::id::{RoomId, UserId};
use crate::store::StoreError;
use crate::store::chat::{
    ChatOk, ChatOp, KnownUser, LogEntry, LogEvent, Member, MemberRole, Message, NewMessage,
    NewRoom, RoomChange, RoomCursor, RoomEntry, RoomKind, RoomState,
};

/// Everything about chat.
#[derive(Debug, Default)]
pub struct Chats {
    rooms: BTreeMap<RoomId, Room>,
    pairs: BTreeMap<(UserId, UserId), RoomId>,
    users: BTreeMap<UserId, Seen>,
    blocks: BTreeSet<(UserId, UserId)>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    at_ms: u64,
}

#[derive(Debug)]
struct Room {
    id: RoomId,
    epoch: String,
    kind: RoomKind,
    title: Option<String>,
    created_at_ms: u64,
    updated_at_ms: u64,
    members: BTreeMap<UserId, Place>,
    /// By `seq`.
    messages: Vec<Message>,
    by_id: HashMap<String, usize>,
    by_client_id: HashMap<(UserId, String), usize>,
    /// The entry with `seq` n at n - 1.
    log: Vec<(u64, Logged)>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    role: MemberRole,
    delivered_seq: u64,
    read_seq: u64,
    joined_seq: u64,
}

#[derive(Debug)]
enum Logged {
    Message { index: usize },
    Edited { index: usize },
    Deleted { index: usize, by: UserId },
    Changed { by: User, change: RoomChange },
}

impl Chats {
    /// Whether somebody wants to hear nothing of somebody.
    #[must_use]
    pub fn blocks(&self, who: &UserId, whom: &UserId) -> bool {
        self.blocks.contains(&(who.clone(), whom.clone()))
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// As the request says.
    pub fn carry_out(&mut self, op: &ChatOp) -> Result<ChatOk, StoreError> {
        match op {
            ChatOp::SeeUser { user, at_ms } => {
                let seen = Seen {
                    name: user.name.clone(),
                    at_ms: *at_ms,
                };
                self.users.insert(user.id.clone(), seen);
                Ok(ChatOk::Done)
            }
            ChatOp::LoadUser { user, asker } => Ok(ChatOk::User(self.known(user, asker))),
            ChatOp::CreateRoom(new) => self.create(new),
            ChatOp::LoadRoom { room, messages } => {
                let room = self.room(room)?;
                Ok(ChatOk::Room(self.state(room, *messages)))
            }
            ChatOp::ListRooms {
                user,
                before,
                limit,
            } => Ok(self.list(user, before.as_ref(), *limit)),
            ChatOp::AddMessage(new) => self.add(new),
            ChatOp::EditMessage {
                room,
                id,
                by,
                text,
                at_ms,
            } => self.edit(room, id, by, text, *at_ms),
            ChatOp::DeleteMessage {
                room,
                id,
                by,
                any,
                at_ms,
            } => self.delete(room, id, by, *any, *at_ms),
            ChatOp::ChangeRoom {
                room,
                by,
                change,
                at_ms,
            } => self.change(room, by, change, *at_ms),
            ChatOp::SetPosition {
                room,
                user,
                delivered,
                read,
            } => self.set_position(room, user, *delivered, *read),
            ChatOp::History {
                room,
                before_seq,
                after_seq,
                limit,
            } => Ok(self.room(room)?.history(*before_seq, *after_seq, *limit)),
            ChatOp::ReadLog {
                room,
                after_seq,
                limit,
            } => Ok(self.room(room)?.read_log(*after_seq, *limit)),
            ChatOp::Search {
                user,
                text,
                room,
                before_ms,
                limit,
            } => Ok(self.search(user, text, room.as_ref(), *before_ms, *limit)),
            ChatOp::Block { user, blocked, .. } => {
                self.blocks.insert((user.clone(), blocked.clone()));
                Ok(ChatOk::Done)
            }
            ChatOp::Unblock { user, blocked } => {
                self.blocks.remove(&(user.clone(), blocked.clone()));
                Ok(ChatOk::Done)
            }
            ChatOp::ListBlocks { user } => {
                let blocked = self.blocks.iter().filter(|(who, _)| who == user);
                let users = blocked.map(|(_, whom)| self.named(whom)).collect();
                Ok(ChatOk::Users(users))
            }
        }
    }

    fn room(&self, room: &RoomId) -> Result<&Room, StoreError> {
        self.rooms.get(room).ok_or(StoreError::NotFound)
    }

    fn room_mut(&mut self, room: &RoomId) -> Result<&mut Room, StoreError> {
        self.rooms.get_mut(room).ok_or(StoreError::NotFound)
    }

    fn named(&self, user: &UserId) -> User {
        let name = self.users.get(user).map(|seen| seen.name.clone());
        User {
            id: user.clone(),
            name: name.unwrap_or_else(|| user.to_string()),
        }
    }

    fn known(&self, user: &UserId, asker: &UserId) -> KnownUser {
        let seen = self.users.get(user);
        let mut rooms = self.rooms.values();
        KnownUser {
            name: seen.map(|seen| seen.name.clone()),
            last_seen_ms: seen.map(|seen| seen.at_ms),
            shares_room: rooms
                .any(|room| room.members.contains_key(user) && room.members.contains_key(asker)),
            blocks_asker: self.blocks(user, asker),
        }
    }

    fn members(&self, room: &Room) -> Vec<Member> {
        let member = |(user, place): (&UserId, &Place)| Member {
            user: self.named(user),
            role: place.role,
            delivered_seq: place.delivered_seq,
            read_seq: place.read_seq,
            unread: room.unread(user, place.read_seq),
            last_seen_ms: self.users.get(user).map(|seen| seen.at_ms),
            joined_seq: place.joined_seq,
        };
        room.members.iter().map(member).collect()
    }

    fn state(&self, room: &Room, messages: usize) -> RoomState {
        let first = room.messages.len().saturating_sub(messages);
        let are_members = |(who, whom): &&(UserId, UserId)| {
            room.members.contains_key(who) && room.members.contains_key(whom)
        };
        RoomState {
            id: room.id.clone(),
            kind: room.kind,
            title: room.title.clone(),
            epoch: room.epoch.clone(),
            last_seq: room.last_seq(),
            created_at_ms: room.created_at_ms,
            updated_at_ms: room.updated_at_ms,
            members: self.members(room),
            messages: room.messages[first..].to_vec(),
            blocks: self.blocks.iter().filter(are_members).cloned().collect(),
        }
    }

    fn create(&mut self, new: &NewRoom) -> Result<ChatOk, StoreError> {
        let pair = match (new.kind, new.members.as_slice()) {
            (RoomKind::Direct, [(a, _), (b, _)]) => Some(if a < b {
                (a.clone(), b.clone())
            } else {
                (b.clone(), a.clone())
            }),
            _ => None,
        };
        if let Some(id) = pair.as_ref().and_then(|pair| self.pairs.get(pair)) {
            let room = self.state(self.room(id)?, 0);
            return Ok(ChatOk::Created {
                room,
                is_new: false,
            });
        }
        if let Some(by) = &new.by
            && new.members.iter().any(|(user, _)| self.blocks(user, by))
        {
            return Err(StoreError::Forbidden);
        }
        let place = |role: MemberRole| Place {
            role,
            delivered_seq: 0,
            read_seq: 0,
            joined_seq: 0,
        };
        let members = new.members.iter();
        let room = Room {
            id: new.id.clone(),
            epoch: new.epoch.clone(),
            kind: new.kind,
            title: new.title.clone(),
            created_at_ms: new.at_ms,
            updated_at_ms: new.at_ms,
            members: members
                .map(|(user, role)| (user.clone(), place(*role)))
                .collect(),
            messages: Vec::new(),
            by_id: HashMap::new(),
            by_client_id: HashMap::new(),
            log: Vec::new(),
        };
        if let Some(pair) = pair {
            self.pairs.insert(pair, new.id.clone());
        }
        let state = self.state(&room, 0);
        self.rooms.insert(new.id.clone(), room);
        Ok(ChatOk::Created {
            room: state,
            is_new: true,
        })
    }

    fn list(&self, user: &UserId, before: Option<&RoomCursor>, limit: usize) -> ChatOk {
        let mine = self
            .rooms
            .values()
            .filter(|room| room.members.contains_key(user));
        let mut mine: Vec<&Room> = mine
            .filter(|room| {
                before.is_none_or(|before| {
                    (room.updated_at_ms, &room.id) < (before.updated_at_ms, &before.room)
                })
            })
            .collect();
        mine.sort_by_key(|room| Reverse((room.updated_at_ms, &room.id)));
        let has_more = mine.len() > limit;
        let entry = |room: &&Room| RoomEntry {
            id: room.id.clone(),
            kind: room.kind,
            title: room.title.clone(),
            members: self.members(room),
            last_message: room.messages.last().cloned(),
            unread: room.unread(user, room.members[user].read_seq),
            created_at_ms: room.created_at_ms,
            updated_at_ms: room.updated_at_ms,
            blockers: room
                .members
                .keys()
                .filter(|member| self.blocks(member, user))
                .cloned()
                .collect(),
        };
        let rooms = mine.iter().take(limit).map(entry).collect();
        ChatOk::Rooms { rooms, has_more }
    }

    fn add(&mut self, new: &NewMessage) -> Result<ChatOk, StoreError> {
        let room = self.room_mut(&new.room)?;
        let name = new
            .client_id
            .clone()
            .map(|client_id| (new.sender.id.clone(), client_id));
        if let Some(index) = name.as_ref().and_then(|name| room.by_client_id.get(name)) {
            return Ok(ChatOk::Message {
                message: room.messages[*index].clone(),
                is_new: false,
            });
        }
        if let Some(id) = &new.reply_to_id
            && !room.by_id.contains_key(id)
        {
            return Err(StoreError::NotFound);
        }
        let index = room.messages.len();
        let seq = room.append(new.at_ms, Logged::Message { index });
        let message = Message {
            id: new.id.clone(),
            room: new.room.clone(),
            seq,
            sender: new.sender.clone(),
            text: new.text.clone(),
            client_id: new.client_id.clone(),
            reply_to_id: new.reply_to_id.clone(),
            attachments: new.attachments.clone(),
            created_at_ms: new.at_ms,
            edited_at_ms: None,
            deleted_at_ms: None,
        };
        room.by_id.insert(new.id.clone(), index);
        if let Some(name) = name {
            room.by_client_id.insert(name, index);
        }
        if let Some(place) = room.members.get_mut(&new.sender.id) {
            place.delivered_seq = seq;
            place.read_seq = seq;
        }
        room.messages.push(message.clone());
        Ok(ChatOk::Message {
            message,
            is_new: true,
        })
    }

    fn edit(
        &mut self,
        room: &RoomId,
        id: &str,
        by: &UserId,
        text: &str,
        at_ms: u64,
    ) -> Result<ChatOk, StoreError> {
        let room = self.room_mut(room)?;
        let index = room.changeable(id)?;
        if room.messages[index].sender.id != *by {
            return Err(StoreError::Forbidden);
        }
        room.messages[index].text = text.to_owned();
        room.messages[index].edited_at_ms = Some(at_ms);
        let seq = room.append(at_ms, Logged::Edited { index });
        let message = room.messages[index].clone();
        Ok(ChatOk::Changed { seq, message })
    }

    fn delete(
        &mut self,
        room: &RoomId,
        id: &str,
        by: &UserId,
        any: bool,
        at_ms: u64,
    ) -> Result<ChatOk, StoreError> {
        let room = self.room_mut(room)?;
        let index = room.changeable(id)?;
        let message = &mut room.messages[index];
        if message.sender.id != *by && !any {
            return Err(StoreError::Forbidden);
        }
        message.text.clear();
        message.attachments.clear();
        message.deleted_at_ms = Some(at_ms);
        let message = message.clone();
        let by = by.clone();
        let seq = room.append(at_ms, Logged::Deleted { index, by });
        Ok(ChatOk::Changed { seq, message })
    }

    fn change(
        &mut self,
        id: &RoomId,
        by: &User,
        change: &RoomChange,
        at_ms: u64,
    ) -> Result<ChatOk, StoreError> {
        let blocks = self.blocks.clone();
        let room = self.room_mut(id)?;
        match change {
            RoomChange::Renamed { title } => room.title = Some(title.clone()),
            RoomChange::MembersAdded { users } => {
                let is_new = |user: &&UserId| !room.members.contains_key(user);
                let new: Vec<UserId> = users.iter().filter(is_new).cloned().collect();
                let blocks_by = |user: &UserId| blocks.contains(&(user.clone(), by.id.clone()));
                if new.iter().any(blocks_by) {
                    return Err(StoreError::Forbidden);
                }
                let seq = room.last_seq() + 1;
                let place = Place {
                    role: MemberRole::Member,
                    delivered_seq: seq,
                    read_seq: seq,
                    joined_seq: seq,
                };
                room.members
                    .extend(new.into_iter().map(|user| (user, place)));
            }
            RoomChange::MemberRemoved { user, new_owner } => {
                room.members.remove(user).ok_or(StoreError::NotFound)?;
                if let Some(owner) = new_owner.as_ref().and_then(|u| room.members.get_mut(u)) {
                    owner.role = MemberRole::Owner;
                }
            }
            RoomChange::RoleChanged { user, role } => {
                if !room.members.contains_key(user) {
                    return Err(StoreError::NotFound);
                }
                for (one, place) in &mut room.members {
                    if one == user {
                        place.role = *role;
                    } else if *role == MemberRole::Owner && place.role == MemberRole::Owner {
                        place.role = MemberRole::Admin;
                    }
                }
            }
        }
        let logged = Logged::Changed {
            by: by.clone(),
            change: change.clone(),
        };
        let seq = room.append(at_ms, logged);
        let room = self.room(id)?;
        Ok(ChatOk::RoomChanged {
            seq,
            title: room.title.clone(),
            members: self.members(room),
        })
    }

    fn set_position(
        &mut self,
        room: &RoomId,
        user: &UserId,
        delivered: Option<u64>,
        read: Option<u64>,
    ) -> Result<ChatOk, StoreError> {
        let room = self.room_mut(room)?;
        let place = room.members.get_mut(user).ok_or(StoreError::NotFound)?;
        place.read_seq = place.read_seq.max(read.unwrap_or(0));
        place.delivered_seq = place.delivered_seq.max(delivered.unwrap_or(0));
        let place = *place;
        Ok(ChatOk::Position {
            delivered_seq: place.delivered_seq,
            read_seq: place.read_seq,
            unread: room.unread(user, place.read_seq),
        })
    }

    fn search(
        &self,
        user: &UserId,
        text: &str,
        room: Option<&RoomId>,
        before_ms: Option<u64>,
        limit: usize,
    ) -> ChatOk {
        let wanted = words(text);
        let rooms = self.rooms.values().filter(|one| {
            one.members.contains_key(user) && room.is_none_or(|room| one.id == *room)
        });
        let mut found: Vec<&Message> = rooms
            .flat_map(|room| &room.messages)
            .filter(|message| {
                message.deleted_at_ms.is_none()
                    && before_ms.is_none_or(|before| message.created_at_ms < before)
                    && matches(&words(&message.text), &wanted)
            })
            .collect();
        found.sort_by_key(|message| Reverse((message.created_at_ms, &message.id)));
        let has_more = found.len() > limit;
        ChatOk::Messages {
            messages: found.into_iter().take(limit).cloned().collect(),
            has_more,
        }
    }
}

impl Room {
    fn last_seq(&self) -> u64 {
        self.log.len() as u64
    }

    fn append(&mut self, at_ms: u64, what: Logged) -> u64 {
        self.log.push((at_ms, what));
        self.updated_at_ms = at_ms;
        self.last_seq()
    }

    fn changeable(&self, id: &str) -> Result<usize, StoreError> {
        let index = *self.by_id.get(id).ok_or(StoreError::NotFound)?;
        match self.messages[index].deleted_at_ms {
            Some(_) => Err(StoreError::NotFound),
            None => Ok(index),
        }
    }

    /// The first message with a larger `seq`.
    fn behind(&self, seq: u64) -> usize {
        self.messages.partition_point(|message| message.seq <= seq)
    }

    fn unread(&self, user: &UserId, read_seq: u64) -> u64 {
        let behind = self.messages[self.behind(read_seq)..].iter();
        let is_unread =
            |message: &&Message| message.sender.id != *user && message.deleted_at_ms.is_none();
        behind.filter(is_unread).count() as u64
    }

    fn history(&self, before_seq: Option<u64>, after_seq: Option<u64>, limit: usize) -> ChatOk {
        if let Some(after) = after_seq {
            let first = self.behind(after);
            let end = self.messages.len().min(first + limit);
            return ChatOk::Messages {
                messages: self.messages[first..end].to_vec(),
                has_more: end < self.messages.len(),
            };
        }
        let end = before_seq.map_or(self.messages.len(), |before| {
            self.behind(before.saturating_sub(1))
        });
        let first = end.saturating_sub(limit);
        ChatOk::Messages {
            messages: self.messages[first..end].to_vec(),
            has_more: first > 0,
        }
    }

    fn read_log(&self, after_seq: u64, limit: usize) -> ChatOk {
        let first = usize::try_from(after_seq)
            .unwrap_or(usize::MAX)
            .min(self.log.len());
        let end = self.log.len().min(first.saturating_add(limit));
        let entry = |(offset, (at_ms, what)): (usize, &(u64, Logged))| LogEntry {
            seq: (first + offset) as u64 + 1,
            at_ms: *at_ms,
            event: self.event(what),
        };
        ChatOk::Log {
            entries: self.log[first..end].iter().enumerate().map(entry).collect(),
            is_complete: end == self.log.len(),
        }
    }

    fn event(&self, what: &Logged) -> LogEvent {
        match what {
            Logged::Message { index } => LogEvent::Message(self.messages[*index].clone()),
            Logged::Edited { index } => LogEvent::Edited {
                id: self.messages[*index].id.clone(),
                text: self.messages[*index].text.clone(),
            },
            Logged::Deleted { index, by } => LogEvent::Deleted {
                id: self.messages[*index].id.clone(),
                by: by.clone(),
            },
            Logged::Changed { by, change } => LogEvent::Changed {
                by: by.clone(),
                change: change.clone(),
            },
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// All words are there; the last may be the beginning of one.
fn matches(text: &[String], wanted: &[String]) -> bool {
    let Some((last, others)) = wanted.split_last() else {
        return false;
    };
    others.iter().all(|word| text.contains(word)) && text.iter().any(|word| word.starts_with(last))
}
