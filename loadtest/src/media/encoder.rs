//! Where payloads come from: encoders that make pictures up, in the sizes and bursts of a real one, and samples that are replayed.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::plan::{LAYERS_MAX, Source, Streams, VideoCodec};
use super::samples::{self, Picture};
use super::tag::TAG_BYTES;

/// Payload of a full packet: what fits below 1 280 bytes on the wire with all headers.
pub const PAYLOAD_MAX: usize = 1_180;

/// What a synthetic picture's packets begin with fits into this.
const HEAD_MAX: usize = 16;

/// The descriptor of VP8 in front of each part of a picture.
const DESCRIPTOR_BYTES: usize = 4;

/// How much larger a keyframe is than other pictures.
const KEYFRAME_FACTOR: f64 = 5.0;

/// Bitrates of the top layer and of those below it, as parts of the top one's: about what browsers give them.
const LAYER_SHARES: [f64; LAYERS_MAX] = [1.0, 0.3, 0.1];

/// 32 kbit/s.
const SOUND_BYTES: usize = 80;

/// What became of a picture.
pub struct Encoded {
    /// Whether it needs no other.
    pub is_key: bool,
    /// In their order; at least one. Those of synthetic pictures leave room for a tag.
    pub payloads: Vec<Vec<u8>>,
}

/// One encoding of the pictures.
pub enum Video {
    /// Made up.
    Synthetic(Box<Synthetic>),
    /// Replayed.
    Sample(Replay),
}

/// Makes pictures up.
pub struct Synthetic {
    codec: VideoCodec,
    rng: ChaCha8Rng,
    delta_bytes: f64,
    width: u16,
    height: u16,
}

/// Goes through a sample, over and over.
pub struct Replay {
    codec: VideoCodec,
    pictures: &'static [Picture],
    next: usize,
}

impl Video {
    /// The encoder that a scenario asks for, of a layer that has so many above it.
    #[must_use]
    pub fn new(streams: &Streams, above: usize, mut rng: ChaCha8Rng) -> Self {
        let codec = streams.codec;
        if streams.media == Source::Samples {
            let pictures = samples::pictures(codec);
            let keys = pictures.iter().filter(|picture| picture.is_key).count();
            let nth = rng.random_range(0..keys.max(1));
            let mut keys = (0..pictures.len()).filter(|at| pictures[*at].is_key);
            let next = keys.nth(nth).unwrap_or_default();
            return Self::Sample(Replay {
                codec,
                pictures,
                next,
            });
        }
        let share = LAYER_SHARES.get(above).copied().unwrap_or_default();
        let mean = f64::from(streams.bitrate_kbps) * share * 125.0 / f64::from(streams.fps);
        let every = streams.keyframe_interval;
        // The keyframes take their part of the bitrate from the other pictures.
        let delta_bytes = if every.is_zero() {
            mean
        } else {
            let pictures = (every.as_secs_f64() * f64::from(streams.fps)).max(1.0);
            mean * pictures / (pictures - 1.0 + KEYFRAME_FACTOR)
        };
        Self::Synthetic(Box::new(Synthetic {
            codec,
            rng,
            delta_bytes,
            width: 1280 >> above,
            height: 720 >> above,
        }))
    }

    /// The next picture. `number` is what VP8 numbers it with.
    pub fn encode(&mut self, wants_keyframe: bool, number: u16) -> Encoded {
        match self {
            Self::Synthetic(encoder) => encoder.encode(wants_keyframe, number),
            Self::Sample(replay) => replay.encode(wants_keyframe, number),
        }
    }
}

impl Synthetic {
    fn encode(&mut self, is_key: bool, number: u16) -> Encoded {
        let factor = if is_key { KEYFRAME_FACTOR } else { 1.0 };
        let spread: f64 = self.rng.random_range(0.8..1.2);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most some hundred thousand bytes"
        )]
        let bytes = (self.delta_bytes * factor * spread) as usize;
        let parts = bytes.div_ceil(PAYLOAD_MAX).max(1);
        let size = (bytes / parts).clamp(HEAD_MAX + TAG_BYTES, PAYLOAD_MAX);
        let payloads = (0..parts).map(|part| {
            let mut payload = Vec::with_capacity(size);
            match self.codec {
                VideoCodec::Vp8 => {
                    payload.extend(descriptor(number, part == 0));
                    if is_key && part == 0 {
                        payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a]);
                        payload.extend(self.width.to_le_bytes());
                        payload.extend(self.height.to_le_bytes());
                    } else {
                        payload.push(0x11);
                    }
                }
                VideoCodec::H264 => payload.extend(slice(is_key, part, parts)),
            }
            payload.resize(size - TAG_BYTES, 0x5a);
            payload
        });
        Encoded {
            is_key,
            payloads: payloads.collect(),
        }
    }
}

impl Replay {
    /// Jumps to the next keyframe when one is wanted: a real one, that what follows it in the sample needs.
    fn encode(&mut self, wants_keyframe: bool, number: u16) -> Encoded {
        let count = self.pictures.len();
        if wants_keyframe {
            let mut ahead = (self.next..self.next + count).map(|at| at % count);
            self.next = ahead
                .find(|at| self.pictures[*at].is_key)
                .unwrap_or_default();
        }
        let picture = &self.pictures[self.next];
        self.next = (self.next + 1) % count;
        let payloads = match self.codec {
            VideoCodec::Vp8 => vp8_payloads(picture.bytes, number),
            VideoCodec::H264 => samples::h264_payloads(picture.bytes, PAYLOAD_MAX),
        };
        Encoded {
            is_key: picture.is_key,
            payloads,
        }
    }
}

/// The packetizer of str0m numbers pictures with 7 bits up to 127 and with 15 from there on; browsers use 15.
fn vp8_payloads(frame: &[u8], number: u16) -> Vec<Vec<u8>> {
    let parts = frame.chunks(PAYLOAD_MAX - DESCRIPTOR_BYTES).enumerate();
    parts
        .map(|(part, bytes)| [&descriptor(number, part == 0), bytes].concat())
        .collect()
}

/// The VP8 payload descriptor with the picture's number (RFC 7741 section 4.2).
fn descriptor(picture: u16, is_first: bool) -> [u8; DESCRIPTOR_BYTES] {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    [if is_first { 0x90 } else { 0x80 }, 0x80, high, low]
}

/// What part of a slice begins with: as a single NAL unit, or as a fragment (RFC 6184 sections 5.6 and 5.8).
fn slice(is_key: bool, part: usize, parts: usize) -> Vec<u8> {
    // The unit's head, and a slice header that begins with macroblock 0.
    let (nal, header) = if is_key { (0x65, 0x88) } else { (0x41, 0x9a) };
    if parts == 1 {
        return vec![nal, header];
    }
    let start = if part == 0 { 0x80 } else { 0 };
    let end = if part + 1 == parts { 0x40 } else { 0 };
    vec![nal & 0x60 | 28, start | end | nal & 0x1f, header]
}

/// Where sound comes from.
pub enum Microphone {
    /// Opus by its first byte.
    Synthetic,
    /// Replayed from this packet on.
    Sample(usize),
}

impl Microphone {
    /// A microphone of what a scenario asks for.
    pub fn new(source: Source, rng: &mut ChaCha8Rng) -> Self {
        match source {
            Source::Synthetic => Self::Synthetic,
            Source::Samples => Self::Sample(rng.random_range(0..samples::sounds().len())),
        }
    }

    /// The next 20 ms.
    pub fn encode(&mut self) -> Vec<u8> {
        match self {
            Self::Synthetic => {
                // 20 ms, full band, stereo, one frame.
                let mut payload = vec![0x5a; SOUND_BYTES - TAG_BYTES];
                payload[0] = 0xfc;
                payload
            }
            Self::Sample(next) => {
                let sounds = samples::sounds();
                let payload = sounds[*next].clone();
                *next = (*next + 1) % sounds.len();
                payload
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_h264_is_a_slice_in_fragments_or_a_unit_of_its_own() {
        assert_eq!(slice(true, 0, 3), [0x7c, 0x85, 0x88]);
        assert_eq!(slice(true, 1, 3)[..2], [0x7c, 0x05]);
        assert_eq!(slice(false, 2, 3)[..2], [0x5c, 0x41]);
        assert_eq!(slice(false, 0, 1), [0x41, 0x9a]);
    }
}
