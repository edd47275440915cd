//! Promise P10 in simulation: nothing acknowledged is lost, nothing comes twice or out of order, and every gap is recovered
//! or told, while sockets drop, readers stall, the store fails or loses its word, answers and publications are late, another
//! node writes, and rooms are forgotten. More than a million messages, delivered or acknowledged, over fixed seeds.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redred_signaling::broker::{Audience, Publication};
use redred_signaling::message::ServerMessage;
use redred_signaling::message::chat::MessageView;
use redred_signaling::message::connection::Position;
use redred_signaling::sim::{World, viewer};
use redred_signaling::store::chat::{ChatOk, ChatOp, LogEvent, NewMessage};
use redred_signaling::store::{StoreOk, StoreOp};
use redred_signaling::{Channel, Config, RoomId, SessionId};
use serde_json::json;

#[path = "support/checker.rs"]
mod checker;
mod support;
use checker::{Acknowledged, Checker, Entry, Told, entry};
use support::{chat_of, direct, group};

/// Messages that each run delivers or acknowledges at least.
const PER_RUN: u64 = 130_000;

/// Runs, each a test of its own so that they share the processors.
const RUNS: u64 = 8;

const _: () = assert!(PER_RUN * RUNS > 1_000_000);

/// People in the groups.
const PEOPLE: usize = 40;

/// How often something goes wrong, in a thousand steps.
#[derive(Clone, Copy, Default)]
struct Faults {
    drops: u32,
    stalls: u32,
    outages: u32,
    lost_answers: u32,
    held_answers: u32,
    held_publications: u32,
    other_nodes: u32,
    blackouts: u32,
}

#[test]
fn all_is_well_when_sockets_drop() {
    let faults = Faults {
        drops: 60,
        ..Faults::default()
    };
    run(1, faults);
}

#[test]
fn all_is_well_when_readers_are_slow() {
    let faults = Faults {
        stalls: 30,
        ..Faults::default()
    };
    run(2, faults);
}

#[test]
fn all_is_well_when_the_store_fails() {
    let faults = Faults {
        outages: 30,
        drops: 10,
        ..Faults::default()
    };
    run(3, faults);
}

#[test]
fn all_is_well_when_the_word_of_the_store_is_lost() {
    let faults = Faults {
        lost_answers: 30,
        drops: 10,
        ..Faults::default()
    };
    run(5, faults);
}

#[test]
fn all_is_well_when_answers_and_publications_are_late() {
    let faults = Faults {
        held_answers: 100,
        held_publications: 50,
        drops: 30,
        ..Faults::default()
    };
    run(8, faults);
}

#[test]
fn all_is_well_when_another_node_writes() {
    let faults = Faults {
        other_nodes: 100,
        drops: 10,
        ..Faults::default()
    };
    run(13, faults);
}

#[test]
fn all_is_well_when_rooms_are_forgotten() {
    let faults = Faults {
        drops: 10,
        blackouts: 5,
        ..Faults::default()
    };
    run(21, faults);
}

#[test]
fn all_is_well_when_everything_happens() {
    let faults = Faults {
        drops: 30,
        stalls: 10,
        outages: 10,
        lost_answers: 10,
        held_answers: 40,
        held_publications: 20,
        other_nodes: 40,
        blackouts: 2,
    };
    run(34, faults);
}

fn config() -> Config {
    let mut config = Config::default();
    config.session.messages_per_second = 1_000_000;
    config.session.messages_burst = 1_000_000;
    config.session.abuse_budget = 1_000_000;
    config.outbox.messages_max = 200;
    config.rooms.messages_per_second = 1_000_000;
    config.rooms.messages_burst = 1_000_000;
    config.rooms.recent_messages = 10;
    config.rooms.history_messages = 30;
    config.rooms.recovery_messages = 100;
    config.rooms.linger = Duration::from_secs(2);
    config
}

struct Client {
    user: String,
    rooms: Vec<String>,
    socket: Option<SessionId>,
    is_stalled: bool,
    /// Epochs of the rooms it has seen.
    epochs: BTreeMap<String, String>,
    /// What it has written and was not acknowledged, by `client_id`: the room.
    open: BTreeMap<String, String>,
    /// Its own messages that it may edit or delete.
    own: Vec<(String, String)>,
}

struct Run {
    rng: ChaCha8Rng,
    faults: Faults,
    world: World,
    checker: Checker,
    clients: Vec<Client>,
    rooms: Vec<String>,
    /// Frames of this step that were read already: a broadcast is parsed once.
    parsed: HashMap<*const u8, (Bytes, Rc<Told>)>,
    next: u64,
    injected: BTreeMap<&'static str, u64>,
    /// Blackouts after which no room was in memory.
    forgotten: u64,
}

fn run(seed: u64, faults: Faults) {
    let mut run = Run::new(seed, faults);
    let mut steps = 0_u64;
    while run.checker.deliveries + run.checker.acknowledgements < PER_RUN {
        run.step();
        steps += 1;
        assert!(
            steps < 1_000_000,
            "seed {seed}: too slow: {:?}",
            run.checker.deliveries
        );
    }
    run.finish(seed);
}

impl Run {
    fn new(seed: u64, faults: Faults) -> Self {
        let mut world = World::new(config());
        let names: Vec<String> = (0..PEOPLE).map(|n| format!("u{n}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let rooms = vec![
            group(&mut world, all[0], &all[1..]),
            group(&mut world, all[0], &all[1..PEOPLE / 2]),
            direct(&mut world, all[0], all[1]),
        ];
        let clients = names.iter().enumerate().map(|(index, user)| Client {
            user: user.clone(),
            rooms: rooms
                .iter()
                .zip([PEOPLE, PEOPLE / 2, 2])
                .filter(|(_, members)| index < *members)
                .map(|(room, _)| room.clone())
                .collect(),
            socket: None,
            is_stalled: false,
            epochs: BTreeMap::new(),
            open: BTreeMap::new(),
            own: Vec::new(),
        });
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            faults,
            clients: clients.collect(),
            world,
            checker: Checker::default(),
            rooms,
            parsed: HashMap::new(),
            next: 0,
            injected: BTreeMap::new(),
            forgotten: 0,
        }
    }

    fn happens(&mut self, what: &'static str, in_thousand: u32) -> bool {
        let happens = in_thousand > 0 && self.rng.random_range(0..1000) < in_thousand;
        if happens {
            *self.injected.entry(what).or_default() += 1;
        }
        happens
    }

    fn next_id(&mut self) -> String {
        self.next += 1;
        format!("c-{}", self.next)
    }

    fn step(&mut self) {
        let faults = self.faults;
        let at = self.rng.random_range(0..self.clients.len());
        if self.clients[at].socket.is_none() {
            self.connect(at);
        } else if self.happens("drop", faults.drops) {
            self.drop(at);
        } else if self.happens("stall", faults.stalls) {
            self.stall(at);
        } else if self.happens("blackout", faults.blackouts) {
            self.black_out();
        } else {
            self.speak(at);
        }
        if self.happens("other node", faults.other_nodes) {
            self.write_elsewhere();
        }
        self.break_and_mend();
        for at in 0..self.clients.len() {
            self.receive(at, usize::MAX);
        }
        self.parsed.clear();
    }

    /// The store and the broker fail for a while and recover.
    fn break_and_mend(&mut self) {
        let faults = self.faults;
        let is_over = self.rng.random_range(0..10) == 0;
        if self.world.is_store_down || self.happens("outage", faults.outages) {
            self.world.is_store_down = !is_over;
        }
        if self.world.is_store_mute || self.happens("lost answer", faults.lost_answers) {
            self.world.is_store_mute = !is_over;
        }
        if self.world.is_store_held || self.happens("held answer", faults.held_answers) {
            self.world.is_store_held = !is_over;
            for _ in 0..self.rng.random_range(0..4) {
                self.world.release_store_reply();
            }
        }
        if self.world.is_broker_held || self.happens("held publication", faults.held_publications) {
            self.world.is_broker_held = !is_over;
        }
        let wait = if self.rng.random_range(0..50) == 0 {
            3000
        } else {
            5
        };
        let wait = Duration::from_millis(self.rng.random_range(0..=wait));
        self.world.advance(wait);
        self.world.run();
    }

    fn connect(&mut self, at: usize) {
        let socket = self.world.connect(&viewer(&self.clients[at].user), None);
        self.clients[at].socket = Some(socket);
        self.clients[at].is_stalled = false;
        for room in self.clients[at].rooms.clone() {
            let epoch = self.clients[at].epochs.get(&room);
            let seen = self.checker.position(at as u64, &room);
            let since = epoch
                .zip(seen)
                .map(|(epoch, seq)| json!({"epoch": epoch, "seq": seq}));
            let data = json!({"channel": room, "since": since});
            self.world.send(socket, &room, "subscribe", data);
        }
        // What was not acknowledged is sent again.
        for (client_id, room) in self.clients[at].open.clone() {
            self.write(socket, &room, &client_id);
        }
    }

    fn write(&mut self, socket: SessionId, room: &str, client_id: &str) {
        let data = json!({"text": "hello", "client_id": client_id});
        let about = json!({"channel": room, "id": client_id});
        let envelope = json!({"type": "chat_message", "data": data, "metadata": about});
        self.world.send_text(socket, &envelope.to_string());
    }

    /// The socket breaks: only a part of what was written to it has arrived.
    fn drop(&mut self, at: usize) {
        let arrived = self.rng.random_range(0..5);
        self.receive(at, arrived);
        if let Some(socket) = self.clients[at].socket.take() {
            self.world.take_bytes(socket);
            self.world.disconnect(socket);
            self.world.take_bytes(socket);
        }
    }

    /// Everybody's socket breaks, and nobody comes back for so long that the rooms are forgotten.
    fn black_out(&mut self) {
        for at in 0..self.clients.len() {
            self.drop(at);
        }
        self.world.advance(Duration::from_secs(4));
        self.forgotten += u64::from(self.world.hub.stats().chat_rooms == 0);
    }

    /// The reader takes nothing more, until the server gives up on it or it drops.
    fn stall(&mut self, at: usize) {
        if let Some(socket) = self.clients[at].socket {
            self.world.stall(socket);
            self.clients[at].is_stalled = true;
        }
    }

    fn speak(&mut self, at: usize) {
        let client = &self.clients[at];
        let Some(socket) = client.socket else {
            return;
        };
        if client.is_stalled && self.rng.random_range(0..20) == 0 {
            return self.drop(at);
        }
        let room = client.rooms.choose(&mut self.rng).expect("a room").clone();
        match self.rng.random_range(0..20) {
            0 => {
                if let Some((room, id)) = client.own.choose(&mut self.rng).cloned() {
                    let edit = json!({"id": id, "text": "edited"});
                    self.world.send(socket, &room, "edit_message", edit);
                }
            }
            1 => {
                if let Some((room, id)) = self.clients[at].own.pop() {
                    let this = json!({"id": id});
                    self.world.send(socket, &room, "delete_message", this);
                }
            }
            2..=3 => {
                let up_to_seq = self.checker.position(at as u64, &room).unwrap_or(0);
                let kind = ["mark_delivered", "mark_read"].choose(&mut self.rng);
                let kind = kind.expect("one of two");
                self.world
                    .send(socket, &room, kind, json!({"up_to_seq": up_to_seq}));
            }
            4 => self
                .world
                .send(socket, &room, "typing", json!({"active": true})),
            5 if at == 0 && room != self.rooms[2] => {
                let title = format!("title {}", self.next);
                self.world
                    .send(socket, &room, "rename_room", json!({"title": title}));
            }
            6 => {
                // A client that is impatient sends once more what is on its way.
                let open = self.clients[at].open.iter().next();
                if let Some((client_id, room)) = open.map(|(id, room)| (id.clone(), room.clone())) {
                    self.write(socket, &room, &client_id);
                }
            }
            _ => {
                let client_id = self.next_id();
                self.clients[at]
                    .open
                    .insert(client_id.clone(), room.clone());
                self.write(socket, &room, &client_id);
            }
        }
    }

    /// Another node stores a message, and its publication arrives here or is lost.
    fn write_elsewhere(&mut self) {
        let room = self.rooms.choose(&mut self.rng).expect("a room").clone();
        let op = StoreOp::Chat(ChatOp::AddMessage(NewMessage {
            id: self.next_id(),
            room: RoomId::new(chat_of(&room)).expect("a room"),
            sender: viewer("u0").user,
            text: "from elsewhere".to_owned(),
            client_id: None,
            reply_to_id: None,
            attachments: Vec::new(),
            at_ms: self.world.now.wall_ms,
        }));
        let stored = self.world.store.carry_out(&op);
        let Ok(StoreOk::Chat(ChatOk::Message { message, .. })) = stored else {
            panic!("{stored:?}");
        };
        let epoch = self.clients[0].epochs.get(&room).cloned();
        if let (true, Some(epoch)) = (self.rng.random(), epoch) {
            let position = Some(Position {
                epoch,
                seq: message.seq,
            });
            self.world.publish(Publication {
                channel: Channel::parse(&room).expect("a channel"),
                audience: Audience::All,
                position,
                message: ServerMessage::ChatMessage(MessageView::from(message)),
                at_ms: self.world.now.wall_ms,
            });
        }
    }

    /// A client takes up to `most` of what has arrived.
    fn receive(&mut self, at: usize, most: usize) {
        let Some(socket) = self.clients[at].socket else {
            return;
        };
        let frames = self.world.take_bytes(socket);
        for frame in frames.iter().take(most) {
            let told = self.read(frame);
            if let Err(wrong) = self.hear(at, &told) {
                panic!("client {at}: {wrong}; injected: {:?}", self.injected);
            }
        }
        if self.world.closed.contains_key(&socket) {
            self.clients[at].socket = None;
        }
    }

    fn read(&mut self, frame: &Bytes) -> Rc<Told> {
        let (_, told) = self.parsed.entry(frame.as_ptr()).or_insert_with(|| {
            let told = serde_json::from_slice(frame).expect("what the server says can be read");
            // Kept together, so that its memory is not used again while it is known by its address.
            (frame.clone(), Rc::new(told))
        });
        Rc::clone(told)
    }

    fn hear(&mut self, at: usize, told: &Told) -> Result<(), String> {
        let client = at as u64;
        let channel = told.metadata.channel.as_deref().unwrap_or_default();
        let (data, about) = (&told.data, &told.metadata);
        if told.kind == "subscribed" {
            let epoch = data.epoch.clone().expect("an epoch");
            self.clients[at].epochs.insert(channel.to_owned(), epoch);
            let (seq, recovered) = (data.seq.expect("a position"), data.recovered == Some(true));
            return self.checker.subscribed(client, channel, seq, recovered);
        }
        if let Some(seq) = about.seq {
            let entry = entry(&told.kind, data.id.as_deref(), data.client_id.as_deref());
            return self.checker.delivered(client, channel, seq, &entry);
        }
        let Some(client_id) = about.reply_to.as_ref().filter(|_| told.kind == "ack") else {
            return Ok(());
        };
        let Some(id) = data.id.clone() else {
            return Ok(());
        };
        let room = data.room.as_ref().and_then(|room| room.as_str());
        let room = format!("chat:{}", room.expect("a room"));
        if self.clients[at].open.remove(client_id).is_some() {
            self.clients[at].own.push((room.clone(), id.clone()));
        }
        let seq = data.seq.expect("a position");
        let result = Acknowledged { room, seq, id };
        self.checker.acknowledged(client_id, result)
    }

    /// Everything is well again; then everybody must have everything.
    fn finish(mut self, seed: u64) {
        self.world.is_store_down = false;
        self.world.is_store_mute = false;
        self.world.is_store_held = false;
        self.world.is_broker_held = false;
        self.world.run();
        for at in 0..self.clients.len() {
            self.drop(at);
        }
        self.world.advance(Duration::from_secs(20));
        for _ in 0..3 {
            for at in 0..self.clients.len() {
                self.receive(at, usize::MAX);
                if self.clients[at].socket.is_none() {
                    self.connect(at);
                }
            }
            self.world.advance(Duration::from_secs(1));
        }
        // One message more in each room shows what is still missing.
        let socket = self.clients[0].socket.expect("connected");
        for room in self.rooms.clone() {
            let client_id = self.next_id();
            self.clients[0].open.insert(client_id.clone(), room.clone());
            self.write(socket, &room, &client_id);
        }
        self.world.advance(Duration::from_secs(20));
        for at in 0..self.clients.len() {
            self.receive(at, usize::MAX);
            assert!(
                self.clients[at].open.is_empty(),
                "seed {seed}: not acknowledged"
            );
        }
        let (ends, held) = self.stored();
        let checked = self.checker.finish(&ends, &held);
        assert_eq!(checked, Ok(()), "seed {seed}: injected {:?}", self.injected);
        for (what, in_thousand) in [
            ("drop", self.faults.drops),
            ("stall", self.faults.stalls),
            ("outage", self.faults.outages),
            ("lost answer", self.faults.lost_answers),
            ("held answer", self.faults.held_answers),
            ("held publication", self.faults.held_publications),
            ("other node", self.faults.other_nodes),
            ("blackout", self.faults.blackouts),
        ] {
            let injected = self.injected.get(what).copied().unwrap_or(0);
            assert_eq!(
                injected > 0,
                in_thousand > 0,
                "seed {seed}: {what}: {injected}"
            );
        }
        let stats = self.world.hub.stats();
        let (drops, others) = (self.faults.drops, self.faults.other_nodes);
        assert!(drops < 30 || self.checker.recovered > 0, "seed {seed}");
        assert!(drops < 30 || stats.chat_log_recoveries > 0, "seed {seed}");
        assert!(others == 0 || stats.chat_gaps > 0, "seed {seed}");
        assert!(
            self.faults.stalls == 0 || stats.slow_consumers > 0,
            "seed {seed}"
        );
        let blackouts = self.faults.blackouts;
        assert!(blackouts == 0 || self.forgotten > 0, "seed {seed}");
    }

    /// What the store holds: how far each room is, and what stands where.
    fn stored(&mut self) -> (BTreeMap<String, u64>, BTreeMap<(String, u64), Entry>) {
        let mut ends = BTreeMap::new();
        let mut held = BTreeMap::new();
        for room in &self.rooms {
            let op = StoreOp::Chat(ChatOp::ReadLog {
                room: RoomId::new(chat_of(room)).expect("a room"),
                after_seq: 0,
                limit: usize::MAX,
            });
            let Ok(StoreOk::Chat(ChatOk::Log { entries, .. })) = self.world.store.carry_out(&op)
            else {
                panic!("no log");
            };
            ends.insert(room.clone(), entries.len() as u64);
            for logged in entries {
                let entry = match &logged.event {
                    LogEvent::Message(message) => entry(
                        "chat_message",
                        Some(&message.id),
                        message.client_id.as_deref(),
                    ),
                    LogEvent::Edited { id, .. } => entry("message_edited", Some(id), None),
                    LogEvent::Deleted { id, .. } => entry("message_deleted", Some(id), None),
                    LogEvent::Changed { .. } => entry("room_updated", None, None),
                };
                held.insert((room.clone(), logged.seq), entry);
            }
        }
        (ends, held)
    }
}
