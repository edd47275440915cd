//! Hot path. VP9 in RTP (RFC 9628).
//!
//! ```text
//!      0 1 2 3 4 5 6 7
//!     +-+-+-+-+-+-+-+-+
//!     |I|P|L|F|B|E|V|Z| P 0: predicted from no other picture; B: the (layer) frame starts here
//!     |M| PictureID   | when I; 15 bits when M
//!     | TID |U| SID |D| when L
//!     |   TL0PICIDX   | when L and not F
//!     | P_DIFF      |N| when F and P, up to three
//!     | scalability.. | when V, with the size of each spatial layer when Y
//! ```

use super::{Field, Meta, Numbering, Numbers, PictureId};
use crate::forward::bits::Bits;
use crate::forward::spatial::{Sizes, Spatial};

/// The picture numbers of one packet and where they stand.
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    picture_id: Option<PictureId>,
    tl0_pic_idx: Option<Field>,
}

impl Descriptor {
    /// PictureID, 7 or 15 bits.
    pub fn picture_id(&self) -> Option<u16> {
        self.picture_id.map(|id| id.value)
    }

    /// Running index of base temporal layer frames, in non-flexible mode.
    pub fn tl0_pic_idx(&self) -> Option<u8> {
        self.tl0_pic_idx.map(|index| index.value)
    }

    /// Puts numbers in place of those that the payload has.
    pub fn write(&self, payload: &mut [u8], numbers: &Numbers) {
        if let Some(id) = self.picture_id {
            id.write(payload, numbers.picture_id);
        }
        if let Some(index) = self.tl0_pic_idx {
            index.write(payload, numbers.tl0_pic_idx, 0xff);
        }
    }
}

/// Reads the payload descriptor and, at the start of a keyframe, the size of the picture.
pub fn inspect(payload: &[u8]) -> Meta {
    parse(payload).unwrap_or_default()
}

fn parse(payload: &[u8]) -> Option<Meta> {
    let flags = *payload.first()?;
    let (has_picture_id, is_predicted, has_layers) =
        (flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x20 != 0);
    let (is_flexible, starts_frame, ends_frame, has_structure) = (
        flags & 0x10 != 0,
        flags & 0x08 != 0,
        flags & 0x04 != 0,
        flags & 0x02 != 0,
    );

    let mut at = 1usize;
    let mut descriptor = Descriptor {
        picture_id: None,
        tl0_pic_idx: None,
    };
    if has_picture_id {
        let id = PictureId::read(payload, at)?;
        descriptor.picture_id = Some(id);
        at = id.end();
    }
    let mut spatial = 0;
    if has_layers {
        spatial = *payload.get(at)? >> 1 & 0x07;
        at += 1;
        if !is_flexible {
            descriptor.tl0_pic_idx = Some(Field::read(payload, at)?);
            at += 1;
        }
    }
    if is_flexible && is_predicted {
        for _ in 0..3 {
            let more = payload.get(at)? & 1 != 0;
            at += 1;
            if !more {
                break;
            }
        }
    }

    let keyframe = !is_predicted && starts_frame && spatial == 0;
    let mut dimensions = None;
    let mut sizes = None;
    if has_structure {
        let told;
        (told, at) = structure(payload, at)?;
        dimensions = told.largest();
        sizes = Some(told);
    }
    if keyframe && dimensions.is_none() {
        dimensions = payload.get(at..).and_then(frame_dimensions);
    }
    Some(Meta {
        keyframe,
        dimensions,
        numbering: Numbering::Vp9(descriptor),
        spatial: has_layers.then_some(Spatial {
            layer: spatial,
            // Any of those above may be predicted from it.
            needed_by: u8::MAX << spatial,
            ends_frame,
            is_nested: true,
            targets: None,
        }),
        sizes,
    })
}

/// The scalability structure (RFC 9628 section 4.2.1): the sizes of its layers, and where it ends.
fn structure(payload: &[u8], mut at: usize) -> Option<(Sizes, usize)> {
    let flags = *payload.get(at)?;
    at += 1;
    let mut sizes = Sizes::default();
    for _ in 0..=(flags >> 5) {
        let mut size = (0, 0);
        if flags & 0x10 != 0 {
            let bytes = payload.get(at..at + 4)?;
            size.0 = u16::from_be_bytes([bytes[0], bytes[1]]);
            size.1 = u16::from_be_bytes([bytes[2], bytes[3]]);
            at += 4;
        }
        sizes.push(size);
    }
    if flags & 0x08 != 0 {
        let pictures = *payload.get(at)?;
        at += 1;
        for _ in 0..pictures {
            let references = usize::from(*payload.get(at)? >> 2 & 0x03);
            at += 1 + references;
        }
    }
    Some((sizes, at))
}

/// The uncompressed header of a key frame (VP9 bitstream specification section 6.2).
fn frame_dimensions(frame: &[u8]) -> Option<(u16, u16)> {
    const SYNC_CODE: u32 = 0x49_83_42;
    const COLOR_SPACE_RGB: u32 = 7;

    let mut bits = Bits::new(frame);
    if bits.read(2)? != 2 {
        return None;
    }
    let profile = u32::from(bits.bit()?) | u32::from(bits.bit()?) << 1;
    if profile == 3 {
        bits.skip(1)?;
    }
    let shows_existing = bits.bit()?;
    let is_inter = bits.bit()?;
    if shows_existing || is_inter {
        return None;
    }
    bits.skip(2)?; // show_frame, error_resilient_mode
    if bits.read(24)? != SYNC_CODE {
        return None;
    }
    if profile >= 2 {
        bits.skip(1)?; // ten_or_twelve_bit
    }
    let has_subsampling = profile == 1 || profile == 3;
    if bits.read(3)? != COLOR_SPACE_RGB {
        bits.skip(if has_subsampling { 4 } else { 1 })?;
    } else if has_subsampling {
        bits.skip(1)?;
    }
    let width = bits.read(16)?.checked_add(1)?;
    let height = bits.read(16)?.checked_add(1)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Chromium sends it: PictureID, layers, TL0PICIDX, a structure of one layer 1280x720 with one picture.
    const KEYFRAME: [u8; 14] = [
        0xaa, 0x81, 0x02, 0x00, 0x09, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x04, 0x01, 0x82,
    ];

    fn descriptor(payload: &[u8]) -> Descriptor {
        let Numbering::Vp9(descriptor) = inspect(payload).numbering else {
            panic!("no descriptor");
        };
        descriptor
    }

    #[test]
    fn a_keyframe_tells_its_size_and_numbers() {
        let meta = inspect(&KEYFRAME);
        assert!(meta.keyframe);
        assert_eq!(meta.dimensions, Some((1280, 720)));
        assert_eq!(descriptor(&KEYFRAME).picture_id(), Some(0x102));
        assert_eq!(descriptor(&KEYFRAME).tl0_pic_idx(), Some(9));
    }

    #[test]
    fn upper_spatial_layers_and_predicted_frames_are_no_keyframes() {
        let mut upper = KEYFRAME;
        upper[3] = 0x03; // SID 1, D
        assert!(!inspect(&upper).keyframe);
        let mut predicted = KEYFRAME;
        predicted[0] |= 0x40;
        assert!(!inspect(&predicted).keyframe);
        let mut later = KEYFRAME;
        later[0] &= !0x08;
        assert!(!inspect(&later).keyframe);
    }

    #[test]
    fn without_a_structure_the_frame_header_tells_the_size() {
        // frame_marker 2, profile 0, key frame, show_frame, sync code, color space 1, range 0, 640x360.
        let payload = [
            0x08, 0x82, 0x49, 0x83, 0x42, 0x20, 0x27, 0xf0, 0x16, 0x70, 0x00,
        ];
        assert_eq!(inspect(&payload).dimensions, Some((640, 360)));
    }

    #[test]
    fn the_structure_tells_the_sizes_of_all_layers_and_each_packet_its_own() {
        // Three layers with sizes, no groups of pictures; the packet ends layer 1.
        let payload = [
            0xee, 0x81, 0x02, 0x03, 0x09, 0x50, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68,
            0x05, 0x00, 0x02, 0xd0, 0x99,
        ];
        let meta = inspect(&payload);
        let sizes = meta.sizes.expect("has a structure");
        assert_eq!(sizes.as_slice(), [(320, 180), (640, 360), (1280, 720)]);
        assert_eq!(meta.dimensions, Some((1280, 720)));
        let spatial = meta.spatial.expect("has layers");
        let needed: Vec<bool> = (0..3).map(|layer| spatial.is_needed_by(layer)).collect();
        assert_eq!(needed, [false, true, true]);
        assert!(spatial.ends_picture_of(1) && !spatial.ends_picture_of(2));
        let without_layers = [0x8c, 0x01, 0x86];
        assert_eq!(inspect(&without_layers).spatial, None);
    }

    #[test]
    fn patching_changes_the_numbers_and_nothing_else() {
        let mut patched = KEYFRAME;
        let numbers = Numbers {
            picture_id: 0x7abc,
            tl0_pic_idx: 200,
            ..Numbers::default()
        };
        descriptor(&KEYFRAME).write(&mut patched, &numbers);
        assert_eq!(descriptor(&patched).picture_id(), Some(0x7abc));
        assert_eq!(descriptor(&patched).tl0_pic_idx(), Some(200));
        assert_eq!(patched[0], KEYFRAME[0]);
        assert_eq!(patched[5..], KEYFRAME[5..]);
    }

    #[test]
    fn truncation_anywhere_is_harmless() {
        for end in 0..KEYFRAME.len() {
            inspect(&KEYFRAME[..end]);
        }
    }
}
