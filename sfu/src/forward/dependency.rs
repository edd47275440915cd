//! Hot path. The AV1 dependency descriptor, a header extension that str0m does not know by itself.
//!
//! It travels from publisher to viewer as it is, but for the frame number, which must go on when the source changes, and
//! for the decode targets that are left out of what a viewer gets. What it says of layers is read in [`structure`]; here
//! is its fixed part (AV1 RTP payload format, appendix A.8.2):
//!
//! ```text
//!      0                   1                   2
//!      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7
//!     +-+-+-----------+-------------------------------+-+------
//!     |S|E| template  |         frame number          |T| ...
//!     +-+-+-----------+-------------------------------+-+------
//! ```
//!
//! S: the (layer) frame starts, E: it ends, T: a template structure is attached, which happens on keyframes. Frame numbers
//! that a viewer does not get leave gaps: a frame names what it depends on by the distance of their numbers.

pub mod structure;

use std::sync::Arc;

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

use super::spatial::Targets;

/// The URI that names the extension in SDP.
pub const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Longest descriptor that is carried; the two-byte form of RFC 8285 holds no more.
const BYTES_MAX: usize = 255;

/// Bytes of the part that every descriptor has, and the bit behind it that says that a bitmask follows.
const MANDATORY_BYTES: usize = 3;
const HAS_MASK: u8 = 0x40;

/// A bit for each of at most 32 decode targets.
const MASK_BYTES_MAX: usize = 4;

/// The fields that every descriptor begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandatory {
    /// First packet of its frame.
    pub starts_frame: bool,
    /// Last packet of its frame.
    pub ends_frame: bool,
    /// Number of the frame, wrapping.
    pub frame_number: u16,
    /// A template structure comes along: a decoder can start here.
    pub has_structure: bool,
}

impl Mandatory {
    /// Reads the fields, `None` when there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [flags, high, low] = *bytes.first_chunk::<3>()?;
        Some(Self {
            starts_frame: flags & 0x80 != 0,
            ends_frame: flags & 0x40 != 0,
            frame_number: u16::from_be_bytes([high, low]),
            has_structure: bytes.get(3).is_some_and(|byte| byte & 0x80 != 0),
        })
    }
}

/// A descriptor as str0m carries it in the user values of a packet's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    bytes: Arc<[u8]>,
    frame_number: u16,
}

/// A descriptor as it is written for one viewer.
#[derive(Clone, Copy, Debug)]
pub struct Edited<'a> {
    bytes: &'a [u8],
    frame_number: u16,
    active: Option<Active>,
}

/// The decode targets that a viewer gets, and where that is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Active {
    at: usize,
    width: usize,
    is_present: bool,
    mask: u32,
}

impl Descriptor {
    /// Takes up a descriptor, `None` when it is too short or too long to be one.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let frame_number = Mandatory::parse(bytes)?.frame_number;
        Some(Self {
            bytes: Arc::from(bytes),
            frame_number,
        })
    }

    /// The bytes as they arrived.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame number it arrived with.
    pub fn frame_number(&self) -> u16 {
        self.frame_number
    }

    /// The descriptor with another frame number, for a viewer who gets nothing above a spatial layer when there is a
    /// limit.
    pub fn edited(&self, frame_number: u16, limit: Option<(&Targets, u8)>) -> Edited<'_> {
        let has_room = self.bytes.len() + MASK_BYTES_MAX <= BYTES_MAX;
        let active = limit.filter(|_| has_room).and_then(|(targets, layer)| {
            Some(Active {
                at: targets.at.into(),
                width: targets.width.into(),
                is_present: targets.is_present,
                mask: *targets.masks.get(usize::from(layer))?,
            })
        });
        Edited {
            bytes: &self.bytes,
            frame_number,
            active,
        }
    }
}

impl Edited<'_> {
    /// How many bytes are written.
    pub fn written_bytes(&self) -> usize {
        match self.active {
            // The rest of the last byte is padding, which may be cut.
            Some(active) if self.bytes.len() == MANDATORY_BYTES => {
                (active.at + active.width).div_ceil(8)
            }
            Some(active) if !active.is_present => self.bytes.len() + active.width.div_ceil(8),
            _ => self.bytes.len(),
        }
    }

    /// Writes the descriptor into [`Self::written_bytes`], with the bitmask in its place.
    pub fn write_to(&self, target: &mut [u8]) {
        match self.active {
            None => target.copy_from_slice(self.bytes),
            Some(active) => active.write_to(target, self.bytes),
        }
        if let Some(number) = target.get_mut(1..MANDATORY_BYTES) {
            number.copy_from_slice(&self.frame_number.to_be_bytes());
        }
    }
}

impl Active {
    fn write_to(self, target: &mut [u8], bytes: &[u8]) {
        target.fill(0);
        let mut written = 0;
        let mut write = |bit: bool| {
            if let Some(byte) = target.get_mut(written / 8) {
                *byte |= u8::from(bit) << (7 - written % 8);
            }
            written += 1;
        };
        let read = |at: usize| {
            let byte = bytes.get(at / 8).copied().unwrap_or(0);
            byte >> (7 - at % 8) & 1 != 0
        };
        (0..self.at).for_each(|at| write(read(at)));
        let places = (0..self.width).rev();
        places.for_each(|place| write(self.mask >> place & 1 != 0));
        let rest = self.at + if self.is_present { self.width } else { 0 };
        (rest..bytes.len() * 8).for_each(|at| write(read(at)));
        if let Some(flags) = target.get_mut(MANDATORY_BYTES) {
            *flags |= HAS_MASK;
        }
    }
}

/// Reads and writes [`Descriptor`]s for str0m; register it under [`URI`].
#[derive(Debug)]
pub struct Serializer;

impl ExtensionSerializer for Serializer {
    fn write_to(&self, buf: &mut [u8], ev: &ExtensionValues) -> usize {
        let Some(descriptor) = ev.user_values.get::<Descriptor>() else {
            return 0;
        };
        let Some(target) = buf.get_mut(..descriptor.bytes.len()) else {
            return 0;
        };
        target.copy_from_slice(&descriptor.bytes);
        descriptor.bytes.len()
    }

    fn parse_value(&self, buf: &[u8], ev: &mut ExtensionValues) -> bool {
        let Some(descriptor) = Descriptor::new(buf) else {
            return false;
        };
        ev.user_values.set(descriptor);
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, ev: &ExtensionValues) -> bool {
        ev.user_values
            .get::<Descriptor>()
            .is_some_and(|descriptor| descriptor.bytes.len() > 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_passes_with_a_new_frame_number_and_nothing_else_changed() {
        let arrived = [0xc5, 0x12, 0x34, 0x80, 0x01, 0x02];
        let mut values = ExtensionValues::default();
        assert!(Serializer.parse_value(&arrived, &mut values));
        let descriptor = values.user_values.get::<Descriptor>().expect("was set");
        assert_eq!(descriptor.frame_number(), 0x1234);
        let mut buffer = [0; 16];
        assert_eq!(Serializer.write_to(&mut buffer, &values), 6);
        assert_eq!(buffer[..6], arrived);
        let edited = descriptor.edited(0xfffe, None);
        edited.write_to(&mut buffer[..edited.written_bytes()]);
        assert_eq!(buffer[..6], [0xc5, 0xff, 0xfe, 0x80, 0x01, 0x02]);
    }

    #[test]
    fn what_is_too_short_is_no_descriptor() {
        let mut values = ExtensionValues::default();
        assert!(!Serializer.parse_value(&[0xc0, 1], &mut values));
        assert_eq!(Serializer.write_to(&mut [0; 16], &values), 0);
        assert!(Mandatory::parse(&[]).is_none());
    }

    #[test]
    fn too_little_room_writes_nothing() {
        let mut values = ExtensionValues::default();
        assert!(Serializer.parse_value(&[0xc0, 1, 2, 3], &mut values));
        assert_eq!(Serializer.write_to(&mut [0; 3], &values), 0);
    }
}
