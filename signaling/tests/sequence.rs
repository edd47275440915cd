//! Random sessions from fixed seeds: nothing panics, positions have no gaps, no request is answered twice, and the last
//! one to leave leaves an empty hub.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redred_signaling::media::{MediaId, MediaReply};
use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{Config, Reason, SessionId};
use serde_json::{Value, json};

const SEEDS: [u64; 6] = [1, 2, 3, 5, 8, 13];
const STEPS: usize = 600;
const CHANNELS: [&str; 2] = ["live:ana", "live:bo"];
const NAMES: [&str; 4] = ["ana", "bo", "cy", "di"];

#[test]
fn random_sessions_break_no_invariant() {
    for seed in SEEDS {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step();
            run.check();
        }
        run.leave();
    }
}

struct Run {
    seed: u64,
    rng: ChaCha8Rng,
    world: World,
    sockets: Vec<SessionId>,
    positions: BTreeMap<(SessionId, String), u64>,
    answered: BTreeMap<String, u32>,
    next: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut config = Config::default();
        config.outbox.messages_max = 600;
        config.channel.history_messages = 20;
        Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            world: World::new(config),
            sockets: Vec::new(),
            positions: BTreeMap::new(),
            answered: BTreeMap::new(),
            next: 0,
        }
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list.choose(&mut self.rng).expect("not empty").clone()
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..=1 => {
                let name = self.pick(&NAMES);
                let caller = if self.rng.random() {
                    streamer(name)
                } else {
                    viewer(name)
                };
                let channel = self.rng.random::<bool>().then(|| CHANNELS[0]);
                let socket = self.world.connect(&caller, channel);
                self.sockets.push(socket);
            }
            2 if !self.sockets.is_empty() => {
                let at = self.rng.random_range(0..self.sockets.len());
                let socket = self.sockets.swap_remove(at);
                if self.rng.random() {
                    self.world.disconnect(socket);
                } else {
                    self.world.leave(socket);
                }
            }
            3 => self.world.is_store_down = self.rng.random_range(0..4) == 0,
            4 => {
                let ms = self.rng.random_range(1..3000);
                self.world.advance(Duration::from_millis(ms));
            }
            5..=6 => {
                let media = MediaId(self.rng.random_range(1..40));
                let reply = match self.rng.random_range(0..4) {
                    0 | 1 => MediaReply::Connected { media },
                    2 => MediaReply::Silent { media },
                    _ => MediaReply::Closed {
                        media,
                        reason: "test".to_owned(),
                    },
                };
                self.world.media(reply);
            }
            _ if !self.sockets.is_empty() => self.say(),
            _ => {}
        }
    }

    fn say(&mut self) {
        let socket = self.sockets[self.rng.random_range(0..self.sockets.len())];
        let channel = self.pick(&CHANNELS);
        let user = self.pick(&NAMES);
        let messages = [
            ("subscribe", json!({"channel": channel})),
            ("unsubscribe", json!({"channel": channel})),
            ("subscribe", json!({"channel": "streams"})),
            ("start_stream", json!({"title": "t"})),
            ("end_stream", json!({})),
            ("watch", json!({})),
            ("stop_watching", json!({})),
            ("comment", json!({"text": "hi", "client_id": user})),
            ("comment", json!({"text": "hi"})),
            ("reaction", json!({"emoji": "🔥"})),
            ("kick", json!({"user_id": user})),
            ("ban", json!({"user_id": user})),
            ("unban", json!({"user_id": user})),
            ("timeout", json!({"user_id": user, "seconds": 3})),
            ("set_role", json!({"user_id": user, "role": "moderator"})),
            ("slow_mode", json!({"seconds": 1})),
            ("set_quality", json!({"quality": "nonsense"})),
        ];
        let (kind, data) = self.pick(&messages);
        self.next += 1;
        let about = json!({"channel": channel, "id": format!("r-{}", self.next)});
        let envelope = json!({"type": kind, "data": data, "metadata": about});
        let mut text = envelope.to_string();
        if self.rng.random_range(0..10) == 0 {
            let at = self.rng.random_range(0..text.len());
            if text.is_char_boundary(at) {
                text.truncate(at);
            }
        }
        self.world.send_text(socket, &text);
        for message in self.world.take(socket) {
            self.check_message(socket, &message);
            // A streamer that was given a connection offers on it.
            let session = &message["data"]["session"];
            if kind == "start_stream" && message["type"] == "ack" && session.is_string() {
                let offer = json!({"session": session, "sdp": "v=0"});
                self.world.send(socket, channel, "webrtc_offer", offer);
            }
        }
    }

    fn check(&mut self) {
        for socket in self.sockets.clone() {
            for message in self.world.take(socket) {
                self.check_message(socket, &message);
            }
        }
        self.sockets
            .retain(|socket| !self.world.closed.contains_key(socket));
    }

    fn check_message(&mut self, socket: SessionId, message: &Value) {
        let seed = self.seed;
        if let Some(id) = message["metadata"]["reply_to"].as_str() {
            let count = self.answered.entry(id.to_owned()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "seed {seed}: answered twice: {message}");
        }
        let about = &message["metadata"];
        let channel = about["channel"].as_str().unwrap_or_default().to_owned();
        if message["type"] == "subscribed" {
            let seq = message["data"]["seq"].as_u64().expect("a position");
            self.positions.insert((socket, channel), seq);
        } else if let Some(seq) = about["seq"].as_u64()
            && let Some(position) = self.positions.get_mut(&(socket, channel))
        {
            *position += 1;
            assert_eq!(seq, *position, "seed {seed}: not in order: {message}");
        }
    }

    fn leave(mut self) {
        self.world.is_store_down = false;
        for socket in self.sockets {
            self.world.disconnect(socket);
        }
        for media in 1..2000 {
            let reason = "test".to_owned();
            let media = MediaId(media);
            self.world.media(MediaReply::Closed { media, reason });
        }
        self.world.advance(Duration::from_secs(600));
        let (seed, stats) = (self.seed, self.world.hub.stats());
        assert_eq!(stats.channels, 0, "seed {seed}");
        assert_eq!(stats.live_viewers, 0, "seed {seed}");
        assert_eq!(stats.sessions_resumable, 0, "seed {seed}");
        let due = self.world.hub.poll_timeout().map(|(_, reason)| reason);
        assert_eq!(due, Some(Reason::Notifications), "seed {seed}");
        assert!(
            stats.comments > 0 && stats.moderations > 0,
            "seed {seed}: too tame"
        );
    }
}
