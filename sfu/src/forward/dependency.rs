//! Hot path. The AV1 dependency descriptor, a header extension that str0m does not know by itself.
//!
//! It travels from publisher to viewer as it is, but for the frame number, which must go on when the source changes.
//! Only its fixed part is read (AV1 RTP payload format, appendix A.8.2):
//!
//! ```text
//!      0                   1                   2
//!      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7
//!     +-+-+-----------+-------------------------------+-+------
//!     |S|E| template  |         frame number          |T| ...
//!     +-+-+-----------+-------------------------------+-+------
//! ```
//!
//! S: the (layer) frame starts, E: it ends, T: a template structure is attached, which happens on keyframes.

use std::sync::Arc;

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

/// The URI that names the extension in SDP.
pub const URI: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Longest descriptor that is carried; the two-byte form of RFC 8285 holds no more.
const BYTES_MAX: usize = 255;

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

    /// The frame number that will be written.
    pub fn frame_number(&self) -> u16 {
        self.frame_number
    }

    /// The same descriptor with another frame number; shares the bytes.
    pub fn with_frame_number(&self, frame_number: u16) -> Self {
        Self {
            bytes: self.bytes.clone(),
            frame_number,
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
        let bytes = descriptor.bytes.len();
        let Some(target) = buf.get_mut(..bytes) else {
            return 0;
        };
        target.copy_from_slice(&descriptor.bytes);
        target[1..3].copy_from_slice(&descriptor.frame_number.to_be_bytes());
        bytes
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
        let changed = descriptor.with_frame_number(0xfffe);
        values.user_values.set(changed);
        let mut buffer = [0; 16];
        assert_eq!(Serializer.write_to(&mut buffer, &values), 6);
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
