//! What the server counts, and how it looks to Prometheus. The only importer of `prometheus`.
//!
//! The cores and the sockets count into plain integers of their own; [`Metrics`] holds what has no other owner.
//! A scrape copies all of it into a fresh registry, so that nothing on a hot path ever touches a metric by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds. Forwarding a packet takes tens of microseconds, delivering a comment
/// milliseconds, a stalled disk seconds: one set covers all three with about a factor of two between bounds.
pub const BOUNDS: [f64; 16] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1,
    0.25, 0.5, 1.0, 2.5,
];

/// Buckets of a histogram: one for each bound and one for what is above the last.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram of durations that any thread may add to without a lock.
#[derive(Clone, Default)]
pub struct Histogram(Arc<Counts>);

#[derive(Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// The bucket that a duration belongs to.
    pub fn bucket(duration: Duration) -> usize {
        let seconds = duration.as_secs_f64();
        BOUNDS.partition_point(|bound| *bound < seconds)
    }

    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.0.buckets[Self::bucket(duration)].fetch_add(1, Ordering::Relaxed);
        self.0.sum_ns.fetch_add(nanos(duration), Ordering::Relaxed);
    }

    /// Adds what was counted elsewhere since the last time; `sum` is the sum of all those durations.
    pub fn add(&self, counts: &[u64; BUCKETS], sum: Duration) {
        for (bucket, count) in self.0.buckets.iter().zip(counts) {
            bucket.fetch_add(*count, Ordering::Relaxed);
        }
        self.0.sum_ns.fetch_add(nanos(sum), Ordering::Relaxed);
    }

    /// How many durations were counted, and the upper bound in seconds of the bucket that holds quantile `q`.
    pub fn quantile(&self, q: f64) -> (u64, Option<f64>) {
        let counts = self.snapshot();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * q).ceil() as u64;
        let mut below = 0;
        let index = counts.iter().position(|count| {
            below += count;
            below >= wanted
        });
        let bound = index.filter(|_| total > 0);
        (
            total,
            bound.map(|i| BOUNDS.get(i).copied().unwrap_or(f64::INFINITY)),
        )
    }

    fn snapshot(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|i| self.0.buckets[i].load(Ordering::Relaxed))
    }

    fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// A counter that any thread may raise.
#[derive(Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has no other owner. Clones count into the same place.
#[derive(Clone, Default)]
pub struct Metrics {
    /// From accepting a message to having written it to a receiver's socket.
    pub ws_delivery: Histogram,
    /// From a packet's arrival to its departure.
    pub sfu_forward: Histogram,
    /// How long the store takes to commit.
    pub store_write: Histogram,
    /// Panics that were caught; each ended one session.
    pub panics: Counter,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
