//! What the shards of a simulation take of real time.

use std::time::{Duration, Instant};

/// Adds up time by a clock that was brought along; without one it does nothing.
#[derive(Debug, Default)]
pub(super) struct Meter {
    clock: Option<fn() -> Instant>,
    total: Duration,
}

impl Meter {
    pub(super) fn new(clock: fn() -> Instant) -> Self {
        Self {
            clock: Some(clock),
            total: Duration::ZERO,
        }
    }

    /// Does something of a shard.
    pub(super) fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let Some(clock) = self.clock else {
            return work();
        };
        let begun = clock();
        let result = work();
        self.total += clock().saturating_duration_since(begun);
        result
    }

    pub(super) fn total(&self) -> Duration {
        self.total
    }
}
