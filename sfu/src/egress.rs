//! Hot path. What a viewer's packets leave through.
//!
//! Everything above deals in numbered packets; everything below is here: today a str0m send stream, which keeps its
//! own cache for retransmissions, seals and queues. This is the only file that would change with it.

use smallvec::SmallVec;
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::Pt;
use str0m::rtp::{RtpWrite, Ssrc, StreamTx};

use crate::event::Kind;
use crate::forward::packet::{self, Packet};
use crate::track::Format;

/// The sending end of one m-line: its SSRC for the life of the session, and the payload types that were negotiated.
#[derive(Debug)]
pub(crate) struct Egress {
    pub(crate) ssrc: Ssrc,
    params: SmallVec<[PayloadParams; 4]>,
}

/// The payload types that carry a track to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PayloadTypes {
    pub(crate) main: Pt,
    /// For sound wrapped in RED (RFC 2198), when the viewer takes it.
    pub(crate) red: Option<Pt>,
}

impl Egress {
    pub(crate) fn new(ssrc: Ssrc, params: impl Iterator<Item = PayloadParams>) -> Self {
        Self {
            ssrc,
            params: params.collect(),
        }
    }

    /// The payload types for a format; `None` when the viewer negotiated nothing that decodes it.
    pub(crate) fn payload_types(&self, format: Format) -> Option<PayloadTypes> {
        let wanted = PayloadParams::new(Pt::from(0), None, format.spec);
        let negotiated = CodecConfig::new_from_payload_params(self.params.to_vec());
        let params = negotiated.match_params(wanted)?;
        Some(PayloadTypes {
            main: params.pt(),
            red: params.red(),
        })
    }

    /// Hands a numbered packet to the stream; it leaves when the peer is flushed.
    pub(crate) fn send(stream: &mut StreamTx, pt: Pt, packet: &Packet, egress: packet::Egress) {
        let write = RtpWrite::new(
            pt,
            egress.seq_no,
            egress.timestamp,
            packet.captured,
            egress.payload,
        )
        .marker(egress.marker)
        .ext_vals(egress.extensions)
        .nackable(packet.kind == Kind::Video);
        let write = match egress.vp8_patch {
            Some(patch) => write.vp8_patch(patch),
            None => write,
        };
        stream.write_rtp(write);
    }
}
