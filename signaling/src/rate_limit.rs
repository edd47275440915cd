//! A token bucket on passed-in time.

use std::time::{Duration, Instant};

/// Lets a burst pass, then a steady rate.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// How long one token takes to come back.
    interval: Duration,
    /// How many are there at most.
    burst: u32,
    /// The moment at which the bucket is full again: one number holds the whole state (the virtual scheduling form of
    /// the leaky bucket, ITU-T I.371).
    full_at: Instant,
}

impl Bucket {
    /// A full bucket of `burst` tokens, of which one comes back every `interval`.
    #[must_use]
    pub fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst: burst.max(1),
            full_at: now,
        }
    }

    /// A full bucket that gives `per_second` tokens a second after the first `burst`.
    #[must_use]
    pub fn per_second(per_second: u32, burst: u32, now: Instant) -> Self {
        Self::new(Duration::from_secs(1) / per_second.max(1), burst, now)
    }

    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now);
        let debt = full_at - now;
        let allowed = self.interval * (self.burst - 1);
        if debt > allowed {
            return Err(debt - allowed);
        }
        self.full_at = full_at + self.interval;
        Ok(())
    }

    /// Whether nothing has been taken that is not back.
    #[must_use]
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can only be made from the clock; every later one is counted from this"
)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::per_second(10, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(later), Ok(()));
        assert_eq!(bucket.take(later), Err(Duration::from_millis(100)));
        assert!(!bucket.is_full(later));
        assert!(bucket.is_full(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_long_silence_saves_no_more_than_a_burst() {
        let start = Instant::now();
        let mut bucket = Bucket::per_second(10, 3, start);
        let later = start + Duration::from_secs(3600);
        let passed = (0..100).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(passed, 3);
    }
}
