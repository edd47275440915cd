//! Hot path. What a payload says about itself: may a viewer start here, how large is the picture, how is it numbered.
//!
//! Everything here reads bytes that a stranger wrote: any input gives a [`Meta`], none panics. What cannot be parsed is
//! simply no keyframe; the packet is forwarded all the same, because judging it is the decoder's business.

pub mod av1;
pub mod h264;
pub mod vp8;
pub mod vp9;

use super::spatial::{Sizes, Spatial};
use crate::event::Codec;

/// What one packet says about the frame it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta {
    /// The first packet of a keyframe: a decoder that has seen nothing before can start with this packet.
    pub keyframe: bool,
    /// Width and height in pixels, where the packet tells (packets that start a keyframe usually do). With spatial
    /// layers inside one encoding, those of the largest.
    pub dimensions: Option<(u16, u16)>,
    /// The picture numbering a receiver checks for continuity.
    pub numbering: Numbering,
    /// Its place among spatial layers inside one encoding; `None` for what belongs to all of them.
    pub spatial: Option<Spatial>,
    /// The spatial layers there are, where the packet tells; packets that start a keyframe do.
    pub sizes: Option<Sizes>,
}

/// The PictureID of VP8 and VP9: 7 bits, or 15 when the first is set.
#[derive(Clone, Copy, Debug)]
struct PictureId {
    value: u16,
    offset: u8,
    is_15_bit: bool,
}

impl PictureId {
    fn read(payload: &[u8], at: usize) -> Option<Self> {
        let first = *payload.get(at)?;
        let is_15_bit = first & 0x80 != 0;
        let mut value = u16::from(first & 0x7f);
        if is_15_bit {
            value = value << 8 | u16::from(*payload.get(at + 1)?);
        }
        Some(Self {
            value,
            offset: u8::try_from(at).ok()?,
            is_15_bit,
        })
    }

    /// Where the next field begins.
    fn end(self) -> usize {
        usize::from(self.offset) + if self.is_15_bit { 2 } else { 1 }
    }
}

/// Picture numbers inside the payload, which must go on when the source behind a viewer changes.
#[derive(Clone, Copy, Debug, Default)]
pub enum Numbering {
    /// The codec has none, or this packet carries none.
    #[default]
    Absent,
    /// The VP8 payload descriptor (RFC 7741 section 4.2).
    Vp8(vp8::Descriptor),
    /// The VP9 payload descriptor (RFC 9628 section 4.2).
    Vp9(vp9::Descriptor),
}

/// Reads what `payload` says. `dependency` holds the bytes of the AV1 dependency descriptor, where the packet has one.
pub fn inspect(codec: Codec, payload: &[u8], dependency: Option<&[u8]>) -> Meta {
    match codec {
        Codec::Opus => Meta::default(),
        Codec::Vp8 => vp8::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::Av1 => av1::inspect(payload, dependency),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Codec; 5] = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_inspected_without_panic(
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            dependency in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)),
        ) {
            for codec in CODECS {
                let meta = inspect(codec, &payload, dependency.as_deref());
                if let Some((width, height)) = meta.dimensions {
                    prop_assert!(width > 0 && height > 0);
                }
            }
        }
    }
}
