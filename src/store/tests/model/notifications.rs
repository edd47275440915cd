//! Requests about notifications, preferences and followers.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use redred_signaling::grants::User;
use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::chat::ChatOp;
use redred_signaling::store::notifications::{
    FollowerChange, NewNotification, NotificationOk, NotificationOp, Preferences, Priority,
    QuietHours,
};
use redred_signaling::store::{StoreOk, StoreOp};

const KINDS: [&str; 4] = ["like", "follow", "comment", "my.kind"];
const GROUPS: [&str; 3] = ["post:1", "post:2", "\"x'"];

/// What requests are about.
pub(super) struct Script {
    now_ms: u64,
    next_id: u64,
    users: Vec<UserId>,
    ids: Vec<(UserId, String)>,
}

impl super::Script for Script {
    fn new() -> Self {
        let user = |id: &str| UserId::new(id).expect("a valid name");
        Self {
            now_ms: 1_800_000_000_000,
            next_id: 0,
            users: ["ana", "Bo", "cy_1", "d.e", "eve"].map(user).to_vec(),
            ids: Vec::new(),
        }
    }

    fn next(&mut self, random: &mut ChaCha8Rng) -> StoreOp {
        self.now_ms += random.random_range(1..1000);
        let at_ms = self.now_ms;
        let user = self.user(random);
        StoreOp::Notifications(match random.random_range(0..100) {
            0..45 => NotificationOp::Add(self.new_notification(random, at_ms)),
            45..52 => NotificationOp::Load {
                user,
                since: random.random_bool(0.7).then(|| random.random_range(0..60)),
                limit: random.random_range(0..20),
            },
            52..60 => NotificationOp::List {
                user,
                unread_only: random.random_bool(0.5),
                before: random.random_bool(0.5).then(|| random.random_range(0..60)),
                limit: random.random_range(1..10),
            },
            60..70 => {
                let (user, id) = match self.ids.choose(random) {
                    Some(known) if random.random_bool(0.9) => known.clone(),
                    _ => (user, String::from("none")),
                };
                NotificationOp::MarkRead { user, id, at_ms }
            }
            70..73 => NotificationOp::MarkAllRead { user, at_ms },
            73..77 => NotificationOp::MarkGroupRead {
                user,
                group_key: one_of(random, &GROUPS),
                at_ms,
            },
            77..79 => NotificationOp::LoadPreferences { user },
            79..82 => NotificationOp::SavePreferences {
                user,
                preferences: preferences(random),
            },
            82..90 => NotificationOp::ChangeFollowers {
                stream: stream(random),
                change: self.follower_change(random, user),
                limit: random.random_range(1..6),
                at_ms,
            },
            90..94 => NotificationOp::ListFollowers {
                stream: stream(random),
                after: random.random_bool(0.5).then_some(user),
                limit: random.random_range(1..4),
            },
            // Everything that is old goes: which rows go first is tested where there is a limit.
            94..96 => NotificationOp::Purge {
                created_before_ms: at_ms - 100_000,
                keys_before_ms: at_ms - 50_000,
                limit: 1_000_000,
            },
            96..98 => {
                let blocked = self.user(random);
                return StoreOp::Chat(ChatOp::Block {
                    user,
                    blocked,
                    at_ms,
                });
            }
            _ => {
                let blocked = self.user(random);
                return StoreOp::Chat(ChatOp::Unblock { user, blocked });
            }
        })
    }

    fn learn(&mut self, answer: &StoreOk) {
        if let StoreOk::Notifications(NotificationOk::Added { stored, .. }) = answer {
            let ids = stored.iter();
            self.ids
                .extend(ids.map(|it| (it.user.clone(), it.notification.id.clone())));
        }
    }
}

impl Script {
    fn new_notification(&mut self, random: &mut ChaCha8Rng, at_ms: u64) -> NewNotification {
        let count = random.random_range(0..4);
        let chosen: Vec<UserId> = self.users.choose_multiple(random, count).cloned().collect();
        let recipients = chosen.into_iter().map(|user| {
            self.next_id += 1;
            let id = self.next_id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (user, format!("{id:032x}"))
        });
        let target = serde_json::json!({ "post": 7, "note": "\u{1f600} \u{0} \"" });
        NewNotification {
            recipients: recipients.collect(),
            kind: one_of(random, &KINDS),
            priority: if random.random_bool(0.5) {
                Priority::High
            } else {
                Priority::Medium
            },
            message: format!("message {at_ms}"),
            actor: random.random_bool(0.6).then(|| User {
                id: self.user(random),
                name: String::from("Somebody"),
            }),
            target: random
                .random_bool(0.5)
                .then(|| target.as_object().cloned().expect("an object")),
            group_key: random.random_bool(0.7).then(|| one_of(random, &GROUPS)),
            at_ms,
            idempotency_key: random
                .random_bool(0.4)
                .then(|| format!("key-{}", random.random_range(0..40))),
        }
    }

    fn follower_change(&self, random: &mut ChaCha8Rng, user: UserId) -> FollowerChange {
        match random.random_range(0..3) {
            0 => {
                let count = random.random_range(0..5);
                FollowerChange::Replace(
                    self.users.choose_multiple(random, count).cloned().collect(),
                )
            }
            1 => FollowerChange::Add(user),
            _ => FollowerChange::Remove(user),
        }
    }

    fn user(&self, random: &mut ChaCha8Rng) -> UserId {
        self.users.choose(random).expect("some").clone()
    }
}

fn stream(random: &mut ChaCha8Rng) -> StreamName {
    StreamName::new(one_of(random, &["s1", "s2"])).expect("a valid name")
}

fn preferences(random: &mut ChaCha8Rng) -> Preferences {
    let count = random.random_range(0..3);
    Preferences {
        muted_kinds: KINDS
            .choose_multiple(random, count)
            .map(|&it| it.to_owned())
            .collect(),
        quiet_hours: random.random_bool(0.5).then_some(QuietHours {
            from_minute: 1320,
            to_minute: 420,
            utc_offset_minutes: -150,
        }),
    }
}

fn one_of(random: &mut ChaCha8Rng, from: &[&str]) -> String {
    (*from.choose(random).expect("some")).to_owned()
}
