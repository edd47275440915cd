//! Who is there: joins and leaves of people, not of connections, debounced and told in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::config;
use crate::id::UserId;
use crate::message::live::Person;

/// The people who watch a stream.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    people: BTreeMap<UserId, Entry>,
    /// Who has no connection left, and since when.
    leaving: BTreeSet<(Instant, UserId)>,
    joined: Vec<Person>,
    left: Vec<Person>,
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    person: Person,
    connections: u32,
    leaving_since: Option<Instant>,
}

impl Presence {
    /// One more connection of somebody.
    pub(crate) fn join(&mut self, person: Person) {
        if let Some(entry) = self.people.get_mut(&person.id) {
            entry.connections += 1;
            if let Some(since) = entry.leaving_since.take() {
                self.leaving.remove(&(since, person.id.clone()));
            }
            entry.person = person;
            return;
        }
        self.joined.push(person.clone());
        let entry = Entry {
            person,
            connections: 1,
            leaving_since: None,
        };
        self.people.insert(entry.person.id.clone(), entry);
    }

    /// One connection of somebody less.
    pub(crate) fn leave(&mut self, now: Instant, user: &UserId) {
        let Some(entry) = self.people.get_mut(user) else {
            return;
        };
        entry.connections = entry.connections.saturating_sub(1);
        if entry.connections == 0 && entry.leaving_since.is_none() {
            entry.leaving_since = Some(now);
            self.leaving.insert((now, user.clone()));
        }
    }

    /// Whether nobody is there and nothing is left to tell.
    pub(crate) fn is_quiet(&self) -> bool {
        self.people.is_empty() && self.joined.is_empty() && self.left.is_empty()
    }

    pub(crate) fn deadline(&self, limits: &config::Live) -> Option<Instant> {
        let leave = self.leaving.first().map(|(at, _)| *at + limits.leave_delay);
        let tell = self.told_at.map(|at| at + limits.join_interval);
        let has_news = !self.joined.is_empty() || !self.left.is_empty();
        // Without anything told before, news is told with the turn in which it came.
        has_news
            .then_some(tell)
            .flatten()
            .into_iter()
            .chain(leave)
            .min()
    }

    /// Who came and who went since the last time, at most once an interval; some of them when there are many.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        limits: &config::Live,
    ) -> Option<(Vec<Person>, Vec<Person>)> {
        while let Some((since, _)) = self.leaving.first()
            && *since + limits.leave_delay <= now
            && let Some((_, user)) = self.leaving.pop_first()
        {
            if let Some(entry) = self.people.remove(&user) {
                self.left.push(entry.person);
            }
        }
        let is_early = self
            .told_at
            .is_some_and(|at| now < at + limits.join_interval);
        if is_early || (self.joined.is_empty() && self.left.is_empty()) {
            return None;
        }
        self.told_at = Some(now);
        let mut joined = std::mem::take(&mut self.joined);
        let mut left = std::mem::take(&mut self.left);
        joined.truncate(limits.join_batch_max);
        left.truncate(limits.join_batch_max);
        Some((joined, left))
    }
}
