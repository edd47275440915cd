//! A bad network in front of a viewer: what the server sends it is lost, late, uneven or too much for its link.
//!
//! It works on datagrams, before anything of WebRTC sees them, so repair and adaptation go on as they would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use str0m_netem::{
    Bitrate, DataSize, GilbertElliot, Input, LossModel, Netem, NetemConfig, Output, Probability,
    RandomLoss, WithLen,
};

/// How long a link with a rate cap queues before it drops.
const QUEUE: Duration = Duration::from_millis(200);

/// What happens to datagrams on their way to viewers. What is left out does not happen.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Which part of the viewers has it, 0 to 1, evenly among them.
    pub share: Option<f32>,
    /// Part of all datagrams that is lost, 0 to 1.
    pub loss: f32,
    /// How many are lost in a row, on average.
    pub burst: Option<f32>,
    /// Delay of every datagram.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// Each is delayed by up to so much more or less; none overtakes another, as in a queue.
    #[serde(with = "humantime_serde")]
    pub jitter: Duration,
    /// What the link carries; up to 200 ms more are queued, what comes beyond is lost.
    pub rate_kbps: Option<u32>,
}

impl Impairment {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The text names the key.
    pub fn check(&self) -> anyhow::Result<()> {
        let share = self.share.unwrap_or(1.0);
        anyhow::ensure!(
            (0.0..=1.0).contains(&share),
            "impairment.share: expected 0 to 1"
        );
        anyhow::ensure!(
            (0.0..1.0).contains(&self.loss),
            "impairment.loss: expected 0 to below 1"
        );
        anyhow::ensure!(
            self.burst
                .is_none_or(|burst| (1.0..=1_000.0).contains(&burst)),
            "impairment.burst: expected 1 to 1000"
        );
        anyhow::ensure!(
            self.jitter <= self.delay,
            "impairment.jitter: expected at most impairment.delay"
        );
        anyhow::ensure!(
            self.rate_kbps.is_none_or(|rate| rate >= 16),
            "impairment.rate_kbps: expected 16 or more"
        );
        Ok(())
    }

    /// Whether the viewer of a number has it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "numbers of viewers")]
    pub fn meets(&self, viewer: usize) -> bool {
        let share = f64::from(self.share.unwrap_or(1.0));
        let before = (viewer as f64 * share).floor();
        ((viewer + 1) as f64 * share).floor() > before
    }

    fn config(&self, seed: u64) -> NetemConfig {
        let loss: LossModel = match self.burst {
            _ if self.loss <= 0.0 => LossModel::None,
            // Of all datagrams, loss : 1 - loss are in bad and good times.
            Some(burst) if burst > 1.0 => LossModel::GilbertElliot(
                GilbertElliot::new()
                    .good_duration(burst * (1.0 - self.loss) / self.loss)
                    .bad_duration(burst),
            ),
            _ => LossModel::Random(RandomLoss::new(Probability::new(self.loss))),
        };
        let config = NetemConfig::new()
            .latency(self.delay)
            .jitter(self.jitter)
            .loss(loss)
            .seed(seed);
        match self.rate_kbps {
            Some(rate) => {
                // Bits in a millisecond.
                let queue = i64::from(rate) * i64::try_from(QUEUE.as_millis()).unwrap_or(0) / 8;
                config.link(
                    Bitrate::kbps(rate.into()),
                    DataSize::bytes(queue.max(3_000)),
                )
            }
            None => config,
        }
    }
}

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub source: SocketAddr,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl WithLen for Datagram {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// The network in front of one viewer. It knows no clock.
pub struct Link(Netem<Datagram>);

impl Link {
    /// A network; equal seeds drop and delay the same.
    #[must_use]
    pub fn new(impairment: &Impairment, seed: u64) -> Self {
        Self(Netem::new(impairment.config(seed)))
    }

    /// A datagram enters.
    pub fn enter(&mut self, now: Instant, datagram: Datagram) {
        self.0.handle_input(Input::Packet(now, datagram));
    }

    /// The next datagram that has arrived by `now`.
    pub fn leave(&mut self, now: Instant) -> Option<Datagram> {
        self.0.handle_input(Input::Timeout(now));
        while let Some(output) = self.0.poll_output() {
            if let Output::Packet(datagram) = output {
                return Some(datagram);
            }
        }
        None
    }

    /// When the next one arrives.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.0.poll_timeout()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::media::camera::Camera;
    use crate::media::plan::Streams;
    use crate::media::tag::Tag;
    use crate::media::tally::Tally;
    use crate::media::watch::{Sent, Watch};

    /// A camera's packets through a link, watched; simulated time only.
    fn film(impairment: &Impairment, seconds: u64) -> (Tally, u64) {
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let streams: Streams = toml::from_str("viewers = 1").expect("streams");
        let mut camera = Camera::new(&streams, 0, 1, Duration::ZERO);
        let mut link = Link::new(impairment, 7);
        let mut watch = Watch::new(0);
        let mut tally = Tally::default();
        let start = Instant::now();
        let (mut sent, mut last) = (0, Duration::ZERO);
        // Half a second more, for what is under way.
        for ms in 0..seconds * 1_000 + 500 {
            let at = Duration::from_millis(ms);
            if ms < seconds * 1_000 {
                camera.shoot(at, |packet| {
                    let bytes = packet.payload;
                    link.enter(start + at, Datagram { source, bytes });
                    sent += 1;
                    last = at;
                });
            }
            while let Some(datagram) = link.leave(start + at) {
                let tag = Tag::read(&datagram.bytes).expect("a tag");
                watch.packet(at, &tag, datagram.bytes.len(), &mut tally);
            }
        }
        let counts = camera.sent();
        let end = Sent { counts, last };
        watch.finish(&end, &mut tally);
        (tally, sent)
    }

    #[expect(clippy::cast_precision_loss, reason = "thousands of packets")]
    fn share(part: u64, all: u64) -> f64 {
        part as f64 / all as f64
    }

    #[test]
    fn one_percent_lost_is_reported_as_one_percent() {
        let impairment = Impairment {
            loss: 0.01,
            ..Impairment::default()
        };
        let (tally, sent) = film(&impairment, 120);
        assert_eq!(tally.lost + tally.received, sent);
        let lost = share(tally.lost, sent);
        assert!((0.008..0.012).contains(&lost), "{lost}");
    }

    #[test]
    fn bursts_lose_as_much_in_fewer_pictures() {
        let loss = |burst| Impairment {
            loss: 0.02,
            burst,
            ..Impairment::default()
        };
        let (even, sent) = film(&loss(None), 120);
        let (bursts, _) = film(&loss(Some(5.0)), 120);
        let lost = share(bursts.lost, sent);
        assert!((0.014..0.027).contains(&lost), "{lost}");
        assert!(
            bursts.broken_frames * 3 < even.broken_frames * 2,
            "{} and {}",
            bursts.broken_frames,
            even.broken_frames
        );
    }

    #[test]
    fn fifty_milliseconds_of_delay_are_reported_as_that() {
        let impairment = Impairment {
            delay: Duration::from_millis(50),
            ..Impairment::default()
        };
        let (tally, sent) = film(&impairment, 10);
        assert_eq!((tally.received, tally.lost), (sent, 0));
        // The histogram knows three digits, the clock here a millisecond.
        assert!((49_900..51_100).contains(&tally.latency.min()));
        assert!((49_900..51_100).contains(&tally.latency.max()));
    }

    #[test]
    fn jitter_spreads_the_latency_and_is_reported() {
        let impairment = Impairment {
            delay: Duration::from_millis(50),
            jitter: Duration::from_millis(20),
            ..Impairment::default()
        };
        let (tally, _) = film(&impairment, 10);
        assert_eq!((tally.lost, tally.reordered), (0, 0));
        assert!(tally.latency.min() < 35_000 && tally.latency.max() > 65_000);
        let jitter = tally.jitter.max();
        assert!((1_000..20_000).contains(&jitter), "{jitter} us");
    }

    #[test]
    fn a_link_of_half_the_bitrate_carries_half_and_freezes_pictures() {
        let impairment = Impairment {
            rate_kbps: Some(750),
            ..Impairment::default()
        };
        let (tally, sent) = film(&impairment, 30);
        let through = share(tally.received, sent);
        assert!((0.4..0.75).contains(&through), "{through}");
        assert!(tally.latency.max() < 300_000, "the queue is bounded");
        assert!(tally.broken_frames > 0);
    }

    #[test]
    fn equal_seeds_lose_the_same_and_the_share_is_kept() {
        let impairment = Impairment {
            share: Some(0.25),
            loss: 0.05,
            ..Impairment::default()
        };
        assert_eq!(film(&impairment, 5).0.lost, film(&impairment, 5).0.lost);
        let met = (0..100).filter(|viewer| impairment.meets(*viewer)).count();
        assert_eq!(met, 25);
    }
}
