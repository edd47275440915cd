//! Random sessions against a model of what each user should have and know.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const SEEDS: [u64; 8] = [1, 2, 3, 5, 8, 13, 21, 34];
const STEPS: usize = 400;
const NAMES: [&str; 3] = ["ana", "bo", "cy"];

#[test]
fn devices_agree_with_the_store_through_random_sequences() {
    for seed in SEEDS {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
            run.listen();
        }
        run.finish();
    }
}

/// One connection, as a client keeps it.
#[derive(Debug)]
struct Device {
    name: &'static str,
    session: SessionId,
    /// What it would name in `since`.
    position: Option<(String, u64)>,
    unread: Option<u64>,
    /// `count` and `seq` of each line that it was told, by id.
    lines: BTreeMap<String, (u64, u64)>,
    /// Where the list that it began with ended: what came later must be told.
    from_seq: u64,
}

struct Run {
    seed: u64,
    rng: ChaCha8Rng,
    world: World,
    devices: Vec<Device>,
    /// Positions that devices had when they broke.
    broken: Vec<Device>,
    told: u64,
    recovered: u64,
    refused: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.notifications.recovery_max = 30;
        config.notifications.batch_max = 4;
        config.session.max_sessions_per_user = 1000;
        config.session.messages_burst = 10_000;
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            world: World::new(config),
            devices: Vec::new(),
            broken: Vec::new(),
            told: 0,
            recovered: 0,
            refused: 0,
        }
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list.choose(&mut self.rng).expect("not empty").clone()
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0 if self.devices.len() < 8 => self.connect(),
            1 if !self.devices.is_empty() => {
                let at = self.rng.random_range(0..self.devices.len());
                let device = self.devices.swap_remove(at);
                self.world.disconnect(device.session);
                self.broken.push(device);
            }
            2 if !self.broken.is_empty() => self.come_back(),
            3..=5 => {
                let ms = self.rng.random_range(1..700);
                self.world.advance(Duration::from_millis(ms));
            }
            6..=8 if !self.devices.is_empty() => self.read(),
            9 => self.world.store_fails_after = Some(self.rng.random_range(0..3)),
            _ => self.notify(),
        }
    }

    fn connect(&mut self) {
        let name = self.pick(&NAMES);
        let session = self.world.connect(&viewer(name), Some(CHANNEL));
        self.devices.push(Device {
            name,
            session,
            position: None,
            unread: None,
            lines: BTreeMap::new(),
            from_seq: 0,
        });
    }

    /// A device that broke comes back from the position it knows.
    fn come_back(&mut self) {
        let at = self.rng.random_range(0..self.broken.len());
        let mut device = self.broken.swap_remove(at);
        device.session = self.world.connect(&viewer(device.name), None);
        let mut ask = json!({"channel": CHANNEL});
        if let Some((epoch, seq)) = &device.position {
            ask["since"] = json!({"epoch": epoch, "seq": seq});
        }
        let session = device.session;
        let answer = self.world.ask(session, CHANNEL, "subscribe", ask);
        if answer["type"] == "ack" {
            self.devices.push(device);
        } else {
            self.world.disconnect(session);
            self.broken.push(device);
        }
    }

    fn notify(&mut self) {
        let kind = self.pick(&["like", "follow", "comment", "message"]);
        let to: Vec<&str> = NAMES
            .into_iter()
            .filter(|_| self.rng.random_range(0..3) > 0)
            .collect();
        if to.is_empty() {
            return;
        }
        let mut notify = event(kind, "di", &to);
        notify.group_key = self.pick(&[None, Some("a".to_owned()), Some("b".to_owned())]);
        // Now and then it is stored and nobody hears of it.
        self.world.is_store_mute = self.rng.random_range(0..20) == 0;
        self.refused += u64::from(post(&mut self.world, notify).is_err());
        self.world.is_store_mute = false;
    }

    fn read(&mut self) {
        let at = self.rng.random_range(0..self.devices.len());
        let (session, name) = (self.devices[at].session, self.devices[at].name);
        let rows = stored(&self.world, name);
        if rows.is_empty() || self.rng.random_range(0..6) == 0 {
            self.world.ask(session, CHANNEL, "mark_all_read", json!({}));
            return;
        }
        let id = self.pick(&rows).id;
        let read = json!({"id": id});
        self.world.ask(session, CHANNEL, "notification_read", read);
    }

    fn listen(&mut self) {
        let mut devices = std::mem::take(&mut self.devices);
        for device in &mut devices {
            for message in self.world.take(device.session) {
                self.hear(device, &message);
            }
        }
        // A subscription that the store refused is given up.
        for device in devices {
            if device.unread.is_some() {
                self.devices.push(device);
            } else {
                self.world.disconnect(device.session);
            }
        }
    }

    fn hear(&mut self, device: &mut Device, message: &Value) {
        let (seed, data) = (self.seed, &message["data"]);
        let lines = match message["type"].as_str().expect("a type") {
            "subscribed" => {
                let seq = data["seq"].as_u64().expect("a position");
                if data["recovered"] == json!(true) {
                    self.recovered += 1;
                } else {
                    device.from_seq = seq;
                    device.lines.clear();
                }
                let epoch = data["epoch"].as_str().expect("an epoch");
                device.position = Some((epoch.to_owned(), seq));
                Vec::new()
            }
            "unread_count" => {
                device.unread = data["count"].as_u64();
                Vec::new()
            }
            "new_notification" => vec![data.clone()],
            "notification_batch" => data["notifications"].as_array().expect("lines").clone(),
            _ => Vec::new(),
        };
        if let (Some(seq), Some((_, position))) =
            (message["metadata"]["seq"].as_u64(), &mut device.position)
        {
            assert!(seq > *position, "seed {seed}: {seq} after {position}");
            *position = seq;
        }
        for line in lines {
            self.told += 1;
            let number = |name: &str| line[name].as_u64().expect("a number");
            let id = line["id"].as_str().expect("an id").to_owned();
            let new = (number("count"), number("seq"));
            let known = device.lines.entry(id).or_insert(new);
            // At least once: an older state of a line may not come behind a newer one.
            assert!(*known <= new, "seed {seed}: {line} behind {known:?}");
            *known = new;
        }
    }

    /// When everything has settled, each device has what the store has, and knows the count.
    fn finish(mut self) {
        self.world.store_fails_after = None;
        for name in NAMES {
            posted(&mut self.world, event("comment", "di", &[name]));
        }
        self.world.advance(WINDOW);
        while !self.broken.is_empty() {
            self.come_back();
        }
        self.listen();
        let seed = self.seed;
        assert!(!self.devices.is_empty(), "seed {seed}");
        for device in &self.devices {
            let rows = stored(&self.world, device.name);
            let unread = rows.iter().filter(|row| row.read_at_ms.is_none()).count();
            assert_eq!(device.unread, Some(unread as u64), "seed {seed}");
            for row in rows.iter().filter(|row| row.seq > device.from_seq) {
                let known = device.lines.get(&row.id);
                let expected = Some(&(row.count, row.seq));
                assert_eq!(known, expected, "seed {seed}: {}", device.name);
            }
        }
        assert!(self.told > 100, "seed {seed}: too tame");
        assert!(self.recovered > 0, "seed {seed}: nobody came back");
        let stats = self.world.hub.stats();
        assert!(self.refused > 0, "seed {seed}: the store never failed");
        assert!(stats.notification_gaps > 0, "seed {seed}: nothing was lost");
    }
}
