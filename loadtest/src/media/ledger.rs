//! Which packet left when. Encoded samples go out bit for bit, so a packet carries nothing of ours but the moment it left, in the
//! header extension for the time of capture; here stands which packet that was.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::tag::Tag;

/// How far the stamps of a stream are apart at least: much more than is lost where a time becomes an NTP timestamp and back, which
/// happens once in the server and costs half a microsecond each time.
pub const STEP: Duration = Duration::from_micros(8);

/// How long a packet is remembered: longer than a server repairs, and than what a slow network holds.
const KEPT: Duration = Duration::from_secs(30);

/// A stamp for what leaves now, behind the stamp before.
#[must_use]
pub fn stamp(now: Duration, before: Duration) -> Duration {
    let steps = now.as_micros().div_ceil(STEP.as_micros());
    let steps = steps.max(before.as_micros() / STEP.as_micros() + 1);
    Duration::from_micros(u64::try_from(steps * STEP.as_micros()).unwrap_or(u64::MAX))
}

/// The packets of one stream that left lately.
#[derive(Debug)]
pub struct Ledger {
    /// When stamps are counted from.
    began: SystemTime,
    /// With their stamps, which rise.
    packets: Mutex<VecDeque<(Duration, Tag)>>,
}

impl Ledger {
    /// With stamps that are counted from `start`.
    #[must_use]
    pub fn new(start: Instant) -> Self {
        let now = SystemTime::now();
        Self {
            began: now.checked_sub(start.elapsed()).unwrap_or(now),
            packets: Mutex::default(),
        }
    }

    /// Notes a packet, whose stamp is behind all before; gives the time that it carries.
    pub fn note(&self, stamp: Duration, tag: Tag) -> SystemTime {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        while packets
            .front()
            .is_some_and(|(first, _)| *first + KEPT < stamp)
        {
            packets.pop_front();
        }
        packets.push_back((stamp, tag));
        self.began + stamp
    }

    /// The packet that carries this time.
    #[must_use]
    pub fn find(&self, time: SystemTime) -> Option<Tag> {
        let since = time.duration_since(self.began).unwrap_or_default();
        let packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        let index = packets.partition_point(|(stamp, _)| *stamp + STEP / 2 <= since);
        let (stamp, tag) = packets.get(index)?;
        (stamp.abs_diff(since) <= STEP / 2).then_some(*tag)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tag::Kind;
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    fn tag(number: u32) -> Tag {
        Tag {
            stream: 0,
            kind: Kind::Delta,
            layer: 0,
            frame: 1,
            part: 0,
            parts: 1,
            number,
            sent: us(1_000),
        }
    }

    #[test]
    fn stamps_are_apart_however_fast_packets_leave() {
        let first = stamp(us(1_001), Duration::ZERO);
        assert_eq!(first, us(1_008));
        assert_eq!(stamp(us(1_001), first), us(1_016));
        assert_eq!(stamp(us(2_000), us(1_016)), us(2_000));
    }

    #[test]
    fn a_packet_is_found_by_a_time_that_lost_its_last_digits_and_no_other() {
        let ledger = Ledger::new(Instant::now());
        let times: Vec<_> = (1..=100)
            .map(|number| ledger.note(STEP * number, tag(number)))
            .collect();
        for (number, time) in (1..).zip(&times) {
            for found in [*time, *time + us(3), *time - us(3)] {
                assert_eq!(ledger.find(found), Some(tag(number)), "{number}");
            }
        }
        assert_eq!(ledger.find(times[0] - STEP), None);
        assert_eq!(ledger.find(times[99] + STEP), None);
        assert_eq!(ledger.find(SystemTime::UNIX_EPOCH), None);
        // Half a minute later they are forgotten.
        ledger.note(KEPT + STEP * 51, tag(101));
        assert_eq!(ledger.find(times[49]), None);
        assert_eq!(ledger.find(times[50]), Some(tag(51)));
    }
}
