//! Hot path. The last packets of a layer, for all who may ask for one of them again.
//!
//! One ring serves every viewer of the layer in this shard. What a viewer got is a place in it and how the packet was
//! numbered, see [`super::history`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::forward::packet::Packet;

/// Packets kept at most; 1.2 MB of full ones. At 8 Mbit/s this is more than a second.
const PACKETS_MAX: usize = 1_024;

/// Nobody waits longer for a packet: with a delay like that, a keyframe is asked for.
const AGE_MAX: Duration = Duration::from_secs(2);

/// The last packets of one layer by position, which counts up.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    packets: VecDeque<Packet>,
    /// The position of the first packet that is kept.
    first: u32,
}

impl Ring {
    /// Keeps a packet and tells its position.
    pub(crate) fn push(&mut self, packet: Packet) -> u32 {
        while self.packets.front().is_some_and(|first| {
            let age = packet.arrived.saturating_duration_since(first.arrived);
            self.packets.len() >= PACKETS_MAX || age > AGE_MAX
        }) {
            self.packets.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        let position = self.first.wrapping_add(self.packets.len() as u32);
        self.packets.push_back(packet);
        position
    }

    /// The packet at a position, if it is still there.
    pub(crate) fn get(&self, position: u32) -> Option<&Packet> {
        self.packets.get(position.wrapping_sub(self.first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use str0m::rtp::ExtensionValues;

    use super::*;
    use crate::event::{Codec, Kind};
    use crate::forward::packet::SourceId;

    fn packet(start: Instant, number: u64, ms: u64) -> Packet {
        Packet {
            kind: Kind::Video,
            codec: Codec::H264,
            source: SourceId(1),
            slot: 0,
            seq_no: number.into(),
            timestamp: 0,
            marker: false,
            payload: Arc::from([0u8; 4]),
            extensions: ExtensionValues::default(),
            arrived: start + Duration::from_millis(ms),
            captured: start,
            meta: Default::default(),
        }
    }

    #[test]
    fn a_packet_is_found_at_its_position_until_it_is_too_far_back() {
        let start = Instant::now();
        let mut ring = Ring::default();
        for number in 0..3_000 {
            assert_eq!(ring.push(packet(start, number, number / 10)), number as u32);
        }
        let found = |position| ring.get(position).map(|packet| *packet.seq_no);
        assert_eq!(found(2_999), Some(2_999));
        assert_eq!(found(3_000 - 1_024), Some(3_000 - 1_024));
        assert_eq!(found(3_000 - 1_025), None);
        assert_eq!(found(3_000), None, "is not there yet");
    }

    #[test]
    fn a_packet_is_forgotten_when_it_is_too_old() {
        let start = Instant::now();
        let mut ring = Ring::default();
        let old = ring.push(packet(start, 1, 0));
        let young = ring.push(packet(start, 2, 1_000));
        ring.push(packet(start, 3, 2_001));
        assert!(ring.get(old).is_none());
        assert!(ring.get(young).is_some());
    }
}
