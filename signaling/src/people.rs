//! Who is connected: people, not connections. Somebody with several devices is here until the last one is gone, and a
//! reconnect within the delay is no absence.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::grants::User;
use crate::id::UserId;
use crate::message::chat::{PresenceView, Status};
use crate::session::Key;
use crate::time::Now;

/// Everybody who is connected, or was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct People {
    here: BTreeMap<UserId, Person>,
    /// Who has no connection left, and since when.
    leaving: BTreeSet<(Instant, UserId)>,
}

#[derive(Debug)]
struct Person {
    name: String,
    sessions: BTreeSet<Key>,
    /// When the last connection went.
    left: Option<Now>,
}

/// What a new connection says about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// They were not here.
    Came,
    /// They were, under another name.
    Renamed,
    /// They were.
    Known,
}

impl People {
    /// One more connection of somebody.
    pub(crate) fn attach(&mut self, user: &User, key: Key) -> Arrival {
        let Some(person) = self.here.get_mut(&user.id) else {
            let person = Person {
                name: user.name.clone(),
                sessions: BTreeSet::from([key]),
                left: None,
            };
            self.here.insert(user.id.clone(), person);
            return Arrival::Came;
        };
        if let Some(left) = person.left.take() {
            self.leaving.remove(&(left.mono, user.id.clone()));
        }
        person.sessions.insert(key);
        if person.name == user.name {
            return Arrival::Known;
        }
        person.name.clone_from(&user.name);
        Arrival::Renamed
    }

    /// One connection of somebody less.
    pub(crate) fn detach(&mut self, now: Now, user: &UserId, key: Key) {
        let Some(person) = self.here.get_mut(user) else {
            return;
        };
        if person.sessions.remove(&key) && person.sessions.is_empty() {
            person.left = Some(now);
            self.leaving.insert((now.mono, user.clone()));
        }
    }

    /// Somebody who has been away for the delay, with the moment their last connection went; none when there is nobody.
    pub(crate) fn next_gone(&mut self, now: Now, delay: Duration) -> Option<(User, u64)> {
        let (since, user) = self.leaving.first()?;
        if *since + delay > now.mono {
            return None;
        }
        let user = user.clone();
        self.leaving.pop_first();
        let person = self.here.remove(&user)?;
        let left_ms = person.left.map_or(now.wall_ms, |left| left.wall_ms);
        let name = person.name;
        Some((User { id: user, name }, left_ms))
    }

    /// When somebody next counts as gone.
    pub(crate) fn deadline(&self, delay: Duration) -> Option<Instant> {
        self.leaving.first().map(|(since, _)| *since + delay)
    }

    /// Whether somebody is here.
    pub(crate) fn is_here(&self, user: &UserId) -> bool {
        self.here.contains_key(user)
    }

    /// How many are here.
    pub(crate) fn len(&self) -> usize {
        self.here.len()
    }

    /// How somebody is shown. `last_seen_ms` is what the store knows.
    pub(crate) fn view(&self, now: Now, user: &UserId, last_seen_ms: Option<u64>) -> PresenceView {
        let is_here = self.is_here(user);
        PresenceView {
            user_id: user.clone(),
            status: if is_here {
                Status::Online
            } else {
                Status::Offline
            },
            last_seen: if is_here {
                Some(now.wall_ms)
            } else {
                last_seen_ms
            },
        }
    }
}

/// How somebody is shown to those who may not know.
pub(crate) fn hidden(user: &UserId) -> PresenceView {
    PresenceView {
        user_id: user.clone(),
        status: Status::Offline,
        last_seen: None,
    }
}
