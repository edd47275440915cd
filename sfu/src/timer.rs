//! When whom to wake: a heap of deadlines with lazy invalidation.
//!
//! A deadline moves with nearly every packet, so an entry is added only when the new deadline is earlier than the entry
//! that is there; one that fires too early looks at its owner's real deadline and goes back. Nothing is ever searched
//! for, and nobody is polled who is not due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::event::Reason;
use crate::id::{PeerId, StreamId};

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Peer(PeerId),
    Stream(StreamId),
}

/// The entry of an owner that is in the heap and still counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scheduled(Option<Instant>);

/// All deadlines of a shard.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
}

impl Timers {
    /// Sees to it that `owner` is woken at `at` or before.
    pub(crate) fn schedule(&mut self, owner: Owner, at: Instant, scheduled: &mut Scheduled) {
        if scheduled.0.is_some_and(|earlier| earlier <= at) {
            return;
        }
        scheduled.0 = Some(at);
        self.heap.push(Reverse((at, owner)));
    }

    /// The next entry that is due. It may be one that was replaced: see [`Scheduled::fires`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Owner)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// When to look again, and for what.
    pub(crate) fn next(&self) -> Option<(Instant, Reason)> {
        self.heap.peek().map(|Reverse((at, owner))| {
            let reason = match owner {
                Owner::Peer(_) => Reason::Peer,
                Owner::Stream(_) => Reason::Stream,
            };
            (*at, reason)
        })
    }
}

impl Scheduled {
    /// Whether the entry for `at` is the one that counts; if so it is used up.
    pub(crate) fn fires(&mut self, at: Instant) -> bool {
        let counts = self.0 == Some(at);
        if counts {
            self.0 = None;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::PeerKey;

    #[test]
    fn only_the_earliest_entry_of_an_owner_counts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let owner = Owner::Peer(PeerId {
            index: 0,
            key: PeerKey(1),
        });
        let mut timers = Timers::default();
        let mut scheduled = Scheduled::default();
        timers.schedule(owner, at(10), &mut scheduled);
        timers.schedule(owner, at(30), &mut scheduled);
        timers.schedule(owner, at(5), &mut scheduled);
        assert_eq!(timers.next().map(|(t, _)| t), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        let (due, _) = timers.pop_due(at(20)).unwrap();
        assert!(scheduled.fires(due));
        let (stale, _) = timers.pop_due(at(20)).unwrap();
        assert!(!scheduled.fires(stale), "a replaced entry does nothing");
        assert_eq!(timers.pop_due(at(60)), None, "a later deadline adds none");
    }
}
