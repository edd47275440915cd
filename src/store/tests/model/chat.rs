//! Requests about rooms, messages, users and blocks.

use std::collections::HashMap;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use redred_signaling::grants::User;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::chat::{
    Attachment, ChatOk, ChatOp, MemberRole, NewMessage, NewRoom, RoomChange, RoomCursor, RoomKind,
};
use redred_signaling::store::{StoreOk, StoreOp};

/// What requests are about.
pub(super) struct Script {
    now_ms: u64,
    next_id: u64,
    users: Vec<User>,
    rooms: Vec<RoomId>,
    messages: Vec<(RoomId, String)>,
    /// The newest position of each room.
    last: HashMap<RoomId, u64>,
    cursor: Option<RoomCursor>,
    /// Messages that are still to come one after the other, so that they are written together.
    burst: usize,
}

impl super::Script for Script {
    fn new() -> Self {
        let user = |id: &str| User {
            id: UserId::new(id).expect("a valid name"),
            name: id.to_uppercase(),
        };
        Self {
            now_ms: 1_800_000_000_000,
            next_id: 0,
            users: ["ana", "Bo", "cy_1", "d.e", "eve", "fay-f"]
                .map(user)
                .to_vec(),
            rooms: vec![RoomId::new("nowhere").expect("a valid name")],
            messages: Vec::new(),
            last: HashMap::new(),
            cursor: None,
            burst: 0,
        }
    }

    fn next(&mut self, random: &mut ChaCha8Rng) -> StoreOp {
        self.now_ms += random.random_range(1..1000);
        let at_ms = self.now_ms;
        let user = self.user(random);
        let room = self.room(random);
        if self.burst > 0 {
            self.burst -= 1;
            let mut op = self.new_message(random, room, user, at_ms);
            // Most are new and of a room that exists: one that is not keeps others from being written together.
            if let ChatOp::AddMessage(new) = &mut op
                && random.random_bool(0.95)
            {
                // The first is none.
                let newest = self.rooms.len().saturating_sub(3).max(1);
                let known = self.rooms.get(newest..).unwrap_or_default();
                new.room = known.choose(random).unwrap_or(&new.room).clone();
                new.client_id = Some(new.id.clone());
                new.reply_to_id = self.replied(random, &new.room);
            }
            return StoreOp::Chat(op);
        }
        if random.random_range(0..50) == 0 {
            self.burst = random.random_range(2..100);
        }
        StoreOp::Chat(match random.random_range(0..100) {
            0..4 => ChatOp::SeeUser { user, at_ms },
            4..6 => ChatOp::LoadUser {
                user: user.id,
                asker: self.user(random).id,
            },
            6..12 => ChatOp::CreateRoom(self.new_room(random, at_ms)),
            12..16 => ChatOp::LoadRoom {
                room,
                messages: random.random_range(0..5),
            },
            16..20 => ChatOp::ListRooms {
                user: user.id,
                before: self.cursor.take_if(|_| random.random_bool(0.5)),
                limit: random.random_range(1..6),
            },
            20..50 => self.new_message(random, room, user, at_ms),
            50..56 => {
                let (room, id) = self.message(random, room);
                ChatOp::EditMessage {
                    room,
                    id,
                    by: user.id,
                    text: self.text(random),
                    at_ms,
                }
            }
            56..62 => {
                let (room, id) = self.message(random, room);
                ChatOp::DeleteMessage {
                    room,
                    id,
                    by: user.id,
                    any: random.random_bool(0.3),
                    at_ms,
                }
            }
            62..70 => ChatOp::ChangeRoom {
                room,
                by: user,
                change: self.change(random),
                at_ms,
            },
            70..80 => ChatOp::SetPosition {
                user: user.id,
                delivered: self.maybe_position(random, &room),
                read: self.maybe_position(random, &room),
                room,
            },
            80..84 => ChatOp::History {
                room,
                before_seq: Self::maybe_seq(random, 40),
                after_seq: Self::maybe_seq(random, 40),
                limit: random.random_range(1..10),
            },
            84..88 => ChatOp::ReadLog {
                room,
                after_seq: random.random_range(0..40),
                limit: random.random_range(1..20),
            },
            88..94 => {
                let within = random.random_bool(0.3).then_some(room);
                ChatOp::Search {
                    user: user.id,
                    text: self.wanted(random),
                    room: within,
                    before_ms: random.random_bool(0.3).then_some(at_ms - 100_000),
                    limit: random.random_range(1..8),
                }
            }
            94..96 => ChatOp::Block {
                user: user.id,
                blocked: self.user(random).id,
                at_ms,
            },
            96..98 => ChatOp::Unblock {
                user: user.id,
                blocked: self.user(random).id,
            },
            _ => ChatOp::ListBlocks { user: user.id },
        })
    }

    fn learn(&mut self, answer: &StoreOk) {
        let StoreOk::Chat(answer) = answer else {
            return;
        };
        match answer {
            ChatOk::Created { room, is_new: true } => self.rooms.push(room.id.clone()),
            ChatOk::Message { message, .. } => {
                self.messages
                    .push((message.room.clone(), message.id.clone()));
                self.reach(&message.room, message.seq);
            }
            ChatOk::Changed { message, seq } => self.reach(&message.room, *seq),
            ChatOk::Room(room) => self.reach(&room.id, room.last_seq),
            ChatOk::Rooms { rooms, .. } => {
                self.cursor = rooms.last().map(|room| RoomCursor {
                    updated_at_ms: room.updated_at_ms,
                    room: room.id.clone(),
                });
            }
            ChatOk::Done
            | ChatOk::User(_)
            | ChatOk::Users(_)
            | ChatOk::Created { .. }
            | ChatOk::RoomChanged { .. }
            | ChatOk::Position { .. }
            | ChatOk::Messages { .. }
            | ChatOk::Log { .. } => {}
        }
    }
}

impl Script {
    fn reach(&mut self, room: &RoomId, seq: u64) {
        let last = self.last.entry(room.clone()).or_default();
        *last = seq.max(*last);
    }

    fn new_room(&mut self, random: &mut ChaCha8Rng, at_ms: u64) -> NewRoom {
        let is_direct = random.random_bool(0.4);
        let count = if is_direct {
            2
        } else {
            random.random_range(1..5)
        };
        let chosen: Vec<User> = self.users.choose_multiple(random, count).cloned().collect();
        let by = random.random_bool(0.7).then(|| chosen[0].id.clone());
        let role = |index: usize| match (is_direct, index) {
            (false, 0) => MemberRole::Owner,
            (false, 1) => MemberRole::Admin,
            _ => MemberRole::Member,
        };
        let members = chosen.into_iter().enumerate();
        NewRoom {
            id: RoomId::new(self.id()).expect("a valid name"),
            epoch: format!("{:08x}", random.random::<u32>()),
            kind: if is_direct {
                RoomKind::Direct
            } else {
                RoomKind::Group
            },
            title: (!is_direct).then(|| self.text(random)),
            members: members
                .map(|(index, user)| (user.id, role(index)))
                .collect(),
            by,
            at_ms,
        }
    }

    fn new_message(
        &mut self,
        random: &mut ChaCha8Rng,
        room: RoomId,
        sender: User,
        at_ms: u64,
    ) -> ChatOp {
        let client_id = match random.random_range(0..4) {
            0 => None,
            1 => Some(format!("client-{}", random.random_range(0..20))),
            _ => Some(self.id()),
        };
        let reply = self.message(random, room.clone());
        let attachment = Attachment {
            url: String::from("https://example.org/a.png?x='1'"),
            media_type: String::from("image/png"),
            size: 12,
            name: random.random_bool(0.5).then(|| String::from("a \"b\"")),
        };
        ChatOp::AddMessage(NewMessage {
            id: self.id(),
            room,
            sender,
            text: self.text(random),
            client_id,
            reply_to_id: random.random_bool(0.2).then_some(reply.1),
            attachments: vec![attachment; random.random_range(0..3) / 2],
            at_ms,
        })
    }

    /// A message of the room, or none to answer to.
    fn replied(&self, random: &mut ChaCha8Rng, room: &RoomId) -> Option<String> {
        let theirs = self.messages.iter().rev().take(20);
        let mut theirs = theirs.filter(|(of, _)| of == room);
        let (_, id) = theirs.nth(random.random_range(0..20))?;
        Some(id.clone())
    }

    fn change(&self, random: &mut ChaCha8Rng) -> RoomChange {
        let user = self.user(random).id;
        match random.random_range(0..5) {
            0 => RoomChange::Renamed {
                title: self.text(random),
            },
            1 | 2 => RoomChange::MembersAdded {
                users: vec![user, self.users[0].id.clone()],
            },
            3 => RoomChange::MemberRemoved {
                user,
                new_owner: random.random_bool(0.5).then(|| self.user(random).id),
            },
            _ => RoomChange::RoleChanged {
                user,
                role: match random.random_range(0..3) {
                    0 => MemberRole::Owner,
                    1 => MemberRole::Admin,
                    _ => MemberRole::Member,
                },
            },
        }
    }

    fn user(&self, random: &mut ChaCha8Rng) -> User {
        self.users.choose(random).expect("some").clone()
    }

    fn room(&self, random: &mut ChaCha8Rng) -> RoomId {
        // The newest ones more often, so that some rooms become busy.
        let first = self.rooms.len().saturating_sub(6);
        let from = if random.random_bool(0.8) { first } else { 0 };
        self.rooms[from..].choose(random).expect("some").clone()
    }

    /// A message, of whatever room; or an id that is none.
    fn message(&self, random: &mut ChaCha8Rng, room: RoomId) -> (RoomId, String) {
        let first = self.messages.len().saturating_sub(30);
        match self.messages[first..].choose(random) {
            Some(message) if random.random_bool(0.9) => message.clone(),
            _ => (room, String::from("none")),
        }
    }

    fn maybe_seq(random: &mut ChaCha8Rng, most: u64) -> Option<u64> {
        let seq = random.random_range(0..most);
        random.random_bool(0.6).then_some(seq)
    }

    /// A position that the room has reached.
    fn maybe_position(&self, random: &mut ChaCha8Rng, room: &RoomId) -> Option<u64> {
        let last = self.last.get(room).copied().unwrap_or(0);
        let seq = random.random_range(0..=last);
        random.random_bool(0.6).then_some(seq)
    }

    fn text(&self, random: &mut ChaCha8Rng) -> String {
        let words = [
            "ana",
            "Banana",
            "bandana",
            "Größe",
            "x2",
            "ÑANDÚ",
            "don't",
            "a.b",
            "\u{1f600}",
            "日本",
            "OR",
            "NOT",
            "\"",
            "*",
            "",
        ];
        let count = random.random_range(1..6);
        let chosen = (0..count).map(|_| *words.choose(random).expect("some"));
        chosen.collect::<Vec<_>>().join(" ")
    }

    fn wanted(&self, random: &mut ChaCha8Rng) -> String {
        let words = [
            "ana", "ban", "BAN", "banana", "größe", "grö", "x2", "x", "ñandú", "n", "don t", "a b",
            "日", "or", "no", "r", "#", "ana ban", "ban ana",
        ];
        (*words.choose(random).expect("some")).to_owned()
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("{:032x}", self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}
