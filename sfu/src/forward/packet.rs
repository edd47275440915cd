//! Hot path. One packet on its way from a publisher to its viewers.

use std::sync::Arc;
use std::time::Instant;

use str0m::rtp::{ExtensionValues, SeqNo, Vp8Patch};

use super::codec::Meta;
use super::dependency::Descriptor;
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

/// A packet numbered for one viewer.
#[derive(Debug)]
pub struct Egress {
    /// Egress sequence number, extended; below 65 536 at the start.
    pub seq_no: SeqNo,
    /// Egress RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit, set where a picture ends for this viewer.
    pub marker: bool,
    /// The shared payload, or a copy with other picture numbers.
    pub payload: Arc<[u8]>,
    /// Picture numbers that str0m puts in while it writes the packet out.
    pub vp8_patch: Option<Vp8Patch>,
    /// The extensions, with the frame number of a dependency descriptor continued.
    pub extensions: ExtensionValues,
}

impl Egress {
    /// Makes it a packet of a picture that has no spatial layer above `layer`.
    pub fn limit(&mut self, spatial: &Spatial, layer: u8) {
        self.marker |= spatial.ends_picture_of(layer);
        let values = &mut self.extensions.user_values;
        if let (Some(targets), Some(descriptor)) = (&spatial.targets, values.get::<Descriptor>()) {
            let descriptor = descriptor.with_targets(targets, layer);
            values.set(descriptor);
        }
    }
}
