//! What publishes: pictures and sound when they are due, cut into packets. It knows no clock and no network.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::encoder::{Microphone, Video};
use super::ledger;
use super::plan::{Source, Streams};
use super::samples;
use super::tag::{Kind, Tag};

const SOUND_INTERVAL: Duration = Duration::from_millis(20);

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
    /// Which packet it is.
    pub tag: Tag,
    /// When it leaves, near enough to tell it from all others of its stream, where the payload has no place for the tag: to be
    /// sent as the time of capture.
    pub stamp: Option<Duration>,
}

struct Lane {
    seq_no: u64,
    timestamp: u32,
    number: u32,
    next: Duration,
}

/// One stream's encoders.
pub struct Camera {
    stream: u16,
    video: Lane,
    audio: Option<Lane>,
    encoder: Video,
    microphone: Microphone,
    frame: u32,
    picture: u16,
    interval: Duration,
    ticks: u32,
    keyframe_interval: Option<Duration>,
    keyframe_due: Duration,
    wants_keyframe: bool,
    /// The last one, where packets have stamps.
    stamp: Option<Duration>,
}

impl Camera {
    /// A camera that starts at `now`.
    #[must_use]
    pub fn new(streams: &Streams, stream: u16, seed: u64, now: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let every = streams.keyframe_interval;
        // Starts somewhere else each time, as real ones do.
        let mut lane = || Lane {
            seq_no: u64::from(rng.random::<u16>() >> 1),
            timestamp: rng.random(),
            number: 0,
            next: now,
        };
        let (video, audio) = (lane(), lane());
        let picture = rng.random::<u16>() & 0x7fff;
        let is_sample = streams.media == Source::Samples;
        let fps = if is_sample { samples::FPS } else { streams.fps };
        Self {
            stream,
            video,
            audio: streams.audio.then_some(audio),
            microphone: Microphone::new(streams.media, &mut rng),
            encoder: Video::new(streams, rng),
            frame: 0,
            picture,
            interval: Duration::from_secs(1) / fps,
            ticks: 90_000 / fps,
            keyframe_interval: (!every.is_zero()).then_some(every),
            keyframe_due: now,
            wants_keyframe: true,
            stamp: is_sample.then_some(Duration::ZERO),
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
            let tag = Tag {
                stream: self.stream,
                kind: Kind::Audio,
                frame: lane.number + 1,
                part: 0,
                parts: 1,
                number: lane.number + 1,
                sent: now,
            };
            let payload = self.microphone.encode();
            send(lane.packet(tag, payload, &mut self.stamp));
        }
    }

    fn picture(&mut self, now: Duration, send: &mut impl FnMut(Packet)) {
        if self.keyframe_interval.is_some() && self.keyframe_due <= now {
            self.wants_keyframe = true;
        }
        let wants_keyframe = std::mem::take(&mut self.wants_keyframe);
        if wants_keyframe && let Some(every) = self.keyframe_interval {
            self.keyframe_due = now + every;
        }
        self.frame += 1;
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let encoded = self.encoder.encode(wants_keyframe, self.picture);
        let lane = &mut self.video;
        lane.timestamp = lane.timestamp.wrapping_add(self.ticks);
        let parts = u16::try_from(encoded.payloads.len()).unwrap_or(u16::MAX);
        for (part, payload) in (0..parts).zip(encoded.payloads) {
            let tag = Tag {
                stream: self.stream,
                kind: if encoded.is_key {
                    Kind::Key
                } else {
                    Kind::Delta
                },
                frame: self.frame,
                part,
                parts,
                number: lane.number + 1,
                sent: now,
            };
            send(lane.packet(tag, payload, &mut self.stamp));
        }
    }
}

impl Lane {
    /// The next packet. Says what it is in its last bytes, unless it has a stamp.
    fn packet(&mut self, tag: Tag, mut payload: Vec<u8>, stamp: &mut Option<Duration>) -> Packet {
        match stamp {
            Some(stamp) => *stamp = ledger::stamp(tag.sent, *stamp),
            None => tag.write(&mut payload),
        }
        let is_audio = tag.kind == Kind::Audio;
        let packet = Packet {
            is_audio,
            seq_no: self.seq_no,
            timestamp: self.timestamp,
            marker: !is_audio && tag.part + 1 == tag.parts,
            payload,
            starts_keyframe: tag.kind == Kind::Key && tag.part == 0,
            tag,
            stamp: *stamp,
        };
        self.seq_no += 1;
        self.number += 1;
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::super::encoder::PAYLOAD_MAX;
    use super::super::plan::VideoCodec;
    use super::*;

    fn streams() -> Streams {
        Streams {
            viewers: 1,
            keyframe_interval: Duration::from_secs(2),
            ..Streams::default()
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

    fn samples(codec: VideoCodec) -> Streams {
        Streams {
            media: Source::Samples,
            codec,
            ..Streams::default()
        }
    }

    /// What a depacketizer makes of the pictures, one after the other.
    fn pictures(packets: &[Packet], codec: VideoCodec) -> Vec<(bool, Vec<u8>)> {
        use str0m::format::CodecExtra;
        use str0m::unversioned::{Depacketizer, H264Depacketizer, Vp8Depacketizer};

        let mut depacketizer: Box<dyn Depacketizer> = match codec {
            VideoCodec::Vp8 => Box::new(Vp8Depacketizer::default()),
            VideoCodec::H264 => Box::new(H264Depacketizer::default()),
        };
        let mut pictures = Vec::new();
        let (mut whole, mut extra) = (Vec::new(), CodecExtra::None);
        for packet in packets.iter().filter(|packet| !packet.is_audio) {
            depacketizer
                .depacketize(&packet.payload, &mut whole, &mut extra)
                .expect("a payload");
            if packet.marker {
                let is_key = packet.tag.kind == Kind::Key;
                pictures.push((is_key, std::mem::take(&mut whole)));
            }
        }
        pictures
    }

    /// Whether the pictures of a film are those of the sample from `first` on, as far as they are compared.
    fn follow(film: &[(bool, Vec<u8>)], codec: VideoCodec, first: usize) -> bool {
        let sample = samples::pictures(codec).iter().cycle().skip(first);
        film.iter().zip(sample).all(|((is_key, bytes), picture)| {
            let has_all = match codec {
                VideoCodec::Vp8 => bytes == picture.bytes,
                // Start codes have another length; the last slice's bytes have not.
                VideoCodec::H264 => {
                    bytes[bytes.len() - 50..] == picture.bytes[picture.bytes.len() - 50..]
                }
            };
            *is_key == picture.is_key && has_all
        })
    }

    #[test]
    fn a_sample_is_replayed_bit_for_bit_over_its_end_with_numbers_that_go_on() {
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            let mut camera = Camera::new(&samples(codec), 0, 1, Duration::ZERO);
            let packets = film(&mut camera, 0, 10_000);
            let film = pictures(&packets, codec);
            assert!((299..=301).contains(&film.len()), "{}", film.len());
            let mut keys = (0..120).filter(|at| samples::pictures(codec)[*at].is_key);
            assert!(keys.any(|first| follow(&film, codec, first)), "{codec:?}");
            let video: Vec<_> = packets.iter().filter(|packet| !packet.is_audio).collect();
            assert!(
                video
                    .iter()
                    .all(|packet| packet.payload.len() <= PAYLOAD_MAX)
            );
            for pair in video.windows(2) {
                assert_eq!(pair[1].seq_no, pair[0].seq_no + 1);
                let ticks = if pair[0].marker { 3_000 } else { 0 };
                assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(ticks));
            }
            if codec == VideoCodec::Vp8 {
                let id =
                    |packet: &Packet| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
                for pair in video.windows(2) {
                    let step = u16::from(pair[0].marker);
                    assert_eq!(id(pair[1]) & 0x7fff, (id(pair[0]) + step) & 0x7fff);
                }
            }
        }
    }

    #[test]
    fn a_sample_goes_on_from_its_next_keyframe_when_one_is_asked_for() {
        for codec in [VideoCodec::Vp8, VideoCodec::H264] {
            let mut camera = Camera::new(&samples(codec), 0, 1, Duration::ZERO);
            film(&mut camera, 0, 500);
            camera.request_keyframe();
            let film = pictures(&film(&mut camera, 500, 3_000), codec);
            assert!(film[0].0, "{codec:?}");
            let keys = (0..120).filter(|at| samples::pictures(codec)[*at].is_key);
            let firsts: Vec<_> = keys.filter(|first| follow(&film, codec, *first)).collect();
            assert_eq!(firsts.len(), 1, "{codec:?}");
        }
    }

    #[test]
    fn packets_of_samples_have_stamps_that_tell_them_apart_and_when_they_left() {
        let mut camera = Camera::new(&samples(VideoCodec::Vp8), 0, 1, Duration::ZERO);
        let packets = film(&mut camera, 0, 5_000);
        let stamps: Vec<_> = packets.iter().filter_map(|packet| packet.stamp).collect();
        assert_eq!(stamps.len(), packets.len());
        assert!(
            stamps
                .windows(2)
                .all(|pair| pair[1] >= pair[0] + ledger::STEP)
        );
        for packet in &packets {
            let off = packet.stamp.expect("a stamp") - packet.tag.sent;
            assert!(off < Duration::from_millis(1), "{off:?}");
            assert_eq!(Tag::read(&packet.payload), None);
        }
        let mut camera = Camera::new(&streams(), 0, 1, Duration::ZERO);
        for packet in film(&mut camera, 0, 1_000) {
            assert_eq!(
                (packet.stamp, Tag::read(&packet.payload)),
                (None, Some(packet.tag))
            );
        }
    }
}
