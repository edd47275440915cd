//! Hot path. H264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A, which is what packetization mode 1 may send.

use super::{Meta, Numbering};
use crate::forward::bits::Bits;

const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

/// A parameter set larger than this is not read for its size; real ones have some dozens of bytes.
const SPS_BYTES_MAX: usize = 256;

/// Looks for a sequence parameter set or the first slice of an IDR picture.
///
/// Encoders for real-time use repeat the parameter sets before every IDR picture, so the packet with the SPS is where
/// a viewer starts. An IDR picture that comes without them still counts: its decoder may hold the same ones.
pub fn inspect(payload: &[u8]) -> Meta {
    let mut meta = Meta {
        numbering: Numbering::Absent,
        ..Meta::default()
    };
    let Some((&header, body)) = payload.split_first() else {
        return meta;
    };
    match header & 0x1f {
        NAL_STAP_A => {
            let mut rest = body;
            while let Some((size, units)) = rest.split_first_chunk::<2>() {
                let size = usize::from(u16::from_be_bytes(*size));
                let Some((unit, following)) = units.split_at_checked(size) else {
                    break;
                };
                inspect_unit(unit, &mut meta);
                rest = following;
            }
        }
        NAL_FU_A => {
            let Some((&fragment, slice)) = body.split_first() else {
                return meta;
            };
            let starts_unit = fragment & 0x80 != 0;
            if starts_unit {
                meta.keyframe = match fragment & 0x1f {
                    NAL_IDR => is_first_slice(slice),
                    NAL_SPS => true,
                    _ => false,
                };
            }
        }
        _ => inspect_unit(payload, &mut meta),
    }
    meta
}

fn inspect_unit(unit: &[u8], meta: &mut Meta) {
    let Some((&header, body)) = unit.split_first() else {
        return;
    };
    match header & 0x1f {
        NAL_IDR => meta.keyframe |= is_first_slice(body),
        NAL_SPS => {
            meta.keyframe = true;
            meta.dimensions = sps_dimensions(body).or(meta.dimensions);
        }
        _ => {}
    }
}

/// A slice header begins with `first_mb_in_slice` in Exp-Golomb: a leading 1 is 0, the first slice of the picture.
fn is_first_slice(slice: &[u8]) -> bool {
    slice.first().is_some_and(|first| first & 0x80 != 0)
}

/// Sequence parameter set (H.264 section 7.3.2.1.1), up to the cropping rectangle.
fn sps_dimensions(sps: &[u8]) -> Option<(u16, u16)> {
    let mut unescaped = [0u8; SPS_BYTES_MAX];
    let bytes = unescape(sps, &mut unescaped);
    let mut bits = Bits::new(&unescaped[..bytes]);

    let profile = bits.read(8)?;
    bits.skip(16)?; // constraint flags, level
    bits.unsigned_golomb()?; // seq_parameter_set_id
    let mut chroma_format = 1;
    let mut has_separate_planes = false;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_format = bits.unsigned_golomb()?;
        if chroma_format == 3 {
            has_separate_planes = bits.bit()?;
        }
        bits.unsigned_golomb()?; // bit_depth_luma_minus8
        bits.unsigned_golomb()?; // bit_depth_chroma_minus8
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.bit()? {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.bit()? {
                    skip_scaling_list(&mut bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.unsigned_golomb()?; // log2_max_frame_num_minus4
    match bits.unsigned_golomb()? {
        0 => {
            bits.unsigned_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.skip(1)?; // delta_pic_order_always_zero_flag
            bits.signed_golomb()?; // offset_for_non_ref_pic
            bits.signed_golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.unsigned_golomb()?.min(255) {
                bits.signed_golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    bits.unsigned_golomb()?; // max_num_ref_frames
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_mbs = bits.unsigned_golomb()?.checked_add(1)?;
    let height_units = bits.unsigned_golomb()?.checked_add(1)?;
    let frame_mbs_only = bits.bit()?;
    if !frame_mbs_only {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let fields = if frame_mbs_only { 1 } else { 2 };
    let mut width = width_mbs.checked_mul(16)?;
    let mut height = height_units.checked_mul(16 * fields)?;
    if bits.bit()? {
        let (unit_x, unit_y) = match chroma_format {
            _ if has_separate_planes => (1, 1),
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut crop = || bits.unsigned_golomb();
        let horizontal = crop()?.checked_add(crop()?)?.checked_mul(unit_x)?;
        let vertical = crop()?.checked_add(crop()?)?.checked_mul(unit_y * fields)?;
        width = width.checked_sub(horizontal)?;
        height = height.checked_sub(vertical)?;
    }
    let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
    (width > 0 && height > 0).then_some((width, height))
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.signed_golomb()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Takes out the emulation prevention bytes (00 00 03), as far as `target` reaches; returns the bytes written.
fn unescape(source: &[u8], target: &mut [u8]) -> usize {
    let (mut written, mut zeros) = (0, 0);
    for &byte in source {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        let Some(slot) = target.get_mut(written) else {
            break;
        };
        *slot = byte;
        written += 1;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Constrained Baseline, level 3.1, 640x360 (cropped from 640x368), as OpenH264 writes it.
    const SPS: [u8; 15] = [
        0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x17, 0xfc, 0xb0, 0x0f, 0x08, 0x84, 0x6a,
    ];
    const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

    fn stap(units: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![0x78];
        for unit in units {
            payload.extend((unit.len() as u16).to_be_bytes());
            payload.extend(*unit);
        }
        payload
    }

    #[test]
    fn parameter_sets_start_a_keyframe_and_tell_its_size() {
        for payload in [SPS.to_vec(), stap(&[&SPS, &PPS])] {
            let meta = inspect(&payload);
            assert!(meta.keyframe);
            assert_eq!(meta.dimensions, Some((640, 360)));
        }
    }

    #[test]
    fn only_the_first_fragment_of_the_first_slice_starts_an_idr_picture() {
        assert!(inspect(&[0x7c, 0x85, 0x88, 0x84]).keyframe);
        assert!(
            !inspect(&[0x7c, 0x05, 0x88, 0x84]).keyframe,
            "later fragment"
        );
        assert!(!inspect(&[0x7c, 0x85, 0x40, 0x84]).keyframe, "later slice");
        assert!(!inspect(&[0x7c, 0x81, 0x9a, 0x84]).keyframe, "no IDR");
        assert!(inspect(&[0x65, 0x88, 0x84]).keyframe);
        assert!(!inspect(&[0x41, 0x9a, 0x84]).keyframe);
        assert!(!inspect(&stap(&[&PPS, &[0x41, 0x9a]])).keyframe);
    }

    #[test]
    fn broken_aggregates_end_where_they_break() {
        assert!(!inspect(&[0x78, 0xff, 0xff, 0x67]).keyframe);
        assert!(!inspect(&[0x78, 0x00]).keyframe);
        assert!(!inspect(&[0x7c]).keyframe);
        assert!(!inspect(&[]).keyframe);
        let truncated = inspect(&SPS[..6]);
        assert!(truncated.keyframe);
        assert_eq!(truncated.dimensions, None);
    }
}
