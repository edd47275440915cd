//! Old notifications and idempotency keys are deleted, a few rows at a time.

use std::time::{Duration, Instant};

use crate::context::Context;
use crate::store::notifications::{NotificationOk, NotificationOp};
use crate::store::{StoreError, StoreOk};
use crate::time::{Now, millis};

/// A server that starts has other things to do first.
const START_DELAY: Duration = Duration::from_secs(60);

/// When something is deleted next.
#[derive(Debug, Default)]
pub(super) struct Retention {
    due: Option<Instant>,
    /// The store is at it.
    is_open: bool,
}

impl Retention {
    pub(super) fn deadline(&mut self, now: Now) -> Option<Instant> {
        (!self.is_open).then(|| *self.due.get_or_insert(now.mono + START_DELAY))
    }

    /// What to ask of the store, when it is time.
    pub(super) fn due(&mut self, context: &Context, now: Now) -> Option<NotificationOp> {
        if self.is_open || self.due.is_none_or(|at| at > now.mono) {
            return None;
        }
        self.is_open = true;
        let limits = &context.config.notifications;
        let before = |age: Duration| now.wall_ms.saturating_sub(millis(age));
        Some(NotificationOp::Purge {
            created_before_ms: before(limits.retention),
            keys_before_ms: before(limits.key_retention),
            limit: limits.purge_rows_max,
        })
    }

    pub(super) fn purged(
        &mut self,
        context: &mut Context,
        now: Now,
        result: Result<StoreOk, StoreError>,
    ) {
        let limits = &context.config.notifications;
        let mut pause = limits.purge_interval;
        if let Ok(StoreOk::Notifications(NotificationOk::Purged { rows })) = result {
            context.stats.notifications_purged += rows;
            if rows >= limits.purge_rows_max as u64 {
                pause = limits.purge_pause;
            }
        }
        self.is_open = false;
        self.due = Some(now.mono + pause);
    }
}
