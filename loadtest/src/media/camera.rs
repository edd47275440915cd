//! A synthetic encoder: pictures in the sizes and bursts of a real one, and sound. It knows no clock and no network.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::plan::Streams;
use super::tag::{Kind, TAG_BYTES, Tag};

/// Payload of a full packet: what fits below 1 280 bytes on the wire with all headers.
const PAYLOAD_MAX: usize = 1_180;

/// The descriptor of VP8 and the head of a frame are in front of a picture's bytes.
const HEAD_MAX: usize = 16;

/// How much larger a keyframe is than other pictures.
const KEYFRAME_FACTOR: f64 = 5.0;

const SOUND_INTERVAL: Duration = Duration::from_millis(20);

/// 32 kbit/s.
const SOUND_BYTES: usize = 80;

/// A camera that is later than this goes on from now: nobody sends the pictures of a moment long past.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Of the sound, or of a picture.
    pub is_audio: bool,
    /// RTP sequence number, extended.
    pub seq_no: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The last of its picture.
    pub marker: bool,
    /// RTP payload.
    pub payload: Vec<u8>,
    /// Part of a keyframe's beginning: the first packet of one.
    pub starts_keyframe: bool,
}

struct Lane {
    seq_no: u64,
    timestamp: u32,
    number: u32,
    next: Duration,
}

/// One stream's encoders.
pub struct Camera {
    rng: ChaCha8Rng,
    stream: u16,
    video: Lane,
    audio: Option<Lane>,
    frame: u32,
    picture: u16,
    interval: Duration,
    ticks: u32,
    delta_bytes: f64,
    keyframe_interval: Option<Duration>,
    keyframe_due: Duration,
    wants_keyframe: bool,
}

impl Camera {
    /// A camera that starts at `now`.
    #[must_use]
    pub fn new(streams: &Streams, stream: u16, seed: u64, now: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mean = f64::from(streams.bitrate_kbps) * 125.0 / f64::from(streams.fps);
        let every = streams.keyframe_interval;
        let keyframe_interval = (!every.is_zero()).then_some(every);
        // The keyframes take their part of the bitrate from the other pictures.
        let delta_bytes = keyframe_interval.map_or(mean, |every| {
            let pictures = (every.as_secs_f64() * f64::from(streams.fps)).max(1.0);
            mean * pictures / (pictures - 1.0 + KEYFRAME_FACTOR)
        });
        // Starts somewhere else each time, as real ones do.
        let mut lane = || Lane {
            seq_no: u64::from(rng.random::<u16>() >> 1),
            timestamp: rng.random(),
            number: 0,
            next: now,
        };
        let (video, audio) = (lane(), lane());
        Self {
            picture: rng.random::<u16>() & 0x7fff,
            rng,
            stream,
            video,
            audio: streams.audio.then_some(audio),
            frame: 0,
            interval: Duration::from_secs(1) / streams.fps,
            ticks: 90_000 / streams.fps,
            delta_bytes,
            keyframe_interval,
            keyframe_due: now,
            wants_keyframe: true,
        }
    }

    /// When the next picture or sound is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        let audio = self.audio.as_ref().map(|lane| lane.next);
        audio.map_or(self.video.next, |audio| audio.min(self.video.next))
    }

    /// The next picture is a keyframe.
    pub fn request_keyframe(&mut self) {
        self.wants_keyframe = true;
    }

    /// How many packets of pictures and of sound there were.
    #[must_use]
    pub fn sent(&self) -> (u32, u32) {
        let audio = self.audio.as_ref().map_or(0, |lane| lane.number);
        (self.video.number, audio)
    }

    /// Number of the last picture.
    #[must_use]
    pub fn frame(&self) -> u32 {
        self.frame
    }

    /// Gives what is due.
    pub fn shoot(&mut self, now: Duration, mut send: impl FnMut(Packet)) {
        if self.video.next + BEHIND_MAX < now {
            self.video.next = now;
        }
        while self.video.next <= now {
            self.video.next += self.interval;
            self.picture(now, &mut send);
        }
        let Some(lane) = &mut self.audio else {
            return;
        };
        if lane.next + BEHIND_MAX < now {
            lane.next = now;
        }
        while lane.next <= now {
            lane.next += SOUND_INTERVAL;
            lane.timestamp = lane.timestamp.wrapping_add(960);
            lane.number += 1;
            // Opus, 20 ms, full band, stereo, one frame.
            let mut payload = vec![0x5a; SOUND_BYTES - TAG_BYTES];
            payload[0] = 0xfc;
            let tag = Tag {
                stream: self.stream,
                kind: Kind::Audio,
                frame: lane.number,
                part: 0,
                parts: 1,
                number: lane.number,
                sent: now,
            };
            tag.write(&mut payload);
            send(Packet {
                is_audio: true,
                seq_no: lane.seq_no,
                timestamp: lane.timestamp,
                marker: false,
                payload,
                starts_keyframe: false,
            });
            lane.seq_no += 1;
        }
    }

    fn picture(&mut self, now: Duration, send: &mut impl FnMut(Packet)) {
        if self.keyframe_interval.is_some() && self.keyframe_due <= now {
            self.wants_keyframe = true;
        }
        let is_keyframe = std::mem::take(&mut self.wants_keyframe);
        if is_keyframe && let Some(every) = self.keyframe_interval {
            self.keyframe_due = now + every;
        }
        self.frame += 1;
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let factor = if is_keyframe { KEYFRAME_FACTOR } else { 1.0 };
        let spread: f64 = self.rng.random_range(0.8..1.2);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most some hundred thousand bytes"
        )]
        let bytes = (self.delta_bytes * factor * spread) as usize;
        let parts = bytes.div_ceil(PAYLOAD_MAX).max(1);
        let size = (bytes / parts).clamp(HEAD_MAX + TAG_BYTES, PAYLOAD_MAX);
        let lane = &mut self.video;
        lane.timestamp = lane.timestamp.wrapping_add(self.ticks);
        let parts = u16::try_from(parts).unwrap_or(u16::MAX);
        for part in 0..parts {
            lane.number += 1;
            let is_first = part == 0;
            let mut payload = head(self.picture, is_first, is_first && is_keyframe);
            payload.resize(size - TAG_BYTES, 0x5a);
            let tag = Tag {
                stream: self.stream,
                kind: if is_keyframe { Kind::Key } else { Kind::Delta },
                frame: self.frame,
                part,
                parts,
                number: lane.number,
                sent: now,
            };
            tag.write(&mut payload);
            send(Packet {
                is_audio: false,
                seq_no: lane.seq_no,
                timestamp: lane.timestamp,
                marker: part + 1 == parts,
                payload,
                starts_keyframe: is_first && is_keyframe,
            });
            lane.seq_no += 1;
        }
    }
}

/// The VP8 payload descriptor with the picture's number (RFC 7741 section 4.2), and what a frame begins with.
fn head(picture: u16, is_first: bool, starts_keyframe: bool) -> Vec<u8> {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let mut payload = Vec::with_capacity(PAYLOAD_MAX);
    payload.extend([if is_first { 0x90 } else { 0x80 }, 0x80, high, low]);
    if starts_keyframe {
        // 1280 by 720.
        payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
    } else {
        payload.push(0x11);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Streams {
        Streams {
            streams: 1,
            viewers: 1,
            bitrate_kbps: 1_500,
            fps: 30,
            keyframe_interval: Duration::from_secs(2),
            audio: true,
        }
    }

    fn film(camera: &mut Camera, from: u64, until: u64) -> Vec<Packet> {
        let mut packets = Vec::new();
        for ms in from..until {
            camera.shoot(Duration::from_millis(ms), |packet| packets.push(packet));
        }
        packets
    }

    #[test]
    fn the_bitrate_the_pictures_and_the_keyframes_are_those_asked_for() {
        let mut camera = Camera::new(&streams(), 7, 1, Duration::ZERO);
        let packets = film(&mut camera, 0, 10_000);
        let video: Vec<_> = packets.iter().filter(|packet| !packet.is_audio).collect();
        let bits = 8 * video
            .iter()
            .map(|packet| packet.payload.len())
            .sum::<usize>();
        assert!((14_000_000..16_000_000).contains(&bits), "{bits}");
        assert_eq!(packets.len() - video.len(), 500);
        let pictures = video.iter().filter(|packet| packet.marker).count();
        assert!((299..=301).contains(&pictures), "{pictures}");
        let keyframes = video.iter().filter(|packet| packet.starts_keyframe);
        assert_eq!(keyframes.count(), 5);
        assert!(
            video
                .iter()
                .all(|packet| packet.payload.len() <= PAYLOAD_MAX)
        );
        let numbers = video.iter().map(|packet| Tag::read(&packet.payload));
        let numbers: Vec<_> = numbers.map(|tag| tag.expect("a tag").number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn a_keyframe_comes_with_the_next_picture_when_it_is_asked_for() {
        let mut camera = Camera::new(&streams(), 0, 1, Duration::ZERO);
        film(&mut camera, 0, 500);
        camera.request_keyframe();
        let packets = film(&mut camera, 500, 540);
        assert!(packets.iter().any(|packet| packet.starts_keyframe));
    }

    #[test]
    fn equal_seeds_film_the_same() {
        let film_with = |seed| {
            let packets = film(
                &mut Camera::new(&streams(), 0, seed, Duration::ZERO),
                0,
                300,
            );
            packets
                .into_iter()
                .map(|packet| (packet.seq_no, packet.payload))
                .collect::<Vec<_>>()
        };
        assert_eq!(film_with(1), film_with(1));
        assert_ne!(film_with(1), film_with(2));
    }

    #[test]
    fn a_camera_that_stood_still_does_not_catch_up() {
        let mut camera = Camera::new(&streams(), 0, 1, Duration::ZERO);
        film(&mut camera, 0, 100);
        let packets = film(&mut camera, 60_000, 60_001);
        let pictures = packets.iter().filter(|packet| packet.marker).count();
        assert_eq!(pictures, 1);
    }
}
