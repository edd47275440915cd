//! The end of the load, which the threads have to agree on: a message of one thread's writer is still under way to the sessions
//! of another, and only the writer's thread knows of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What the threads know of each other when nobody writes any more.
#[derive(Debug)]
pub(crate) struct Settling {
    threads: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    quiet: usize,
    newest: BTreeMap<String, u64>,
}

impl Settling {
    /// So many threads have to become quiet.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            known: Mutex::default(),
        }
    }

    /// Told once by each thread, when its last message is answered: the newest positions it knows.
    pub(crate) fn quiet(&self, newest: &BTreeMap<String, u64>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.quiet += 1;
        for (channel, seq) in newest {
            let mine = known.newest.entry(channel.clone()).or_default();
            *mine = (*mine).max(*seq);
        }
    }

    /// What every session has to have before it may go; none while a thread waits for an answer.
    pub(crate) fn newest(&self) -> Option<BTreeMap<String, u64>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        (known.quiet >= self.threads).then(|| known.newest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
        let pairs = pairs.iter();
        pairs
            .map(|(channel, seq)| ((*channel).to_owned(), *seq))
            .collect()
    }

    #[test]
    fn nobody_may_go_before_the_last_answer_and_then_all_know_the_newest() {
        let settling = Settling::new(2);
        assert_eq!(settling.newest(), None);
        settling.quiet(&positions(&[("live:a", 7), ("live:b", 9)]));
        assert_eq!(settling.newest(), None);
        settling.quiet(&positions(&[("live:a", 8), ("live:c", 1)]));
        let newest = positions(&[("live:a", 8), ("live:b", 9), ("live:c", 1)]);
        assert_eq!(settling.newest(), Some(newest));
    }
}
