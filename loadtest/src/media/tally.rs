//! What the peers of one thread met; added up at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Longest time that is told apart: a minute.
const LONGEST_US: u64 = 60_000_000;

/// Counters and times of media. All times are in microseconds.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Publishers that connected.
    pub publishing: u64,
    /// Viewers that saw a keyframe whole.
    pub watching: u64,
    /// Peers that did not get that far, by what they were waiting for or were answered.
    pub failed: BTreeMap<String, u64>,
    /// Peers whose connection was lost while the run went on.
    pub ended: u64,
    /// Packets that publishers sent.
    pub sent: u64,
    /// Of these, refused by this machine's own network: not the server's doing.
    pub unsent: u64,
    /// Keyframes that publishers sent.
    pub keyframes: u64,
    /// Keyframe requests that publishers got.
    pub keyframe_requests: u64,
    /// Keyframes that viewers asked for, having given up a picture.
    pub keyframes_wanted: u64,
    /// Packets that viewers got.
    pub received: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// Packets between a viewer's first and the last of its publisher that never came, repairs counted as come.
    pub lost: u64,
    /// Packets that a viewer got again under another sequence number. True repetitions end in SRTP's replay protection.
    pub duplicated: u64,
    /// Packets that came after one that was sent later; repaired ones are among them.
    pub reordered: u64,
    /// Packets that belong to another stream, or to nobody here.
    pub strays: u64,
    /// Times that a viewer was given another layer than before.
    pub layer_switches: u64,
    /// Pictures that came whole.
    pub frames: u64,
    /// Pictures that did not.
    pub broken_frames: u64,
    /// Time from offer to answer.
    pub http: Histogram<u64>,
    /// From there to a checked path.
    pub ice: Histogram<u64>,
    /// From there to keys.
    pub dtls: Histogram<u64>,
    /// From there to a viewer's first packet.
    pub first_packet: Histogram<u64>,
    /// From the beginning of a viewer's join to its first whole keyframe.
    pub first_keyframe: Histogram<u64>,
    /// Sent by the publisher to received by a viewer, each packet.
    pub latency: Histogram<u64>,
    /// Interarrival jitter (RFC 3550 section 6.4.1) of each viewer's video at the end, over the times of sending.
    pub jitter: Histogram<u64>,
    /// Gaps of more than 200 ms between whole pictures.
    pub freezes: Histogram<u64>,
    /// How late this generator's pictures left.
    pub lag: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds that fit together")
        };
        Self {
            publishing: 0,
            watching: 0,
            failed: BTreeMap::new(),
            ended: 0,
            sent: 0,
            unsent: 0,
            keyframes: 0,
            keyframe_requests: 0,
            keyframes_wanted: 0,
            received: 0,
            bytes: 0,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            strays: 0,
            layer_switches: 0,
            frames: 0,
            broken_frames: 0,
            http: histogram(),
            ice: histogram(),
            dtls: histogram(),
            first_packet: histogram(),
            first_keyframe: histogram(),
            latency: histogram(),
            jitter: histogram(),
            freezes: histogram(),
            lag: histogram(),
        }
    }
}

impl Tally {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in [
            (&mut self.publishing, other.publishing),
            (&mut self.watching, other.watching),
            (&mut self.ended, other.ended),
            (&mut self.sent, other.sent),
            (&mut self.unsent, other.unsent),
            (&mut self.keyframes, other.keyframes),
            (&mut self.keyframe_requests, other.keyframe_requests),
            (&mut self.keyframes_wanted, other.keyframes_wanted),
            (&mut self.received, other.received),
            (&mut self.bytes, other.bytes),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.reordered, other.reordered),
            (&mut self.strays, other.strays),
            (&mut self.layer_switches, other.layer_switches),
            (&mut self.frames, other.frames),
            (&mut self.broken_frames, other.broken_frames),
        ] {
            *mine += others;
        }
        for (reason, count) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += count;
        }
        for (mine, others) in [
            (&mut self.http, &other.http),
            (&mut self.ice, &other.ice),
            (&mut self.dtls, &other.dtls),
            (&mut self.first_packet, &other.first_packet),
            (&mut self.first_keyframe, &other.first_keyframe),
            (&mut self.latency, &other.latency),
            (&mut self.jitter, &other.jitter),
            (&mut self.freezes, &other.freezes),
            (&mut self.lag, &other.lag),
        ] {
            mine.add(others)
                .expect("all histograms have the same bounds");
        }
    }

    /// A peer did not make it.
    pub fn fail(&mut self, reason: &str) {
        *self.failed.entry(reason.to_owned()).or_default() += 1;
    }

    /// How many did not make it.
    #[must_use]
    pub fn failed_joins(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::record;

    #[test]
    fn tallies_add_up() {
        let mut one = Tally::default();
        let mut two = Tally {
            lost: 3,
            received: 5,
            ..Tally::default()
        };
        one.fail("http 404");
        two.fail("http 404");
        two.fail("ice");
        record(&mut one.latency, Duration::from_millis(1));
        record(&mut two.latency, Duration::from_millis(2));
        one.add(&two);
        assert_eq!((one.lost, one.received, one.failed_joins()), (3, 5, 3));
        assert_eq!(one.failed["http 404"], 2);
        assert_eq!(one.latency.len(), 2);
    }
}
