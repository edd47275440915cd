//! Hot path. One packet on its way from a publisher to its viewers.

use std::sync::Arc;
use std::time::Instant;

use str0m::rtp::{ExtensionValues, SeqNo};

use super::codec::{Meta, Numbers};
use super::dependency::{self, Descriptor};
use super::spatial::Spatial;
use crate::event::{Codec, Kind};

/// One run of sequence numbers of one encoding. Numbers of a stream count up, so a later source has a greater one.
///
/// A new one is due whenever the numbers behind it may start anew: another publisher, another SSRC, another codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// An RTP packet as it arrived, read once and then shared by all viewers of its track.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Audio or video.
    pub kind: Kind,
    /// What the payload is encoded with.
    pub codec: Codec,
    /// The run of sequence numbers that it belongs to.
    pub source: SourceId,
    /// Its layer: the slot in the track's [`crate::layer::Ladder`], 0 without simulcast.
    pub slot: u8,
    /// Ingress sequence number, extended.
    pub seq_no: SeqNo,
    /// Ingress RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// Payload without the RTP header.
    pub payload: Arc<[u8]>,
    /// The header extensions that viewers get as well, and no others.
    pub extensions: ExtensionValues,
    /// When it arrived.
    pub arrived: Instant,
    /// When it was captured, as far as the publisher tells, in the clock that sound and pictures share.
    pub captured: Instant,
    /// What its payload says.
    pub meta: Meta,
}

/// How a packet is numbered for one viewer. What is not here is in the [`Packet`], which all viewers share.
#[derive(Clone, Copy, Debug)]
pub struct Egress {
    /// Egress sequence number, extended; below 65 536 at the start.
    pub seq_no: SeqNo,
    /// Egress RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit, set where a picture ends for this viewer.
    pub marker: bool,
    /// The picture numbers that go in place of those it arrived with.
    pub numbers: Numbers,
    /// Its picture has no spatial layer above this one.
    pub limit: Option<u8>,
    /// Nothing but a header, in place of a packet that was left out too late.
    pub is_empty: bool,
}

impl Egress {
    /// Makes it a packet of a picture that has no spatial layer above `layer`.
    pub fn limit(&mut self, spatial: &Spatial, layer: u8) {
        self.marker |= spatial.ends_picture_of(layer);
        self.limit = Some(layer);
    }

    /// Appends the payload with the numbers that it has here.
    pub fn write_payload(&self, packet: &Packet, target: &mut Vec<u8>) {
        if self.is_empty {
            return;
        }
        let start = target.len();
        target.extend_from_slice(&packet.payload);
        packet
            .meta
            .numbering
            .write(&mut target[start..], &self.numbers);
    }

    /// The dependency descriptor of the packet as it is here, if it has one.
    pub fn dependency<'a>(&self, packet: &'a Packet) -> Option<dependency::Edited<'a>> {
        let descriptor = packet.extensions.user_values.get::<Descriptor>()?;
        let targets = packet
            .meta
            .spatial
            .as_ref()
            .and_then(|s| s.targets.as_ref());
        let limit = targets.zip(self.limit);
        Some(descriptor.edited(self.numbers.frame_number, limit))
    }
}
