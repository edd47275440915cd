//! What a shard is told once: its addresses, its identity, its limits and intervals. The shell validates the file these
//! come from; [`Config::validate`] refuses only what would make a shard useless.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::config::{CryptoProvider, DtlsCert};

use crate::error::Error;

/// Everything a shard needs to know before its first packet.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address the shard's socket is bound to. May be unspecified (`0.0.0.0`).
    pub local: SocketAddr,
    /// The addresses to advertise as ICE host candidates, most preferred first. Never empty, never unspecified.
    pub candidates: Vec<SocketAddr>,
    /// The certificate that every peer of the process sees.
    pub identity: Identity,
    /// What time it was, for what viewers are told of the time.
    pub wall: WallClock,
    /// Bytes of UDP payload that fit the path: 1200 passes every path that carries QUIC. Larger values save packets of
    /// feedback and risk fragments; media packets keep the size their publisher chose.
    pub mtu: usize,
    /// A publisher unheard for this long is reported silent. Shorter reports breaks sooner and takes more bad moments of
    /// a phone's radio for breaks; RTP arrives at least every 400 ms (Opus DTX) while anything is sent.
    pub silence: Duration,
    /// A peer unheard for this long is closed. ICE checks arrive every 2.5 s from browsers and every 5 s from others.
    pub disconnect_timeout: Duration,
    /// A peer that has not connected for this long is closed.
    pub connect_timeout: Duration,
    /// How often [`crate::event::Event::PublisherStats`] comes.
    pub stats_interval: Duration,
    /// At most one keyframe request per track, layer and interval reaches a publisher; the first goes at once. Shorter
    /// lets a request storm cost the publisher more, longer makes a second joiner wait.
    pub keyframe_interval: Duration,
    /// Peers of the shard; one more is refused.
    pub peers_max: usize,
    /// Streams the shard knows; one more is not opened.
    pub streams_max: usize,
    /// Tracks one publisher may publish; further media lines are not taken up.
    pub tracks_max: usize,
    /// Simulcast layers of a track; packets of further ones are dropped.
    pub layers_max: usize,
    /// Bytes of an SDP or fragment; browsers need about 10 000 with everything offered.
    pub sdp_bytes_max: usize,
    /// Media lines of an offer.
    pub media_lines_max: usize,
}

impl Config {
    /// Makes a configuration with the defaults of the product for a socket bound to `local`.
    pub fn new(
        local: SocketAddr,
        candidates: Vec<SocketAddr>,
        identity: Identity,
        wall: WallClock,
    ) -> Self {
        Self {
            local,
            candidates,
            identity,
            wall,
            mtu: 1200,
            silence: Duration::from_secs(2),
            disconnect_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(30),
            stats_interval: Duration::from_secs(2),
            keyframe_interval: Duration::from_secs(1),
            peers_max: 10_000,
            streams_max: 10_000,
            tracks_max: 4,
            layers_max: 3,
            sdp_bytes_max: 64 * 1024,
            media_lines_max: 16,
        }
    }

    /// Checks what the shard relies on.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first thing that is wrong.
    pub fn validate(&self) -> Result<(), Error> {
        if self.candidates.is_empty() {
            return Err(Error::Config("no ICE candidate to advertise"));
        }
        if self
            .candidates
            .iter()
            .any(|c| c.ip().is_unspecified() || c.port() == 0)
        {
            return Err(Error::Config("an ICE candidate without address or port"));
        }
        if !(1000..=1500).contains(&self.mtu) {
            return Err(Error::Config("mtu outside 1000 to 1500"));
        }
        if self.keyframe_interval.is_zero() || self.silence.is_zero() {
            return Err(Error::Config("an interval of zero"));
        }
        Ok(())
    }

    /// The advertised address that a datagram to `destination` reached. Behind 1:1 NAT or on an unspecified socket these
    /// differ, and ICE knows only what was advertised.
    pub(crate) fn candidate_for(&self, destination: SocketAddr) -> SocketAddr {
        if self.candidates.contains(&destination) {
            return destination;
        }
        let same_family = self
            .candidates
            .iter()
            .find(|c| c.is_ipv4() == destination.is_ipv4());
        *same_family.unwrap_or(&self.candidates[0])
    }
}

/// Which time of day an instant was. Read once: sender reports want a clock that never jumps more than the right time.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    /// The instant.
    pub at: Instant,
    /// The time it was then.
    pub time: SystemTime,
}

impl WallClock {
    /// The time that belongs to an instant.
    pub(crate) fn time_of(&self, instant: Instant) -> SystemTime {
        match instant.checked_duration_since(self.at) {
            Some(since) => self.time + since,
            None => self.time - self.at.saturating_duration_since(instant),
        }
    }
}

/// The DTLS certificate and the cryptography that all shards of a process share.
#[derive(Clone)]
pub struct Identity {
    pub(crate) certificate: DtlsCert,
    pub(crate) crypto: Arc<CryptoProvider>,
}

impl Identity {
    /// Makes a fresh self-signed certificate, as WebRTC wants them (RFC 8827 section 6.5).
    ///
    /// # Panics
    ///
    /// When the system gives no randomness.
    pub fn generate() -> Self {
        let crypto = Arc::new(crate::dtls::crypto_provider());
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .expect("the built-in provider generates certificates");
        Self {
            certificate,
            crypto,
        }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}
