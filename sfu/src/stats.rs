//! What a shard counts: plain numbers it owns, copied out as a [`Snapshot`].
//!
//! All counters are cumulative since the shard was made, so a snapshot may be dropped without loss. Fields are named
//! after the metrics of `docs/protocol.md`; the enums' variants are the metrics' labels.

use std::time::Duration;

use crate::event::Kind;

/// Upper bounds of the buckets of [`Histogram`]; the last bucket takes the rest.
pub const FORWARD_BOUNDS: [Duration; 10] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(100),
];

/// The counters of a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// RTP packets handed to viewers' egress.
    pub packets_forwarded: ByKind,
    /// Their payload bytes.
    pub bytes_forwarded: ByKind,
    /// What was dropped, and why.
    pub packets_dropped: Dropped,
    /// Keyframes asked for, by what made us ask. Coalesced requests count here too.
    pub keyframe_requests: KeyframeRequests,
    /// Keyframe requests that reached a publisher after coalescing (home shard) or the home shard (follower).
    pub keyframe_requests_sent: u64,
    /// Packets asked for again.
    pub nacks: Nacks,
    /// Packets that viewers asked for again.
    pub repeats: Repeats,
    /// Changes of the layer a viewer receives, the first one not counted.
    pub layer_switches: u64,
    /// Peers there are now.
    pub sessions: Sessions,
    /// Streams there are now.
    pub streams: u64,
    /// Payload bytes to and from other shards.
    pub relay_bytes: RelayBytes,
    /// Faults of ours, each of which cost one peer.
    pub panics: u64,
    /// Time from a packet's arrival to the end of the turn that sent it on.
    pub forward: Histogram,
}

/// One number for sound, one for pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByKind {
    /// Audio.
    pub audio: u64,
    /// Video.
    pub video: u64,
}

impl ByKind {
    pub(crate) fn add(&mut self, kind: Kind, n: u64) {
        match kind {
            Kind::Audio => self.audio += n,
            Kind::Video => self.video += n,
        }
    }
}

/// Datagrams and packets that were dropped, by reason. Layers and tracks that a viewer did not want are no drops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// DTLS, SRTP or SRTCP from an address that ICE has not verified.
    pub unverified: u64,
    /// STUN that names no peer or is not signed with its password.
    pub stun: u64,
    /// Neither STUN, DTLS, RTP nor RTCP, or cut short.
    pub malformed: u64,
    /// RTP of a media line, layer or payload type that was not negotiated, or past a limit.
    pub unknown: u64,
    /// Packets a viewer negotiated no codec for.
    pub undecodable: u64,
    /// Older than what a viewer's sequence numbers can still hold.
    pub late: u64,
    /// Relayed packets of a stream or track that is gone.
    pub relay: u64,
}

/// Why a keyframe was wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyframeRequests {
    /// A viewer sent PLI or FIR.
    pub viewer: u64,
    /// A viewer joined or was given a track.
    pub joined: u64,
    /// A viewer changes to another layer.
    pub switched: u64,
    /// Another shard asked.
    pub relay: u64,
}

/// NACKed packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Nacks {
    /// By viewers, from us.
    pub received: u64,
    /// By us, from publishers.
    pub sent: u64,
}

/// Packets asked for again by viewers, as far as they were still there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Sent again.
    pub sent: u64,
    /// Not sent, because repeats took too much of what the viewer gets.
    pub refused: u64,
}

/// Peers by role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Publishing.
    pub publishers: u64,
    /// Watching.
    pub viewers: u64,
}

/// Payload bytes between shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayBytes {
    /// From other shards.
    pub received: u64,
    /// To other shards.
    pub sent: u64,
}

/// Counts of durations between fixed bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Histogram {
    /// One count per bound of [`FORWARD_BOUNDS`], not cumulative over the buckets, and one for all above.
    pub buckets: [u64; FORWARD_BOUNDS.len() + 1],
    /// Sum of all durations.
    pub sum: Duration,
}

impl Histogram {
    /// Counts `n` packets that took `duration` each.
    pub(crate) fn observe(&mut self, duration: Duration, n: u32) {
        let bucket = FORWARD_BOUNDS.partition_point(|bound| *bound < duration);
        self.buckets[bucket] += u64::from(n);
        self.sum += duration * n;
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let mut h = Histogram::default();
        h.observe(Duration::from_micros(50), 1);
        h.observe(Duration::from_micros(51), 2);
        h.observe(Duration::from_secs(9), 1);
        assert_eq!(h.buckets[0], 1);
        assert_eq!(h.buckets[1], 2);
        assert_eq!(h.buckets[FORWARD_BOUNDS.len()], 1);
        assert_eq!(h.count(), 4);
    }
}
