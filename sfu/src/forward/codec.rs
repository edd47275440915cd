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

    /// Puts another number in its place. One of 7 bits stays one and takes the low bits.
    fn write(self, payload: &mut [u8], id: u16) {
        let at = usize::from(self.offset);
        let Some(target) = payload.get_mut(at..self.end()) else {
            return;
        };
        match target {
            [high, low] => {
                *high = 0x80 | (id >> 8) as u8;
                *low = id as u8;
            }
            [only] => *only = id as u8 & 0x7f,
            _ => {}
        }
    }
}

/// A field of one byte and where it stands.
#[derive(Clone, Copy, Debug)]
struct Field {
    value: u8,
    offset: u8,
}

impl Field {
    fn read(payload: &[u8], at: usize) -> Option<Self> {
        Some(Self {
            value: *payload.get(at)?,
            offset: u8::try_from(at).ok()?,
        })
    }

    /// Puts a value in its place, under a mask.
    fn write(self, payload: &mut [u8], value: u8, mask: u8) {
        if let Some(byte) = payload.get_mut(usize::from(self.offset)) {
            *byte = *byte & !mask | value & mask;
        }
    }
}

/// The picture numbers that a viewer gets in a packet, as far as its codec has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// PictureID of VP8 and VP9.
    pub picture_id: u16,
    /// TL0PICIDX of VP8 and VP9.
    pub tl0_pic_idx: u8,
    /// KEYIDX of VP8.
    pub key_idx: u8,
    /// Frame number of the dependency descriptor.
    pub frame_number: u16,
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

impl Numbering {
    /// Puts numbers in place of those that the payload has.
    pub fn write(&self, payload: &mut [u8], numbers: &Numbers) {
        match self {
            Self::Absent => {}
            Self::Vp8(descriptor) => descriptor.write(payload, numbers),
            Self::Vp9(descriptor) => descriptor.write(payload, numbers),
        }
    }
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
