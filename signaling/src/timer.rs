//! Deadlines of many owners, the earliest first.

use std::collections::BTreeSet;
use std::time::Instant;

/// An ordered set of deadlines; each owner keeps the moment it is scheduled for, and has at most one.
#[derive(Debug)]
pub(crate) struct Timers<Owner: Ord + Clone> {
    deadlines: BTreeSet<(Instant, Owner)>,
}

impl<Owner: Ord + Clone> Timers<Owner> {
    pub(crate) fn new() -> Self {
        Self {
            deadlines: BTreeSet::new(),
        }
    }

    /// Moves the deadline of `owner` from `scheduled` to `wanted`.
    pub(crate) fn schedule(
        &mut self,
        owner: &Owner,
        scheduled: &mut Option<Instant>,
        wanted: Option<Instant>,
    ) {
        if *scheduled == wanted {
            return;
        }
        if let Some(at) = scheduled.take() {
            self.deadlines.remove(&(at, owner.clone()));
        }
        if let Some(at) = wanted {
            self.deadlines.insert((at, owner.clone()));
            *scheduled = Some(at);
        }
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<&(Instant, Owner)> {
        self.deadlines.first()
    }

    /// Takes the earliest owner whose deadline has come; its `scheduled` is void.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Owner> {
        let (at, _) = self.deadlines.first()?;
        if *at > now {
            return None;
        }
        self.deadlines.pop_first().map(|(_, owner)| owner)
    }
}
