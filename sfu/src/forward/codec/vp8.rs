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

use str0m::rtp::{Vp8Descriptor, Vp8Patch};

use super::{Meta, Numbering, PictureId};

/// The picture numbers of one packet, with what str0m needs to change them while it writes the packet out.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor(Vp8Descriptor);

impl Descriptor {
    /// PictureID, 7 or 15 bits.
    pub fn picture_id(&self) -> Option<u16> {
        self.0.picture_id()
    }

    /// Running index of base temporal layer frames.
    pub fn tl0_pic_idx(&self) -> Option<u8> {
        self.0.tl0_pic_idx()
    }

    /// Running index of keyframes, 5 bits.
    pub fn key_idx(&self) -> Option<u8> {
        self.0.key_idx()
    }

    /// The patch that puts other numbers in place of those that the descriptor has. A 7-bit PictureID stays one and
    /// takes the low bits. `None` when there is nothing to change.
    pub fn patch(&self, picture_id: u16, tl0_pic_idx: u8, key_idx: u8) -> Option<Vp8Patch> {
        let narrow = |id: u16| {
            let builder = self.0.patch();
            let builder = match self.picture_id() {
                Some(_) => builder.picture_id(id),
                None => builder,
            };
            let builder = match self.tl0_pic_idx() {
                Some(_) => builder.tl0_pic_idx(tl0_pic_idx),
                None => builder,
            };
            let builder = match self.key_idx() {
                Some(_) => builder.key_idx(key_idx & 0x1f),
                None => builder,
            };
            builder.build().ok()
        };
        let has_numbers = self.picture_id().is_some() || self.tl0_pic_idx().is_some();
        if !has_numbers && self.key_idx().is_none() {
            return None;
        }
        narrow(picture_id & 0x7fff).or_else(|| narrow(picture_id & 0x7f))
    }
}

/// Reads the payload descriptor and, at the start of a keyframe, the frame header.
pub fn inspect(payload: &[u8]) -> Meta {
    let Ok(parsed) = Vp8Descriptor::parse(payload) else {
        return Meta::default();
    };
    let keyframe = parsed.starts_keyframe(payload);
    Meta {
        keyframe,
        dimensions: if keyframe { dimensions(payload) } else { None },
        numbering: Numbering::Vp8(Descriptor(parsed)),
        spatial: None,
        sizes: None,
    }
}

/// Frame tag of 3 bytes, start code 9d 01 2a, then 14 bits of width and of height, each below 2 bits of scaling.
fn dimensions(payload: &[u8]) -> Option<(u16, u16)> {
    let header = payload.get(descriptor_bytes(payload)?..)?;
    let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = header.first_chunk::<10>()? else {
        return None;
    };
    let width = u16::from_le_bytes([w0, w1]) & 0x3fff;
    let height = u16::from_le_bytes([h0, h1]) & 0x3fff;
    (width > 0 && height > 0).then_some((width, height))
}

/// How long the payload descriptor is, which str0m knows and does not tell.
fn descriptor_bytes(payload: &[u8]) -> Option<usize> {
    if payload.first()? & 0x80 == 0 {
        return Some(1);
    }
    let flags = *payload.get(1)?;
    let mut bytes = 2;
    if flags & 0x80 != 0 {
        bytes = PictureId::read(payload, bytes)?.end();
    }
    if flags & 0x40 != 0 {
        bytes += 1;
    }
    if flags & 0x30 != 0 {
        bytes += 1;
    }
    Some(bytes)
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
    fn a_short_picture_id_keeps_its_width_when_patched() {
        let short = [0x90, 0x80, 0x05, 0x01, 0, 0];
        assert!(descriptor(&short).patch(0x7fff, 0, 0).is_some());
        let bare = [0x10, 0x01, 0, 0];
        assert!(descriptor(&bare).patch(1, 1, 1).is_none());
    }

    #[test]
    fn truncation_anywhere_is_harmless() {
        for end in 0..KEYFRAME.len() {
            let meta = inspect(&KEYFRAME[..end]);
            assert_eq!(meta.dimensions, None, "cut at {end}");
        }
    }
}
