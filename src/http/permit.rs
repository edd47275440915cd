//! Caps on connections: in all, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Limits;

/// Counts connections and hands out permits.
#[derive(Clone)]
pub struct Permits(Arc<Counts>);

struct Counts {
    total_max: usize,
    address_max: usize,
    by_address: Mutex<ByAddress>,
}

#[derive(Default)]
struct ByAddress {
    total: usize,
    counts: HashMap<IpAddr, usize>,
}

/// One connection. It counts for as long as any clone lives, which after an upgrade is the WebSocket.
#[derive(Clone)]
pub struct Permit {
    _held: Arc<Held>,
}

struct Held {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Permits {
    /// Permits within the limits.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Counts {
            total_max: limits.connections,
            address_max: limits.connections_per_address,
            by_address: Mutex::default(),
        }))
    }

    /// A permit for one more connection from `address`, unless a cap is reached.
    pub fn take(&self, address: IpAddr) -> Option<Permit> {
        let address = network(address);
        let mut by_address = self.0.lock();
        let count = by_address.counts.get(&address).copied().unwrap_or(0);
        if by_address.total >= self.0.total_max || count >= self.0.address_max {
            return None;
        }
        by_address.total += 1;
        by_address.counts.insert(address, count + 1);
        Some(Permit {
            _held: Arc::new(Held {
                counts: Arc::clone(&self.0),
                address,
            }),
        })
    }

    /// Connections right now.
    pub fn count(&self) -> usize {
        self.0.lock().total
    }
}

impl Counts {
    fn lock(&self) -> std::sync::MutexGuard<'_, ByAddress> {
        // Nothing panics between the two counts, so they agree even when a thread holding the lock died.
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut by_address = self.counts.lock();
        by_address.total -= 1;
        if let Some(count) = by_address.counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.counts.remove(&self.address);
            }
        }
    }
}

/// What one party is likely to hold: an IPv4 address, written as IPv6 or not, or an IPv6 /64 network.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(connections: usize, connections_per_address: usize) -> Permits {
        Permits::new(&Limits {
            connections,
            connections_per_address,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let permits = permits(10, 2);
        let first = permits.take(ip("192.0.2.1")).expect("free");
        let _second = permits.take(ip("::ffff:192.0.2.1")).expect("free");
        assert!(permits.take(ip("192.0.2.1")).is_none());
        assert!(permits.take(ip("192.0.2.2")).is_some());
        let clone = first.clone();
        drop(first);
        assert!(permits.take(ip("192.0.2.1")).is_none());
        drop(clone);
        assert!(permits.take(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn a_v6_network_counts_as_one_address() {
        let permits = permits(10, 1);
        let _held = permits.take(ip("2001:db8::1")).expect("free");
        assert!(permits.take(ip("2001:db8::ffff:2")).is_none());
        assert!(permits.take(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn the_total_is_capped_and_given_back() {
        let permits = permits(1, 1);
        let held = permits.take(ip("192.0.2.1")).expect("free");
        assert!(permits.take(ip("192.0.2.2")).is_none());
        drop(held);
        assert_eq!(permits.count(), 0);
        assert!(permits.take(ip("192.0.2.2")).is_some());
        assert!(permits.0.lock().counts.is_empty());
    }
}
