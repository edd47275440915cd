//! What the sockets count.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::Counter;

/// Counters of the sockets. All only rise, but for the gauge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// Gauge: open WebSockets.
    pub open: u64,
    /// Handshakes that were answered but never became a connection.
    pub failed_upgrades: u64,
    /// Connections closed because they broke a rule of RFC 6455 or a limit on messages.
    pub violations: u64,
    /// Connections cut because a write did not finish in time.
    pub stalled_writes: u64,
}

/// Where they are counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    open: AtomicU64,
    pub(super) failed_upgrades: Counter,
    pub(super) violations: Counter,
    pub(super) stalled_writes: Counter,
}

impl Counters {
    /// Counts a socket as open until what is returned is dropped.
    pub(super) fn open(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(&self.open)
    }

    /// The counts so far.
    pub(super) fn stats(&self) -> SocketStats {
        SocketStats {
            open: self.open.load(Ordering::Relaxed),
            failed_upgrades: self.failed_upgrades.count(),
            violations: self.violations.count(),
            stalled_writes: self.stalled_writes.count(),
        }
    }
}

/// An open socket.
pub(super) struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
