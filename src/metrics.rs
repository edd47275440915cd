//! What the server counts, and how it looks to Prometheus. The only importer of `prometheus`.
//!
//! The cores and the sockets count into plain integers of their own; [`Metrics`] holds what has no other owner.
//! A scrape copies all of it into a fresh registry, so that nothing on a hot path ever touches a metric by name.

mod exposition;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use exposition::{CONTENT_TYPE, Readings};

/// Upper bounds of the buckets, in seconds. Delivering a comment takes fractions of a millisecond on an idle server, a
/// stalled disk seconds: about a factor of two between bounds covers both.
pub const BOUNDS: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5,
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

    /// The upper bound, in seconds, of the bucket that holds quantile `q`. None when nothing was counted or it is above
    /// all bounds.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        quantile(&self.snapshot(), q).and_then(|bucket| BOUNDS.get(bucket).copied())
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.snapshot().iter().sum()
    }

    fn snapshot(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|i| self.0.buckets[i].load(Ordering::Relaxed))
    }

    fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.0.sum_ns.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// A counter that any thread may raise.
#[derive(Clone, Debug, Default)]
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

/// How often something was done, and how often it came to nothing.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// Done.
    pub done: Counter,
    /// Came to nothing.
    pub failed: Counter,
}

/// Why a connection never became a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// A cap on connections.
    ConnectionLimit,
    /// Too many handshakes of one address.
    RateLimit,
    /// TLS.
    Tls,
    /// The one deadline over the handshake.
    Deadline,
    /// A page of a foreign origin.
    Origin,
    /// No token or a bad one.
    Token,
    /// A channel that is not there, or not for this caller: no grant, a ban, a kick.
    Forbidden,
    /// The hub had no time for it, or no room.
    Overload,
    /// The server is about to stop.
    Draining,
    /// No WebSocket handshake, or one that was given up.
    Upgrade,
}

impl HandshakeFailure {
    /// Every reason, in the order of its counters.
    pub const ALL: [Self; 10] = [
        Self::ConnectionLimit,
        Self::RateLimit,
        Self::Tls,
        Self::Deadline,
        Self::Origin,
        Self::Token,
        Self::Forbidden,
        Self::Overload,
        Self::Draining,
        Self::Upgrade,
    ];

    /// The reason as a label.
    pub fn label(self) -> &'static str {
        match self {
            Self::ConnectionLimit => "connection_limit",
            Self::RateLimit => "rate_limit",
            Self::Tls => "tls",
            Self::Deadline => "deadline",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::Forbidden => "forbidden",
            Self::Overload => "overload",
            Self::Draining => "draining",
            Self::Upgrade => "upgrade",
        }
    }
}

/// What has no other owner. Clones count into the same place.
#[derive(Clone, Default)]
pub struct Metrics {
    /// From accepting a message to having written it to a receiver's socket.
    pub ws_delivery: Histogram,
    /// Messages compressed, each once for all its receivers (and once more for those with a small window).
    pub ws_compressions: Counter,
    /// How long the store takes from a request to its commit.
    pub store_write: Histogram,
    /// Certificates taken up after the start.
    pub tls_reloads: Outcomes,
    /// Key sets fetched from `auth.jwks_url`.
    pub key_fetches: Outcomes,
    /// Panics of any thread; each caught one ended one session or worker.
    pub panics: Counter,
    handshake_failures: [Counter; HandshakeFailure::ALL.len()],
}

impl Metrics {
    /// Counts a connection that never became a session.
    pub fn handshake_failure(&self, reason: HandshakeFailure) {
        self.handshake_failures[reason as usize].increment();
    }

    /// How often that happened.
    pub fn handshake_failures(&self, reason: HandshakeFailure) -> u64 {
        self.handshake_failures[reason as usize].count()
    }
}

/// Samples kept for [`Rates`]: with one a second, the rates are those of the last ten seconds.
const SAMPLES: usize = 11;

/// Messages a second, from samples of counters that only rise.
#[derive(Clone, Default)]
pub struct Rates(Arc<Mutex<VecDeque<(Instant, PerSecond)>>>);

/// Messages a second; inside [`Rates`], messages so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerSecond {
    /// From clients.
    pub received: f64,
    /// To clients.
    pub sent: f64,
}

impl Rates {
    /// Notes how many messages there were until `now`.
    pub fn sample(&self, now: Instant, total: PerSecond) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, total));
    }

    /// The mean over the samples kept.
    pub fn per_second(&self) -> PerSecond {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((from, first)), Some((to, last))) = (samples.front(), samples.back()) else {
            return PerSecond::default();
        };
        let seconds = (*to - *from).as_secs_f64();
        if seconds == 0.0 {
            return PerSecond::default();
        }
        PerSecond {
            received: (last.received - first.received) / seconds,
            sent: (last.sent - first.sent) / seconds,
        }
    }
}

/// The bucket that holds quantile `q` of what was counted; none when nothing was.
pub fn quantile(counts: &[u64], q: f64) -> Option<usize> {
    let total: u64 = counts.iter().sum();
    let wanted = ((total as f64 * q).ceil() as u64).max(1);
    let mut below = 0;
    counts.iter().position(|count| {
        below += count;
        below >= wanted
    })
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let histogram = Histogram::default();
        for micros in [1, 50, 51, 3_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts = histogram.snapshot();
        assert_eq!((counts[0], counts[1], counts[BUCKETS - 1]), (2, 1, 1));
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.quantile(0.5), Some(BOUNDS[0]));
        assert_eq!(histogram.quantile(0.75), Some(BOUNDS[1]));
        assert_eq!(histogram.quantile(1.0), None);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn rates_are_means_over_the_last_samples() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(), PerSecond::default());
        let start = Instant::now();
        for second in 0..20 {
            let received = if second < 9 {
                0.0
            } else {
                5.0 * f64::from(second - 9)
            };
            let total = PerSecond {
                received,
                sent: 0.0,
            };
            rates.sample(start + Duration::from_secs(second as u64), total);
        }
        assert_eq!(rates.per_second().received, 5.0);
    }
}
