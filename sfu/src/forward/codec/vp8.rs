//! Hot path. VP8 in RTP (RFC 7741).
//!
//! ```text
//!      0 1 2 3 4 5 6 7
//!     +-+-+-+-+-+-+-+-+
//!     |X|R|N|S|R| PID | required; S and PID 0: the frame starts here
//!     |I|L|T|K| RSV   | when X
//!     |M| PictureID   | when I; 15 bits when M
//!     |   TL0PICIDX   | when L
//!     |TID|Y| KEYIDX  | when T or K
//!     +-+-+-+-+-+-+-+-+
//!     |Size0|H| VER |P| frame tag (RFC 6386 section 9.1), P 0: keyframe
//! ```

use str0m::rtp::Vp8Descriptor;

use super::{Field, Meta, Numbering, Numbers, PictureId};

/// KEYIDX has the low bits of its byte.
const KEY_IDX_MASK: u8 = 0x1f;

/// The picture numbers of one packet and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    picture_id: Option<PictureId>,
    tl0_pic_idx: Option<Field>,
    key_idx: Option<Field>,
    end: usize,
}

impl Descriptor {
    fn read(payload: &[u8]) -> Option<Self> {
        let mut descriptor = Self {
            picture_id: None,
            tl0_pic_idx: None,
            key_idx: None,
            end: 1,
        };
        if payload.first()? & 0x80 == 0 {
            return Some(descriptor);
        }
        let flags = *payload.get(1)?;
        descriptor.end = 2;
        if flags & 0x80 != 0 {
            let id = PictureId::read(payload, descriptor.end)?;
            descriptor.picture_id = Some(id);
            descriptor.end = id.end();
        }
        if flags & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some(Field::read(payload, descriptor.end)?);
            descriptor.end += 1;
        }
        if flags & 0x30 != 0 {
            if flags & 0x10 != 0 {
                descriptor.key_idx = Some(Field::read(payload, descriptor.end)?);
            }
            descriptor.end += 1;
        }
        Some(descriptor)
    }

    /// PictureID, 7 or 15 bits.
    pub fn picture_id(&self) -> Option<u16> {
        self.picture_id.map(|id| id.value)
    }

    /// Running index of base temporal layer frames.
    pub fn tl0_pic_idx(&self) -> Option<u8> {
        self.tl0_pic_idx.map(|index| index.value)
    }

    /// Running index of keyframes, 5 bits.
    pub fn key_idx(&self) -> Option<u8> {
        self.key_idx.map(|index| index.value & KEY_IDX_MASK)
    }

    /// Puts numbers in place of those that the payload has.
    pub fn write(&self, payload: &mut [u8], numbers: &Numbers) {
        if let Some(id) = self.picture_id {
            id.write(payload, numbers.picture_id);
        }
        if let Some(index) = self.tl0_pic_idx {
            index.write(payload, numbers.tl0_pic_idx, 0xff);
        }
        if let Some(index) = self.key_idx {
            index.write(payload, numbers.key_idx, KEY_IDX_MASK);
        }
    }
}

/// Reads the payload descriptor and, at the start of a keyframe, the frame header.
pub fn inspect(payload: &[u8]) -> Meta {
    let Ok(parsed) = Vp8Descriptor::parse(payload) else {
        return Meta::default();
    };
    let Some(descriptor) = Descriptor::read(payload) else {
        return Meta::default();
    };
    let keyframe = parsed.starts_keyframe(payload);
    let frame = payload.get(descriptor.end..).filter(|_| keyframe);
    Meta {
        keyframe,
        dimensions: frame.and_then(dimensions),
        numbering: Numbering::Vp8(descriptor),
        spatial: None,
        sizes: None,
    }
}

/// Frame tag of 3 bytes, start code 9d 01 2a, then 14 bits of width and of height, each below 2 bits of scaling.
fn dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = frame.first_chunk::<10>()? else {
        return None;
    };
    let width = u16::from_le_bytes([w0, w1]) & 0x3fff;
    let height = u16::from_le_bytes([h0, h1]) & 0x3fff;
    (width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptor with a 15-bit PictureID 0x1234, TL0PICIDX 7, TID 1, KEYIDX 3, then a keyframe of 640x360.
    const KEYFRAME: [u8; 16] = [
        0x90, 0xf0, 0x92, 0x34, 7, 0x43, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01,
    ];

    fn descriptor(payload: &[u8]) -> Descriptor {
        let Numbering::Vp8(descriptor) = inspect(payload).numbering else {
            panic!("no descriptor");
        };
        descriptor
    }

    #[test]
    fn a_keyframe_tells_its_size_and_numbers() {
        let meta = inspect(&KEYFRAME);
        assert!(meta.keyframe);
        assert_eq!(meta.dimensions, Some((640, 360)));
        let descriptor = descriptor(&KEYFRAME);
        assert_eq!(descriptor.picture_id(), Some(0x1234));
        assert_eq!(descriptor.tl0_pic_idx(), Some(7));
        assert_eq!(descriptor.key_idx(), Some(3));
    }

    #[test]
    fn later_packets_and_inter_frames_are_no_keyframes() {
        let mut later = KEYFRAME;
        later[0] = 0x80;
        assert!(!inspect(&later).keyframe);
        let mut inter = KEYFRAME;
        inter[6] |= 1;
        assert!(!inspect(&inter).keyframe);
        assert_eq!(inspect(&inter).dimensions, None);
    }

    #[test]
    fn writing_changes_the_numbers_and_nothing_else() {
        let numbers = Numbers {
            picture_id: 0x7abc,
            tl0_pic_idx: 200,
            key_idx: 9,
            frame_number: 0,
        };
        let mut written = KEYFRAME;
        descriptor(&KEYFRAME).write(&mut written, &numbers);
        assert_eq!(written[..6], [0x90, 0xf0, 0xfa, 0xbc, 200, 0x49]);
        assert_eq!(written[6..], KEYFRAME[6..]);
    }

    #[test]
    fn a_short_picture_id_keeps_its_width() {
        let mut short = [0x90, 0x80, 0x05, 0x01, 0, 0];
        let numbers = Numbers {
            picture_id: 0x7fff,
            ..Numbers::default()
        };
        descriptor(&short).write(&mut short, &numbers);
        assert_eq!(short, [0x90, 0x80, 0x7f, 0x01, 0, 0]);
        let mut bare = [0x10, 0x01, 0, 0];
        descriptor(&bare).write(&mut bare, &numbers);
        assert_eq!(bare, [0x10, 0x01, 0, 0]);
    }

    #[test]
    fn truncation_anywhere_is_harmless() {
        for end in 0..KEYFRAME.len() {
            let meta = inspect(&KEYFRAME[..end]);
            assert_eq!(meta.dimensions, None, "cut at {end}");
        }
    }
}
