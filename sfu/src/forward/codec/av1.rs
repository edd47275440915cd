//! Hot path. AV1 in RTP (the RTP payload format of the Alliance for Open Media, version 1.0).
//!
//! ```text
//!      0 1 2 3 4 5 6 7
//!     +-+-+-+-+-+-+-+-+
//!     |Z|Y| W |N|-|-|-| aggregation header; Z: the first element continues the packet before,
//!     +-+-+-+-+-+-+-+-+ W: number of elements, N: a coded video sequence starts here
//! ```

use super::{Meta, Numbering};
use crate::forward::bits::Bits;
use crate::forward::dependency;

const OBU_SEQUENCE_HEADER: u8 = 1;
/// Elements looked at in one packet; a sequence header comes first or after a temporal delimiter.
const ELEMENTS_MAX: usize = 8;

/// Reads the aggregation header, the OBUs behind it, and the dependency descriptor where there is one.
pub fn inspect(payload: &[u8], dependency: Option<&[u8]>) -> Meta {
    let starts_structure = dependency
        .and_then(dependency::Mandatory::parse)
        .is_some_and(|fields| fields.starts_frame && fields.has_structure);
    let Some((&header, body)) = payload.split_first() else {
        return Meta::default();
    };
    let continues = header & 0x80 != 0;
    let starts_sequence = header & 0x08 != 0 && !continues;
    let obus = if continues {
        Obus::default()
    } else {
        read_obus(body, header >> 4 & 0x03)
    };
    Meta {
        keyframe: (starts_sequence || starts_structure && !continues) && obus.spatial == 0,
        dimensions: obus.dimensions,
        numbering: Numbering::Absent,
        // These are the dependency descriptor's to tell.
        spatial: None,
        sizes: None,
    }
}

#[derive(Default)]
struct Obus {
    /// Spatial layer of the first OBU that names one.
    spatial: u8,
    dimensions: Option<(u16, u16)>,
}

/// Walks over the OBU elements. `count` of them, the last without a length; 0 stands for "all have a length".
fn read_obus(mut body: &[u8], count: u8) -> Obus {
    let mut obus = Obus::default();
    let mut spatial = None;
    for index in 1..=ELEMENTS_MAX {
        if body.is_empty() {
            break;
        }
        let is_last = index == usize::from(count);
        let (element, rest) = if is_last {
            (body, &[][..])
        } else {
            let Some(split) = split_sized(body) else {
                break;
            };
            split
        };
        if let Some(obu) = Obu::parse(element) {
            spatial = spatial.or(obu.spatial);
            if obu.kind == OBU_SEQUENCE_HEADER {
                obus.dimensions = sequence_dimensions(obu.content).or(obus.dimensions);
            }
        }
        body = rest;
    }
    obus.spatial = spatial.unwrap_or(0);
    obus
}

struct Obu<'a> {
    kind: u8,
    spatial: Option<u8>,
    content: &'a [u8],
}

impl<'a> Obu<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let (&header, mut content) = element.split_first()?;
        let (has_extension, has_size) = (header & 0x04 != 0, header & 0x02 != 0);
        let mut spatial = None;
        if has_extension {
            let (&extension, rest) = content.split_first()?;
            spatial = Some(extension >> 3 & 0x03);
            content = rest;
        }
        if has_size {
            content = split_sized(content)?.0;
        }
        Some(Self {
            kind: header >> 3 & 0x0f,
            spatial,
            content,
        })
    }
}

/// Splits off what a LEB128 length (AV1 section 4.10.5) in front of it says.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut size = 0u64;
    for (index, &byte) in bytes.iter().take(8).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let size = usize::try_from(size).ok()?;
            return bytes.get(index + 1..)?.split_at_checked(size);
        }
    }
    None
}

/// Sequence header OBU (AV1 section 5.5.1), up to the frame size.
fn sequence_dimensions(header: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(header);
    bits.skip(3)?; // seq_profile
    bits.skip(1)?; // still_picture
    let is_reduced = bits.bit()?;
    if is_reduced {
        bits.skip(5)?; // seq_level_idx
    } else {
        let mut delay_bits = None;
        if bits.bit()? {
            // timing_info
            bits.skip(64)?; // num_units_in_display_tick, time_scale
            if bits.bit()? {
                bits.unsigned_golomb()?; // num_ticks_per_picture_minus_1
            }
            if bits.bit()? {
                // decoder_model_info
                delay_bits = Some(bits.read(5)? + 1);
                bits.skip(32 + 5 + 5)?;
            }
        }
        let has_display_delay = bits.bit()?;
        let operating_points = bits.read(5)? + 1;
        for _ in 0..operating_points {
            bits.skip(12)?; // operating_point_idc
            if bits.read(5)? > 7 {
                bits.skip(1)?; // seq_tier
            }
            if let Some(delay_bits) = delay_bits
                && bits.bit()?
            {
                bits.skip(2 * delay_bits + 1)?;
            }
            if has_display_delay && bits.bit()? {
                bits.skip(4)?;
            }
        }
    }
    let width_bits = bits.read(4)? + 1;
    let height_bits = bits.read(4)? + 1;
    let width = bits.read(width_bits)? + 1;
    let height = bits.read(height_bits)? + 1;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sequence header of the Main profile with one operating point and 12 bits for each side.
    fn sequence_header(width: u32, height: u32) -> Vec<u8> {
        let mut bits = String::new();
        bits += "000"; // profile
        bits += "0"; // still
        bits += "0"; // reduced
        bits += "0"; // timing info
        bits += "0"; // display delay
        bits += "00000"; // one operating point
        bits += "000000000000"; // idc
        bits += "00101"; // level 5
        bits += "1011"; // 12 bits of width
        bits += "1011"; // 12 bits of height
        bits += &format!("{:012b}{:012b}", width - 1, height - 1);
        while !bits.len().is_multiple_of(8) {
            bits.push('0');
        }
        bits.as_bytes()
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0')))
            .collect()
    }

    fn packet(aggregation: u8, elements: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![aggregation];
        for element in elements {
            payload.push(element.len() as u8);
            payload.extend(*element);
        }
        payload
    }

    #[test]
    fn a_new_sequence_is_a_keyframe_and_tells_its_size() {
        let mut header = vec![OBU_SEQUENCE_HEADER << 3];
        header.extend(sequence_header(1280, 720));
        let meta = inspect(&packet(0x08, &[&header, &[6 << 3, 1, 2, 3]]), None);
        assert!(meta.keyframe);
        assert_eq!(meta.dimensions, Some((1280, 720)));
    }

    #[test]
    fn the_last_of_a_counted_number_has_no_length() {
        let mut payload = vec![0x18, OBU_SEQUENCE_HEADER << 3];
        payload.extend(sequence_header(640, 360));
        assert_eq!(inspect(&payload, None).dimensions, Some((640, 360)));
    }

    #[test]
    fn a_structure_in_the_dependency_descriptor_is_a_keyframe() {
        let payload = packet(0, &[&[6 << 3, 1, 2, 3]]);
        assert!(inspect(&payload, Some(&[0x80, 0, 1, 0x80])).keyframe);
        assert!(!inspect(&payload, Some(&[0x80, 0, 1, 0x40])).keyframe);
        assert!(!inspect(&payload, Some(&[0x80, 0, 1])).keyframe);
        assert!(!inspect(&payload, None).keyframe);
    }

    #[test]
    fn fragments_and_upper_spatial_layers_are_no_keyframes() {
        assert!(!inspect(&[0x98, 1, 2, 3], None).keyframe);
        let upper = packet(0x08, &[&[6 << 3 | 0x04, 1 << 3, 1, 2]]);
        assert!(!inspect(&upper, None).keyframe);
    }
}
