//! How many handshakes one address may make in a minute: a stranger who connects again and again, with good tokens or bad
//! ones, is told to wait before anything is computed for them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use redred_signaling::rate_limit::Bucket;

use super::permit::network;
use super::serve::Peer;
use super::{Problem, Shared};
use crate::config::Limits;
use crate::metrics::HandshakeFailure;

/// Over how long handshakes are counted.
const PERIOD: Duration = Duration::from_secs(60);

/// Addresses whose pace is remembered; about 5 MB. Those beyond share one pace.
const ADDRESSES_MAX: usize = 65_536;

/// How often addresses that have calmed down are looked for when there are too many.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The pace of every address.
pub struct Pace {
    per_period: u32,
    addresses_max: usize,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    by_network: HashMap<IpAddr, Bucket>,
    /// Of all for whom there is no room.
    others: Bucket,
    swept: Instant,
}

impl Pace {
    /// A pace within the limits.
    pub fn new(limits: &Limits, now: Instant) -> Self {
        let per_period = limits.handshakes_per_address;
        Self {
            per_period,
            addresses_max: ADDRESSES_MAX,
            buckets: Mutex::new(Buckets {
                by_network: HashMap::new(),
                others: bucket(per_period, now),
                swept: now,
            }),
        }
    }

    /// Counts a handshake of an address.
    ///
    /// # Errors
    ///
    /// How long until it may make one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let network = network(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets {
            by_network,
            others,
            swept,
        } = &mut *buckets;
        if let Some(bucket) = by_network.get_mut(&network) {
            return bucket.take(now);
        }
        if by_network.len() >= self.addresses_max && now - *swept >= SWEEP_INTERVAL {
            *swept = now;
            by_network.retain(|_, bucket| !bucket.is_full(now));
        }
        if by_network.len() >= self.addresses_max {
            return others.take(now);
        }
        let bucket = by_network
            .entry(network)
            .or_insert_with(|| bucket(self.per_period, now));
        bucket.take(now)
    }
}

fn bucket(per_period: u32, now: Instant) -> Bucket {
    Bucket::new(PERIOD / per_period.max(1), per_period, now)
}

/// Answers 429 to handshakes of an address that makes too many: WebSocket upgrades, and offers of WHIP and WHEP.
pub(super) async fn handshakes(
    State(app): State<Shared>,
    Extension(peer): Extension<Peer>,
    path: Option<Extension<MatchedPath>>,
    request: Request,
    next: Next,
) -> Response {
    let is_handshake = path.is_some_and(|path| match path.as_str() {
        "/whip/{stream}" | "/whep/{stream}" => *request.method() == Method::POST,
        path => path == "/ws" || path.starts_with("/ws/"),
    });
    if is_handshake && let Err(wait) = app.pace.take(peer.address, Instant::now()) {
        app.metrics.handshake_failure(HandshakeFailure::RateLimit);
        return Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "too many handshakes from this address",
        )
        .with_retry(wait)
        .into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(handshakes_per_address: u32, addresses_max: usize, now: Instant) -> Pace {
        let limits = Limits {
            handshakes_per_address,
            ..Limits::default()
        };
        Pace {
            addresses_max,
            ..Pace::new(&limits, now)
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_has_its_handshakes_in_a_minute_and_no_more() {
        let start = Instant::now();
        let pace = pace(6, 10, start);
        for _ in 0..6 {
            assert_eq!(pace.take(ip("192.0.2.1"), start), Ok(()));
        }
        let wait = Err(Duration::from_secs(10));
        assert_eq!(pace.take(ip("::ffff:192.0.2.1"), start), wait);
        assert_eq!(pace.take(ip("192.0.2.2"), start), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(pace.take(ip("192.0.2.1"), later), Ok(()));
        assert_eq!(pace.take(ip("192.0.2.1"), later), wait);
    }

    #[test]
    fn more_addresses_than_are_remembered_share_one_pace() {
        let start = Instant::now();
        let pace = pace(2, 2, start);
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
            assert_eq!(pace.take(ip(address), start), Ok(()));
        }
        assert!(pace.take(ip("192.0.2.5"), start).is_err());
        assert_eq!(pace.take(ip("192.0.2.1"), start), Ok(()));
        // Once the first have calmed down there is room.
        let later = start + PERIOD;
        assert_eq!(pace.take(ip("192.0.2.5"), later), Ok(()));
        assert_eq!(pace.buckets.lock().expect("no panic").by_network.len(), 1);
    }
}
