//! Hot path. When a publisher's packets were captured, on our clock.
//!
//! Pictures take longer to encode and to send than sound, so packets that arrive together were not captured together.
//! What was is told by sender reports (RFC 3550 section 6.4.1): each says which time of the publisher's clock belongs to
//! an RTP timestamp. That clock may be any; it is the same for all tracks, and so is the distance to ours, which is taken
//! to be the least that was seen lately between capture and arrival:
//!
//! ```text
//! captured on the publisher's clock    a       b  c
//! arrived on our clock                     a      b        c
//! distance                             |---|   |--|  |-----|
//! captured on our clock                   a       b  c           b had the shortest way
//! ```
//!
//! Our own reports to viewers tell these times, and viewers keep sound and pictures in step by them. A publisher without
//! reports, or with reports that cannot be, is taken to capture when its packets arrive.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The least distance is looked for in this time and the one before. Longer lets the clocks drift apart (fast ones do by
/// 1 ms in 10 s), shorter lets a busy link move the pictures.
const WINDOW: Duration = Duration::from_secs(10);

/// Nothing of a live stream is this old when it arrives; what seems so has a clock that was set.
const LAG_MAX: Duration = Duration::from_secs(2);

/// The distance between a publisher's clock and ours.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    base: Option<Instant>,
    window: Option<Window>,
    /// The least distance of the window before.
    before: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    /// In microseconds, from any zero that stays the same.
    least: i64,
}

/// What a sender report says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    /// A time of the publisher's clock.
    pub(crate) time: SystemTime,
    /// The RTP timestamp that belongs to it.
    pub(crate) timestamp: u32,
}

impl Clock {
    /// When a packet was captured. `report` is the last one of its SSRC, `rate` that of its RTP clock.
    pub(crate) fn captured(
        &mut self,
        arrived: Instant,
        timestamp: u32,
        rate: u32,
        report: Option<Report>,
    ) -> Instant {
        let lag = report.and_then(|report| self.lag(arrived, timestamp, rate, report));
        let lag = lag.filter(|lag| *lag <= LAG_MAX).unwrap_or_default();
        arrived.checked_sub(lag).unwrap_or(arrived)
    }

    /// How much longer the packet's way was than the shortest.
    fn lag(
        &mut self,
        arrived: Instant,
        timestamp: u32,
        rate: u32,
        report: Report,
    ) -> Option<Duration> {
        let reported = report.time.duration_since(UNIX_EPOCH).ok()?;
        let since = timestamp.wrapping_sub(report.timestamp).cast_signed();
        let since = i64::from(since) * 1_000_000 / i64::from(rate);
        let captured = i64::try_from(reported.as_micros()).ok()? + since;
        let base = *self.base.get_or_insert(arrived);
        let passed = arrived.saturating_duration_since(base);
        let distance = i64::try_from(passed.as_micros()).ok()? - captured;

        let window = self.window.get_or_insert(Window {
            begun: arrived,
            least: distance,
        });
        if arrived.saturating_duration_since(window.begun) >= WINDOW {
            self.before = Some(window.least);
            *window = Window {
                begun: arrived,
                least: distance,
            };
        }
        window.least = window.least.min(distance);
        let least = self
            .before
            .map_or(window.least, |before| before.min(window.least));
        u64::try_from(distance - least)
            .ok()
            .map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: u32 = 90_000;
    const AUDIO: u32 = 48_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A publisher whose clock is two days slow and whose video timestamps begin near the end of their range.
    struct World {
        start: Instant,
        clock: Clock,
    }

    impl World {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                clock: Clock::default(),
            }
        }

        fn report(at: Duration, rate: u32) -> Report {
            Report {
                time: UNIX_EPOCH + Duration::from_secs(1_700_000_000) + at,
                timestamp: timestamp(at, rate),
            }
        }

        /// Tells when a packet seems captured, from the start.
        fn arrive(&mut self, captured: Duration, way: Duration, rate: u32) -> Duration {
            let report = Self::report(ms(captured.as_millis() as u64 / 1_000 * 1_000), rate);
            let arrived = self.start + captured + way;
            let stamp = timestamp(captured, rate);
            self.clock.captured(arrived, stamp, rate, Some(report)) - self.start
        }
    }

    fn timestamp(at: Duration, rate: u32) -> u32 {
        let ticks = at.as_micros() as u64 * u64::from(rate) / 1_000_000;
        0xffff_0000u32.wrapping_add(ticks as u32)
    }

    #[test]
    fn pictures_with_a_longer_way_are_as_old_as_the_sound_of_their_time() {
        let mut world = World::new();
        for n in 0..2_000 {
            let at = ms(20 * n);
            let sound = world.arrive(at, ms(30), AUDIO);
            let picture = world.arrive(at, ms(110), VIDEO);
            let apart = sound.abs_diff(picture);
            assert!(apart <= ms(1), "{apart:?} apart after {at:?}");
        }
    }

    #[test]
    fn clocks_that_drift_apart_are_followed() {
        let mut world = World::new();
        for n in 0..60_000 {
            // The publisher's clock loses 100 µs in a second, as bad quartzes do.
            let at = ms(20 * n);
            let drift = at / 10_000;
            let sound = world.arrive(at, ms(30) + drift, AUDIO);
            let picture = world.arrive(at, ms(110) + drift, VIDEO);
            assert!(sound.abs_diff(picture) <= ms(1), "after {at:?}");
            let late = (at + ms(30) + drift).saturating_sub(sound);
            assert!(late <= ms(3), "sound seems {late:?} old after {at:?}");
        }
    }

    #[test]
    fn without_reports_or_with_impossible_ones_arrival_counts() {
        let mut world = World::new();
        let arrived = world.start + ms(500);
        assert_eq!(world.clock.captured(arrived, 7, VIDEO, None), arrived);
        world.arrive(ms(500), ms(30), AUDIO);
        let mut set_back = World::report(ms(500), VIDEO);
        set_back.time -= Duration::from_secs(3_600);
        let stamp = timestamp(ms(500), VIDEO);
        let captured = world.clock.captured(arrived, stamp, VIDEO, Some(set_back));
        assert_eq!(captured, arrived);
        let ancient = Report {
            time: UNIX_EPOCH - Duration::from_secs(1),
            timestamp: 0,
        };
        let captured = world.clock.captured(arrived, stamp, VIDEO, Some(ancient));
        assert_eq!(captured, arrived);
    }
}
