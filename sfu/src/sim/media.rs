//! Pictures that carry their number, and a judge of what arrives of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::rtp::SeqNo;

use crate::event::{Codec, Kind};

/// Bytes of the tag at the end of each payload.
const TAG_BYTES: usize = 12;
/// What fills a payload up between header and tag, unless a publisher says otherwise.
pub(super) const FILLING_BYTES: usize = 160;

/// Constrained Baseline, 640x360, and a picture parameter set.
const H264_SPS: [u8; 15] = [
    0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x17, 0xfc, 0xb0, 0x0f, 0x08, 0x84, 0x6a,
];
const H264_PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

/// Which part of which picture a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    /// Who published it.
    pub(super) publisher: u16,
    pub(super) layer: u8,
    pub(super) frame: u32,
    pub(super) part: u8,
    pub(super) parts: u8,
    pub(super) keyframe: bool,
    /// It is of an encoding with spatial layers.
    pub(super) is_layered: bool,
    /// The frame depends on that of the next lower spatial layer.
    pub(super) needs_below: bool,
    /// The frame depends on no earlier picture.
    pub(super) is_fresh: bool,
}

impl Tag {
    fn write(self, payload: &mut Vec<u8>) {
        payload.extend([0xab, self.layer]);
        payload.extend(self.publisher.to_be_bytes());
        payload.extend(self.frame.to_be_bytes());
        let flags = u8::from(self.keyframe)
            | u8::from(self.is_layered) << 1
            | u8::from(self.needs_below) << 2
            | u8::from(self.is_fresh) << 3;
        payload.extend([self.part, self.parts, flags, 0xcd]);
    }

    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let tag = payload.last_chunk::<TAG_BYTES>()?;
        let &[
            0xab,
            layer,
            p0,
            p1,
            f0,
            f1,
            f2,
            f3,
            part,
            parts,
            flags,
            0xcd,
        ] = tag
        else {
            return None;
        };
        Some(Self {
            publisher: u16::from_be_bytes([p0, p1]),
            layer,
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            part,
            parts,
            keyframe: flags & 1 != 0,
            is_layered: flags & 2 != 0,
            needs_below: flags & 4 != 0,
            is_fresh: flags & 8 != 0,
        })
    }
}

/// Writes one packet of a picture as its codec would put it. `sizes` are those of its spatial layers, or of the only one;
/// `filling` is how many bytes are neither header nor tag.
pub(super) fn payload(codec: Codec, tag: Tag, sizes: &[(u16, u16)], filling: usize) -> Vec<u8> {
    let spatial = if tag.is_layered { tag.layer } else { 0 };
    let (width, height) = sizes.last().copied().unwrap_or_default();
    let is_first = tag.part == 0;
    let starts_keyframe = is_first && tag.keyframe && spatial == 0;
    let [high, low] = (tag.frame as u16 & 0x7fff | 0x8000).to_be_bytes();
    let tl0_pic_idx = tag.frame as u8;
    let mut payload = Vec::with_capacity(filling + 64);
    match codec {
        Codec::Opus => payload.push(0xfc),
        Codec::Vp8 => {
            payload.extend([
                if is_first { 0x90 } else { 0x80 },
                0xe0,
                high,
                low,
                tl0_pic_idx,
                0,
            ]);
            if starts_keyframe {
                payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a]);
                payload.extend(width.to_le_bytes());
                payload.extend(height.to_le_bytes());
            } else {
                payload.push(0x11);
            }
        }
        Codec::Vp9 => {
            let mut flags = 0xa0;
            flags |= if tag.keyframe || tag.is_fresh {
                0
            } else {
                0x40
            };
            flags |= if is_first { 0x08 } else { 0 };
            flags |= if tag.part + 1 == tag.parts { 0x04 } else { 0 };
            flags |= if starts_keyframe { 0x02 } else { 0 };
            let layers = spatial << 1 | u8::from(tag.needs_below);
            payload.extend([flags, high, low, layers, tl0_pic_idx]);
            if starts_keyframe {
                payload.push((sizes.len() as u8 - 1) << 5 | 0x18);
                for (width, height) in sizes {
                    payload.extend(width.to_be_bytes());
                    payload.extend(height.to_be_bytes());
                }
                payload.extend([1, 0x04, 1]);
            }
        }
        Codec::H264 if starts_keyframe => {
            payload.push(0x78);
            for unit in [&H264_SPS[..], &H264_PPS[..]] {
                payload.extend((unit.len() as u16).to_be_bytes());
                payload.extend(unit);
            }
            let rest = filling + TAG_BYTES + 1;
            payload.extend((rest as u16).to_be_bytes());
            payload.push(0x06); // the filling is an SEI message
        }
        Codec::H264 => {
            let kind = if tag.keyframe { 5 } else { 1 };
            let starts_unit = tag.part == u8::from(tag.keyframe);
            payload.extend([0x7c, if starts_unit { 0x80 | kind } else { kind }]);
            payload.push(if starts_unit { 0x88 } else { 0x00 });
        }
        Codec::Av1 => {
            let new_sequence = if starts_keyframe { 0x08 } else { 0 };
            let continues = if is_first { 0 } else { 0x80 };
            payload.extend([0x10 | new_sequence | continues, 6 << 3 | 0x04, spatial << 3]);
        }
    }
    payload.resize(payload.len() + filling, 0x5a);
    tag.write(&mut payload);
    payload
}

/// A packet as it came out at a viewer.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Audio or video.
    pub kind: Kind,
    /// The SSRC it came on.
    pub ssrc: u32,
    /// Extended by the viewer.
    pub seq_no: SeqNo,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// The codec of its payload type.
    pub codec: Codec,
    /// Picture number of VP8, VP9 or the dependency descriptor.
    pub picture: Option<u16>,
    /// The payload as it arrived.
    pub payload: Arc<[u8]>,
    /// Whether it is RED.
    pub is_red: bool,
    /// When it was captured, as the sender reports of its SSRC tell.
    pub captured: Option<SystemTime>,
    pub(super) tag: Option<Tag>,
}

/// A picture that a decoder could show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it was complete, and everything before it.
    pub at: Instant,
    /// The layer, counted from the publisher's first RID.
    pub layer: u8,
    /// The publisher's peer key, its low 16 bits.
    pub publisher: u16,
    /// Number of the picture at its publisher.
    pub number: u32,
    /// Needs nothing before it.
    pub keyframe: bool,
    /// RTP timestamp.
    pub timestamp: u32,
}

/// What somebody in front of the screen saw.
#[derive(Clone, Debug, Default)]
pub struct Viewing {
    /// Pictures in the order they were shown.
    pub frames: Vec<Frame>,
    /// Pictures of which something arrived, but that could not be shown.
    pub broken: usize,
    /// Sequence numbers below the highest that never came.
    pub missing: usize,
}

impl Viewing {
    /// Puts packets in order and decodes what can be decoded.
    pub fn of(received: &[Received]) -> Self {
        let mut packets: Vec<&Received> = received
            .iter()
            .filter(|packet| packet.kind == Kind::Video)
            .collect();
        packets.sort_by_key(|packet| packet.seq_no);

        let mut viewing = Self::default();
        for pair in packets.windows(2) {
            viewing.missing += (*pair[1].seq_no - *pair[0].seq_no).saturating_sub(1) as usize;
        }
        // Empty ones are there to take up a number.
        packets.retain(|packet| packet.tag.is_some());
        if packets
            .iter()
            .any(|packet| packet.tag.is_some_and(|tag| tag.is_layered))
        {
            super::svc::judge(&packets, &mut viewing);
            return viewing;
        }
        for picture in packets.chunk_by(|a, b| same_picture(a, b)) {
            viewing.show(picture);
        }
        viewing
    }

    /// The longest time without a new picture, from the first one on; `until` ends the last pause.
    pub fn longest_freeze(&self, until: Instant) -> Duration {
        let times = self.frames.iter().map(|frame| frame.at);
        let ends = self
            .frames
            .iter()
            .skip(1)
            .map(|frame| frame.at)
            .chain([until]);
        times
            .zip(ends)
            .map(|(from, to)| to.saturating_duration_since(from))
            .max()
            .unwrap_or(Duration::MAX)
    }

    /// The layers shown, each once per change.
    pub fn layers(&self) -> Vec<u8> {
        let mut layers: Vec<u8> = self.frames.iter().map(|frame| frame.layer).collect();
        layers.dedup();
        layers
    }

    fn show(&mut self, picture: &[&Received]) {
        let (Some(first), Some(tag)) = (picture.first(), picture.first().and_then(|p| p.tag))
        else {
            return;
        };
        let is_complete = picture.len() == usize::from(tag.parts)
            && picture
                .iter()
                .enumerate()
                .all(|(part, packet)| packet.tag.is_some_and(|tag| usize::from(tag.part) == part))
            && *picture[picture.len() - 1].seq_no - *first.seq_no + 1 == u64::from(tag.parts);
        let last = self.frames.last();
        let follows = last.is_some_and(|last| {
            (last.publisher, last.layer, last.number + 1) == (tag.publisher, tag.layer, tag.frame)
        });
        if !is_complete || !(tag.keyframe || follows) {
            self.broken += 1;
            return;
        }
        let complete_at = picture.iter().map(|packet| packet.at).max();
        let shown_before = last.map(|last| last.at);
        self.frames.push(Frame {
            at: complete_at.max(shown_before).unwrap_or(first.at),
            layer: tag.layer,
            publisher: tag.publisher,
            number: tag.frame,
            keyframe: tag.keyframe,
            timestamp: first.timestamp,
        });
    }
}

fn same_picture(a: &Received, b: &Received) -> bool {
    let (Some(one), Some(other)) = (a.tag, b.tag) else {
        return false;
    };
    (one.publisher, one.layer, one.frame) == (other.publisher, other.layer, other.frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::codec;

    const CODECS: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

    fn tag(frame: u32, part: u8, keyframe: bool) -> Tag {
        Tag {
            publisher: 7,
            layer: 1,
            frame,
            part,
            parts: 3,
            keyframe,
            is_layered: false,
            needs_below: false,
            is_fresh: keyframe,
        }
    }

    fn received(start: Instant, seq_no: u64, tag: Tag) -> Received {
        Received {
            at: start + Duration::from_millis(seq_no),
            kind: Kind::Video,
            ssrc: 1,
            seq_no: seq_no.into(),
            timestamp: tag.frame * 3_000,
            marker: tag.part + 1 == tag.parts,
            codec: Codec::Vp8,
            picture: None,
            payload: Arc::from([]),
            is_red: false,
            captured: None,
            tag: Some(tag),
        }
    }

    #[test]
    fn made_up_payloads_are_what_the_inspectors_read() {
        for codec in CODECS {
            for (part, keyframe) in [(0, true), (1, true), (0, false), (1, false)] {
                let tag = tag(3, part, keyframe);
                let payload = payload(codec, tag, &[(640, 360)], FILLING_BYTES);
                assert_eq!(Tag::read(&payload), Some(tag));
                let meta = codec::inspect(codec, &payload, None);
                let h264_slice = codec == Codec::H264 && part == 1;
                assert_eq!(
                    meta.keyframe,
                    keyframe && (part == 0 || h264_slice),
                    "{codec:?}"
                );
                if keyframe && part == 0 && codec != Codec::Av1 {
                    assert_eq!(meta.dimensions, Some((640, 360)), "{codec:?}");
                }
            }
        }
    }

    #[test]
    fn the_judge_sees_what_is_lost() {
        let start = Instant::now();
        let mut packets: Vec<Received> = (0..30)
            .map(|n| received(start, n, tag(n as u32 / 3, (n % 3) as u8, n < 3)))
            .collect();
        let whole = Viewing::of(&packets);
        assert_eq!(
            (whole.frames.len(), whole.broken, whole.missing),
            (10, 0, 0)
        );
        assert_eq!(
            whole.longest_freeze(start + Duration::from_millis(29)),
            Duration::from_millis(3)
        );
        packets.remove(13);
        let holed = Viewing::of(&packets);
        assert_eq!((holed.frames.len(), holed.broken, holed.missing), (4, 6, 1));
        packets.remove(0);
        assert_eq!(Viewing::of(&packets).frames.len(), 0);
    }
}
