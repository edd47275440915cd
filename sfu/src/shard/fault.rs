//! A panic inside one peer costs that peer.
//!
//! Whatever is done for one peer runs under [`contain`]. What it may have left half done is thrown away with the peer;
//! what is shared by peers is changed outside of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::id::PeerKey;

/// Where a test can let a peer panic.
#[cfg_attr(
    not(feature = "sim"),
    expect(unreachable_pub, reason = "named by tests alone")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// While its offer is read for the first time.
    Offer,
    /// While a datagram, a timer or a command is handled.
    Drive,
    /// While one of its packets is read.
    Packet,
    /// While it is given a packet.
    Forward,
    /// While tracks are put on its lines.
    Assign,
}

/// Runs what concerns one peer; `None` when it panicked.
pub(super) fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// What tests have armed. Does nothing without the feature `sim`.
#[derive(Debug, Default)]
pub(super) struct Trap {
    #[cfg(feature = "sim")]
    armed: Vec<(PeerKey, Fault)>,
}

impl Trap {
    #[cfg(feature = "sim")]
    pub(super) fn arm(&mut self, peer: PeerKey, fault: Fault) {
        self.armed.push((peer, fault));
    }

    /// Panics where a test wants it.
    #[inline]
    pub(super) fn spring(&self, peer: PeerKey, fault: Fault) {
        #[cfg(feature = "sim")]
        if self.armed.contains(&(peer, fault)) {
            panic!("a fault that a test injected");
        }
        #[cfg(not(feature = "sim"))]
        let _ = (peer, fault);
    }
}
