//! How fast people write into rooms, and how much may be read for them at a time.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::config;
use crate::error::Error;
use crate::id::UserId;
use crate::rate_limit::Bucket;
use crate::stats::Snapshot;

/// Paces and open reads of this node.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// Who wrote lately. When it is half of what may be remembered it becomes `earlier`, which is forgotten.
    recent: BTreeMap<UserId, Bucket>,
    earlier: BTreeMap<UserId, Bucket>,
    open_reads: usize,
}

impl Quota {
    /// Whether somebody may write now. Counts it when so.
    pub(crate) fn pace(
        &mut self,
        now: Instant,
        user: &UserId,
        limits: &config::Rooms,
        stats: &mut Snapshot,
    ) -> Result<(), Error> {
        if !self.recent.contains_key(user) {
            if self.recent.len() >= limits.remembered_writers / 2 {
                self.earlier = std::mem::take(&mut self.recent);
            }
            let fresh =
                || Bucket::per_second(limits.messages_per_second, limits.messages_burst, now);
            let bucket = self.earlier.remove(user).unwrap_or_else(fresh);
            self.recent.insert(user.clone(), bucket);
        }
        let taken = self.recent.get_mut(user).map(|bucket| bucket.take(now));
        let Some(Err(wait)) = taken else {
            return Ok(());
        };
        stats.rate_limited += 1;
        Err(Error::rate_limited("too many messages", wait))
    }

    /// Whether one more page may be read. Counts it when so.
    pub(crate) fn open_read(
        &mut self,
        limits: &config::Rooms,
        stats: &mut Snapshot,
    ) -> Result<(), Error> {
        if self.open_reads >= limits.pending_reads_max {
            stats.limits_hit += 1;
            let wait = std::time::Duration::from_secs(1);
            return Err(Error::unavailable("too much is being read").retry_after(wait));
        }
        self.open_reads += 1;
        Ok(())
    }

    /// The store has answered a page.
    pub(crate) fn close_read(&mut self) {
        self.open_reads = self.open_reads.saturating_sub(1);
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can only be made from the clock; every later one is counted from this"
)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn no_more_writers_are_remembered_than_the_limit_and_the_latest_are() {
        let mut limits = Config::default().rooms;
        limits.remembered_writers = 10;
        limits.messages_burst = 1;
        let (mut quota, mut stats) = (Quota::default(), Snapshot::default());
        let now = Instant::now();
        let mut take = |n: u32| {
            let user = UserId::new(format!("u{n}")).expect("a user id");
            let taken = quota.pace(now, &user, &limits, &mut stats).is_ok();
            (taken, quota.recent.len() + quota.earlier.len())
        };
        for n in 0..100 {
            assert!(take(n).1 <= 10);
        }
        assert!(!take(99).0, "remembered");
        assert!(!take(95).0, "remembered");
        assert!(take(0).0, "forgotten");
        assert_eq!(stats.rate_limited, 2);
    }
}
