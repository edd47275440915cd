//! Encoded pictures and sound that are part of the program, cut into what packets hold. `loadtest/samples` tells where they are from.

use std::io::Cursor;
use std::sync::LazyLock;

use anyhow::Context;
use ogg::PacketReader;
use str0m::unversioned::{H264Packetizer, Packetizer};

use super::plan::VideoCodec;

/// Pictures a second of all samples.
pub const FPS: u32 = 30;

/// Head of an IVF file and of each of its frames.
const IVF_HEAD: usize = 32;
const IVF_FRAME_HEAD: usize = 12;

/// Types of NAL units (H.264 table 7-1).
const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;

static VP8: LazyLock<Vec<Picture>> = LazyLock::new(|| {
    ivf(include_bytes!("../../samples/camera.ivf")).expect("a file that the tests read too")
});

static H264: LazyLock<Vec<Picture>> = LazyLock::new(|| {
    annex_b(include_bytes!("../../samples/camera.h264")).expect("a file that the tests read too")
});

static OPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    opus(include_bytes!("../../samples/microphone.ogg")).expect("a file that the tests read too")
});

/// A picture as its encoder gave it.
#[derive(Debug)]
pub struct Picture {
    /// Whether it needs no other.
    pub is_key: bool,
    /// Of VP8 the frame; of H264 its NAL units, each behind a start code.
    pub bytes: &'static [u8],
}

/// The pictures of a codec, in their order. The first is a keyframe.
#[must_use]
pub fn pictures(codec: VideoCodec) -> &'static [Picture] {
    match codec {
        VideoCodec::Vp8 => &VP8,
        VideoCodec::H264 => &H264,
    }
}

/// Packets of Opus, 20 ms each.
#[must_use]
pub fn sounds() -> &'static [Vec<u8>] {
    &OPUS
}

/// Payloads of H264, none longer than `max`.
#[must_use]
pub fn h264_payloads(picture: &[u8], max: usize) -> Vec<Vec<u8>> {
    // It keeps parameter sets until the slice that follows, which is in the same picture here.
    H264Packetizer::default()
        .packetize(max, picture)
        .expect("it refuses nothing")
}

fn ivf(file: &'static [u8]) -> anyhow::Result<Vec<Picture>> {
    let (head, mut rest) = file.split_at_checked(IVF_HEAD).context("no head")?;
    anyhow::ensure!(head.starts_with(b"DKIF"), "not IVF");
    anyhow::ensure!(head.get(8..12) == Some(b"VP80"), "not VP8");
    let mut pictures = Vec::new();
    while let Some((head, following)) = rest.split_first_chunk::<IVF_FRAME_HEAD>() {
        let [s0, s1, s2, s3, ..] = *head;
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3]))?;
        let (bytes, following) = following.split_at_checked(size).context("a cut frame")?;
        // The lowest bit of the frame tag (RFC 6386 section 9.1).
        let is_key = bytes.first().context("an empty frame")? & 1 == 0;
        pictures.push(Picture { is_key, bytes });
        rest = following;
    }
    Ok(pictures)
}

/// Cuts where a picture ends: behind its only slice.
fn annex_b(file: &'static [u8]) -> anyhow::Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    let mut start = 0;
    let mut is_key = None;
    for (at, window) in file.windows(4).enumerate() {
        let &[0, 0, 1, head] = window else {
            continue;
        };
        if let Some(is_key) = is_key.take() {
            // Of a start code of four bytes the first is the slice's otherwise.
            let end = if at > 0 && file.get(at - 1) == Some(&0) {
                at - 1
            } else {
                at
            };
            let bytes = file.get(start..end).context("a picture of no bytes")?;
            pictures.push(Picture { is_key, bytes });
            start = end;
        }
        is_key = match head & 0x1f {
            NAL_SLICE => Some(false),
            NAL_IDR => Some(true),
            _ => None,
        };
    }
    let is_key = is_key.context("no slice at the end")?;
    let bytes = file.get(start..).context("a picture of no bytes")?;
    pictures.push(Picture { is_key, bytes });
    Ok(pictures)
}

fn opus(file: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut packets = PacketReader::new(Cursor::new(file));
    let head = packets.read_packet_expected()?;
    anyhow::ensure!(head.data.starts_with(b"OpusHead"), "not Opus");
    packets.read_packet_expected().context("no tags")?;
    let mut sounds = Vec::new();
    while let Some(packet) = packets.read_packet()? {
        sounds.push(packet.data);
    }
    anyhow::ensure!(!sounds.is_empty(), "no sound");
    Ok(sounds)
}

#[cfg(test)]
mod tests {
    use str0m::unversioned::{Depacketizer, H264Depacketizer};

    use super::*;

    #[test]
    fn both_codecs_have_the_same_pictures_and_keyframes_of_real_size() {
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            let pictures = pictures(codec);
            assert_eq!(pictures.len(), 4 * FPS as usize, "{codec:?}");
            assert!(pictures[0].is_key);
            let (keys, others): (Vec<_>, Vec<_>) = pictures.iter().partition(|one| one.is_key);
            assert!(keys.len() > 1, "one to begin with and one to ask for");
            let mean = |pictures: &[&Picture]| {
                pictures.iter().map(|one| one.bytes.len()).sum::<usize>() / pictures.len()
            };
            assert!(mean(&keys) > 40_000, "{codec:?}: {}", mean(&keys));
            assert!(mean(&keys) > 10 * mean(&others), "{codec:?}");
        }
        let head: &[u8] = include_bytes!("../../samples/camera.ivf");
        // Units of a second, then how many of them a picture takes.
        assert_eq!(head[16..24], [30, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn every_byte_of_the_files_is_in_a_picture() {
        let bytes = |codec| {
            pictures(codec)
                .iter()
                .map(|one| one.bytes.len())
                .sum::<usize>()
        };
        let h264 = include_bytes!("../../samples/camera.h264").len();
        assert_eq!(bytes(VideoCodec::H264), h264);
        let ivf = include_bytes!("../../samples/camera.ivf").len();
        let heads = IVF_HEAD + IVF_FRAME_HEAD * pictures(VideoCodec::Vp8).len();
        assert_eq!(bytes(VideoCodec::Vp8) + heads, ivf);
    }

    #[test]
    fn sound_comes_in_packets_of_20_ms() {
        assert!((200..=205).contains(&sounds().len()), "{}", sounds().len());
        for packet in sounds() {
            // TOC of one frame of 20 ms, in any of the three modes (RFC 6716 table 2).
            let toc = packet[0];
            assert_eq!(toc & 3, 0, "one frame");
            assert!(
                matches!(toc >> 3, 1 | 5 | 9 | 13 | 15 | 19 | 23 | 27 | 31),
                "{toc:#x}"
            );
        }
    }

    #[test]
    fn a_picture_of_h264_is_whole_when_its_payloads_are_put_together() {
        for picture in pictures(VideoCodec::H264) {
            let payloads = h264_payloads(picture.bytes, 1_180);
            assert!(payloads.iter().all(|payload| payload.len() <= 1_180));
            let mut depacketizer = H264Depacketizer::default();
            let mut whole = Vec::new();
            let mut extra = str0m::format::CodecExtra::None;
            for payload in &payloads {
                depacketizer
                    .depacketize(payload, &mut whole, &mut extra)
                    .expect("a payload");
            }
            // The same units, behind start codes of four bytes instead of three.
            assert_eq!(units(&whole), units(picture.bytes));
        }
    }

    fn units(annex_b: &[u8]) -> Vec<Vec<u8>> {
        let mut units: Vec<Vec<u8>> = Vec::new();
        let mut zeros = 0;
        for &byte in annex_b {
            if byte == 1 && zeros >= 2 {
                if let Some(last) = units.last_mut() {
                    last.truncate(last.len() - zeros);
                }
                units.push(Vec::new());
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            if let Some(last) = units.last_mut() {
                last.push(byte);
            }
        }
        units
    }
}
