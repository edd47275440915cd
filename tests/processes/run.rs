//! One run: clients that write all the time, a seeded schedule of faults that goes on with the acknowledgements, and the end,
//! when everybody must have everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::client::{Client, Control, Event, Memory, Order};
use crate::cluster::Cluster;
use crate::damage::assert_that_damage_is_found;
use crate::judge::{Fact, Held, Judge, ends, entry_of};
use crate::server::{Server, token};

/// Members of the large group. The first one only listens; the last one is away for a part of the run.
const PEOPLE: usize = 6;

const AWAY: usize = PEOPLE - 1;

/// How much the one who is away misses of the large group: more than is recovered.
const MISSED: u64 = 600;

/// Acknowledgements between two faults.
const BETWEEN: std::ops::Range<u64> = 100..300;

/// Only a guard: a run that is well ends long before.
const PATIENCE: Duration = Duration::from_secs(240);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` of the server.
    Kill,
    /// The server is stopped with SIGSTOP, and goes on after some clients have given up on it.
    Freeze,
    /// Stopped, and then killed: what was sent to it meanwhile is lost.
    FreezeAndKill,
    /// Some connections break.
    Break,
    /// PostgreSQL crashes and is started again when a client has noticed.
    Crash,
    /// Both at once.
    CrashAndKill,
}

pub(crate) struct Run {
    seed: u64,
    random: ChaCha8Rng,
    server: Server,
    cluster: Option<Cluster>,
    people: Vec<(String, String)>,
    control: watch::Sender<Control>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    events: mpsc::UnboundedReceiver<Event>,
    judge: Judge,
    tape: Vec<Fact>,
    /// The large group first.
    rooms: Vec<String>,
    written: u64,
    repeated: u64,
    refused: u64,
    resumed: u64,
    broken: u64,
    stopped: usize,
    deadline: Instant,
}

/// Carries out the faults, shuffled by the seed.
pub(crate) async fn run(store: &str, cluster: Option<Cluster>, seed: u64, mut faults: Vec<Fault>) {
    eprintln!("REDRED_SEED={seed}");
    let mut run = Run::begin(store, cluster, seed).await;
    faults.shuffle(&mut run.random);
    run.order(AWAY, Order::Leave).await;
    let mut is_away = true;
    for fault in &faults {
        run.write_for_a_while().await;
        if is_away && run.has_missed_enough() {
            run.orders[AWAY]
                .send(Order::Return)
                .expect("a living client");
            is_away = false;
        }
        run.inject(*fault).await;
    }
    if is_away {
        run.until("much is missed", Run::has_missed_enough).await;
        run.orders[AWAY]
            .send(Order::Return)
            .expect("a living client");
    }
    run.finish(&faults).await;
}

impl Run {
    async fn begin(store: &str, cluster: Option<Cluster>, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let server = Server::start(store);
        let names: Vec<String> = (0..PEOPLE).map(|number| format!("u{number}")).collect();
        let people: Vec<(String, String)> = names
            .iter()
            .map(|name| (name.clone(), token(name)))
            .collect();
        let mut rooms = Vec::new();
        let members: Vec<Vec<usize>> = vec![(0..PEOPLE).collect(), vec![0, 1, 2], vec![1, 3]];
        for members in &members {
            let kind = if members.len() == 2 {
                "direct"
            } else {
                "group"
            };
            let others: Vec<&String> = members[1..].iter().map(|number| &names[*number]).collect();
            let new = json!({ "kind": kind, "members": others });
            let by = &people[members[0]].1;
            let room = server.post("/api/v1/rooms", by, &new).await;
            rooms.push(format!("chat:{}", room["id"].as_str().expect("an id")));
        }
        let (control, controlled) = watch::channel(Control {
            address: Some(server.address),
            is_writing: true,
        });
        let (events, heard) = mpsc::unbounded_channel();
        let mut orders = Vec::new();
        for (number, (user, token)) in people.iter().enumerate() {
            let is_member = |members: &&Vec<usize>| members.contains(&number);
            let (order, obeyed) = mpsc::unbounded_channel();
            orders.push(order);
            let client = Client {
                number: number as u64,
                user: user.clone(),
                token: token.clone(),
                rooms: rooms
                    .iter()
                    .zip(&members)
                    .filter(|(_, members)| is_member(members))
                    .map(|(room, _)| room.clone())
                    .collect(),
                is_silent: number == 0,
                random: ChaCha8Rng::seed_from_u64(random.random()),
                control: controlled.clone(),
                events: events.clone(),
                memory: Memory::default(),
            };
            tokio::spawn(client.live(obeyed));
        }
        let mut run = Self {
            seed,
            random,
            server,
            cluster,
            people,
            control,
            orders,
            events: heard,
            judge: Judge::default(),
            tape: Vec::new(),
            rooms,
            written: 0,
            repeated: 0,
            refused: 0,
            resumed: 0,
            broken: 0,
            stopped: 0,
            deadline: Instant::now() + PATIENCE,
        };
        run.until("everybody is there", |run| {
            let mut people = 0..PEOPLE as u64;
            people.all(|number| run.judge.checker.position(number, &run.rooms[0]).is_some())
        })
        .await;
        run
    }

    /// Waits for the next event and takes note of it.
    async fn next(&mut self, why: &str) {
        let Ok(Some(event)) = timeout_at(self.deadline, self.events.recv()).await else {
            panic!("seed {}: waited in vain until {why}", self.seed);
        };
        match event {
            Event::Fact(fact) => {
                if let Err(wrong) = self.judge.hear(&fact) {
                    panic!("seed {}: {wrong}, of {fact:?}", self.seed);
                }
                self.tape.push(fact);
            }
            Event::Wrote => self.written += 1,
            Event::Repeated => self.repeated += 1,
            Event::Refused => self.refused += 1,
            Event::Resumed => self.resumed += 1,
            Event::Broke => self.broken += 1,
            Event::Stopped => self.stopped += 1,
            Event::Wrong(what) => panic!("seed {}: {what}", self.seed),
        }
    }

    async fn until(&mut self, what: &str, mut is_reached: impl FnMut(&Self) -> bool) {
        while !is_reached(self) {
            self.next(what).await;
        }
    }

    async fn write_for_a_while(&mut self) {
        let goal = self.judge.acknowledged() + self.random.random_range(BETWEEN);
        self.until("more is acknowledged", |run| {
            run.judge.acknowledged() >= goal
        })
        .await;
    }

    /// Whether the one who is away cannot be given everything that was missed.
    fn has_missed_enough(&self) -> bool {
        let position = |number: usize| {
            let position = self.judge.checker.position(number as u64, &self.rooms[0]);
            position.unwrap_or(0)
        };
        position(0) > position(AWAY) + MISSED
    }

    async fn order(&mut self, number: usize, order: Order) {
        self.orders[number].send(order).expect("a living client");
        let goal = self.broken + 1;
        self.until("a connection is broken", |run| run.broken >= goal)
            .await;
    }

    async fn break_some(&mut self) {
        let everybody: Vec<usize> = (0..AWAY).collect();
        let some: Vec<usize> = everybody
            .choose_multiple(&mut self.random, PEOPLE / 2)
            .copied()
            .collect();
        for number in some {
            self.order(number, Order::Break).await;
        }
    }

    fn set_address(&self, is_up: bool) {
        let address = is_up.then_some(self.server.address);
        self.control
            .send_modify(|control| control.address = address);
    }

    /// Starting and stopping processes holds up this task and none of the clients, which have threads of their own.
    async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(),
            Fault::Freeze => {
                self.server.freeze();
                self.break_some().await;
                self.server.thaw();
            }
            Fault::FreezeAndKill => {
                self.server.freeze();
                self.break_some().await;
                self.kill();
            }
            Fault::Break => self.break_some().await,
            Fault::Crash => {
                self.cluster().kill();
                let goal = self.refused + 1;
                self.until("a crash is noticed", |run| run.refused >= goal)
                    .await;
                self.cluster().restart();
            }
            Fault::CrashAndKill => {
                self.set_address(false);
                self.cluster().kill();
                self.server.kill();
                self.cluster().restart();
                self.server.restart();
                self.set_address(true);
            }
        }
    }

    fn kill(&mut self) {
        // Before it is gone, so that nobody asks at an address that may be another's by now.
        self.set_address(false);
        self.server.kill();
        self.server.restart();
        self.set_address(true);
    }

    fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("a run on PostgreSQL")
    }

    /// Everything is well again: what was written is acknowledged, and then everybody must have it.
    async fn finish(mut self, faults: &[Fault]) {
        let seed = self.seed;
        self.control
            .send_modify(|control| control.is_writing = false);
        self.until("everything is acknowledged", |run| {
            run.stopped == PEOPLE && run.judge.acknowledged() == run.written
        })
        .await;
        let held = self.held().await;
        let ends = ends(&held);
        self.until("everybody has everything", |run| run.judge.is_at(&ends))
            .await;
        assert_eq!(self.judge.finish(&held), Ok(()), "seed {seed}");
        // What is stored is there without what the server remembers, and its counters fit it.
        self.kill();
        assert_eq!(self.held().await, held, "seed {seed}");
        self.check_unread(&held).await;

        let checker = &self.judge.checker;
        assert!(
            self.judge.filled() as u64 > MISSED / 2,
            "seed {seed}: no gap"
        );
        assert!(checker.recovered > faults.len() as u64, "seed {seed}");
        assert!(self.repeated > 0, "seed {seed}: nothing was sent again");
        assert!(self.resumed > 0, "seed {seed}: no session was resumed");
        let from = self.random.random_range(0..self.tape.len());
        assert_that_damage_is_found(&self.tape, &held, from);
        let kinds: BTreeMap<String, usize> =
            faults.iter().fold(BTreeMap::new(), |mut kinds, fault| {
                *kinds.entry(format!("{fault:?}")).or_default() += 1;
                kinds
            });
        eprintln!(
            "seed {seed}: {kinds:?}; {} messages, {} sent again after a break, {} deliveries, {} recoveries, \
             {} gaps told, {} messages read in the history, {} requests refused and repeated, \
             {} sessions resumed; 0 lost, 0 doubled, 0 reordered",
            self.written,
            self.repeated,
            checker.deliveries,
            checker.recovered,
            checker.told_gaps,
            self.judge.filled(),
            self.refused,
            self.resumed,
        );
    }

    /// What the server says that it holds.
    async fn held(&self) -> Held {
        let mut held = Held::new();
        // Somebody of each room.
        for (room, member) in self.rooms.iter().zip([0, 0, 1]) {
            for message in self.server.messages(room, &self.people[member].1).await {
                let seq = message["seq"].as_u64().expect("a position");
                let entry = entry_of(&message).unwrap_or_else(|wrong| panic!("{wrong}"));
                let other = held.insert((room.clone(), seq), entry);
                assert_eq!(other, None, "{room} has two messages at {seq}");
            }
        }
        held
    }

    /// Nobody has marked anything as read, and who writes has read what came before.
    async fn check_unread(&self, held: &Held) {
        for (user, token) in &self.people {
            let listed = self.server.get("/api/v1/rooms", token).await;
            let rooms = listed["rooms"].as_array().expect("a list");
            let names: BTreeSet<String> = rooms.iter().map(name_of).collect();
            assert_eq!(names.len(), rooms.len(), "{user}");
            for room in rooms {
                let name = name_of(room);
                let own = |entry: &crate::checker::Entry| {
                    let id = entry.client_id.as_deref().unwrap_or_default();
                    id.split('-').next() == Some(user)
                };
                let of_room: Vec<_> = held.iter().filter(|((of, _), _)| *of == name).collect();
                let behind = of_room.iter().rev().take_while(|(_, entry)| !own(entry));
                let expected = behind.count() as u64;
                assert_eq!(
                    room["unread"], expected,
                    "seed {}: {user} in {name}",
                    self.seed
                );
            }
        }
    }
}

fn name_of(room: &Value) -> String {
    format!("chat:{}", room["id"].as_str().expect("an id"))
}
