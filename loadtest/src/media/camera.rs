//! What publishes: pictures and sound when they are due, cut into packets. It knows no clock and no network.

use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::encoder::{Microphone, Video};
use super::ledger;
use super::plan::{LAYERS_MAX, Source, Streams};
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
    /// The layer's name, where there are several.
    pub rid: Option<&'static str>,
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

/// How much was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets of the pictures of each layer.
    pub video: [u32; LAYERS_MAX],
    /// Pictures of each layer.
    pub frames: [u32; LAYERS_MAX],
    /// Packets of sound.
    pub audio: u32,
}

struct Lane {
    seq_no: u64,
    timestamp: u32,
    number: u32,
}

/// One encoding of the pictures.
struct Layer {
    index: u8,
    rid: Option<&'static str>,
    lane: Lane,
    encoder: Video,
    frame: u32,
    picture: u16,
    wants_keyframe: bool,
}

/// One stream's encoders.
pub struct Camera {
    stream: u16,
    /// Lowest first.
    layers: Vec<Layer>,
    audio: Option<Lane>,
    microphone: Microphone,
    began: Duration,
    next_picture: Duration,
    next_sound: Duration,
    interval: Duration,
    ticks: u32,
    layer_pause: Duration,
    keyframe_interval: Option<Duration>,
    keyframe_due: Duration,
    /// The last one, where packets have stamps.
    stamp: Option<Duration>,
}

impl Camera {
    /// A camera that starts at `now`.
    #[must_use]
    pub fn new(streams: &Streams, stream: u16, seed: u64, now: Duration) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let every = streams.keyframe_interval;
        let rids = streams.rids();
        let count = rids.len().max(1);
        let layers = (0..count).map(|index| Layer {
            index: u8::try_from(index).unwrap_or_default(),
            rid: rids.get(index).copied(),
            lane: Lane::new(&mut rng),
            encoder: Video::new(
                streams,
                count - 1 - index,
                ChaCha8Rng::seed_from_u64(rng.random()),
            ),
            frame: 0,
            picture: rng.random::<u16>() & 0x7fff,
            wants_keyframe: true,
        });
        let layers = layers.collect();
        let is_sample = streams.media == Source::Samples;
        let fps = if is_sample { samples::FPS } else { streams.fps };
        Self {
            stream,
            layers,
            audio: streams.audio.then(|| Lane::new(&mut rng)),
            microphone: Microphone::new(streams.media, &mut rng),
            began: now,
            next_picture: now,
            next_sound: now,
            interval: Duration::from_secs(1) / fps,
            ticks: 90_000 / fps,
            layer_pause: streams.layer_pause,
            keyframe_interval: (!every.is_zero()).then_some(every),
            keyframe_due: now,
            stamp: is_sample.then_some(Duration::ZERO),
        }
    }

    /// When the next picture or sound is due.
    #[must_use]
    pub fn due(&self) -> Duration {
        match self.audio {
            Some(_) => self.next_picture.min(self.next_sound),
            None => self.next_picture,
        }
    }

    /// The next picture is a keyframe, in every layer.
    pub fn request_keyframe(&mut self) {
        for layer in &mut self.layers {
            layer.wants_keyframe = true;
        }
    }

    /// The next picture is a keyframe in the layer of this name.
    pub fn request_keyframe_of(&mut self, rid: Option<&str>) {
        for layer in &mut self.layers {
            layer.wants_keyframe |= layer.rid == rid;
        }
    }

    /// How much there was.
    #[must_use]
    pub fn sent(&self) -> Counts {
        let mut counts = Counts {
            audio: self.audio.as_ref().map_or(0, |lane| lane.number),
            ..Counts::default()
        };
        let slots = counts.video.iter_mut().zip(&mut counts.frames);
        for (layer, (video, frames)) in self.layers.iter().zip(slots) {
            (*video, *frames) = (layer.lane.number, layer.frame);
        }
        counts
    }

    /// Gives what is due.
    pub fn shoot(&mut self, now: Duration, mut send: impl FnMut(Packet)) {
        if self.next_picture + BEHIND_MAX < now {
            self.next_picture = now;
        }
        while self.next_picture <= now {
            self.next_picture += self.interval;
            self.picture(now, &mut send);
        }
        let Some(lane) = &mut self.audio else {
            return;
        };
        if self.next_sound + BEHIND_MAX < now {
            self.next_sound = now;
        }
        while self.next_sound <= now {
            self.next_sound += SOUND_INTERVAL;
            lane.timestamp = lane.timestamp.wrapping_add(960);
            let tag = Tag {
                stream: self.stream,
                kind: Kind::Audio,
                layer: 0,
                frame: lane.number + 1,
                part: 0,
                parts: 1,
                number: lane.number + 1,
                sent: now,
            };
            let payload = self.microphone.encode();
            send(lane.packet(tag, None, payload, &mut self.stamp));
        }
    }

    fn picture(&mut self, now: Duration, send: &mut impl FnMut(Packet)) {
        if let Some(every) = self.keyframe_interval
            && self.keyframe_due <= now
        {
            self.keyframe_due = now + every;
            self.request_keyframe();
        }
        let pauses = self.pauses(now);
        let top = self.layers.len() - 1;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.lane.timestamp = layer.lane.timestamp.wrapping_add(self.ticks);
            if pauses && index == top {
                // An encoder that was off starts anew.
                layer.wants_keyframe = true;
                continue;
            }
            layer.shoot(self.stream, now, &mut self.stamp, send);
        }
    }

    /// Whether this is a time without the top layer.
    fn pauses(&self, now: Duration) -> bool {
        let length = self.layer_pause.as_nanos();
        length > 0 && (now - self.began).as_nanos() / length % 2 == 1
    }
}

impl Layer {
    fn shoot(
        &mut self,
        stream: u16,
        now: Duration,
        stamp: &mut Option<Duration>,
        send: &mut impl FnMut(Packet),
    ) {
        let wants_keyframe = std::mem::take(&mut self.wants_keyframe);
        self.frame += 1;
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let encoded = self.encoder.encode(wants_keyframe, self.picture);
        let parts = u16::try_from(encoded.payloads.len()).unwrap_or(u16::MAX);
        for (part, payload) in (0..parts).zip(encoded.payloads) {
            let tag = Tag {
                stream,
                kind: if encoded.is_key {
                    Kind::Key
                } else {
                    Kind::Delta
                },
                layer: self.index,
                frame: self.frame,
                part,
                parts,
                number: self.lane.number + 1,
                sent: now,
            };
            send(self.lane.packet(tag, self.rid, payload, stamp));
        }
    }
}

impl Lane {
    /// Starts somewhere else each time, as real ones do.
    fn new(rng: &mut ChaCha8Rng) -> Self {
        Self {
            seq_no: u64::from(rng.random::<u16>() >> 1),
            timestamp: rng.random(),
            number: 0,
        }
    }

    /// The next packet. Says what it is in its last bytes, unless it has a stamp.
    fn packet(
        &mut self,
        tag: Tag,
        rid: Option<&'static str>,
        mut payload: Vec<u8>,
        stamp: &mut Option<Duration>,
    ) -> Packet {
        match stamp {
            Some(stamp) => *stamp = ledger::stamp(tag.sent, *stamp),
            None => tag.write(&mut payload),
        }
        let is_audio = tag.kind == Kind::Audio;
        let packet = Packet {
            is_audio,
            rid,
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
        let layers = Streams {
            layers: 3,
            ..streams()
        };
        for streams in [
            streams(),
            layers,
            samples(VideoCodec::Vp8),
            samples(VideoCodec::H264),
        ] {
            let film_with = |seed| {
                let mut camera = Camera::new(&streams, 0, seed, Duration::ZERO);
                let packets = film(&mut camera, 0, 300).into_iter();
                packets
                    .map(|packet| (packet.seq_no, packet.rid, packet.payload))
                    .collect::<Vec<_>>()
            };
            assert_eq!(film_with(1), film_with(1));
            assert_ne!(film_with(1), film_with(2));
        }
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

    #[test]
    fn layers_leave_together_in_their_sizes_and_the_top_one_pauses() {
        let streams = Streams {
            layers: 3,
            layer_pause: Duration::from_secs(2),
            ..Streams::default()
        };
        let mut camera = Camera::new(&streams, 0, 1, Duration::ZERO);
        let packets = film(&mut camera, 0, 4_000);
        let of = |rid| packets.iter().filter(move |packet| packet.rid == Some(rid));
        let kbits = |rid| of(rid).map(|packet| packet.payload.len()).sum::<usize>() / 125;
        // Four seconds of the lower ones, two of the top one.
        let (quarter, half, full) = (kbits("q"), kbits("h"), kbits("f"));
        assert!((550..700).contains(&quarter), "{quarter}");
        assert!((1_700..2_000).contains(&half), "{half}");
        assert!((2_800..3_400).contains(&full), "{full}");
        let counts = camera.sent();
        assert_eq!(counts.frames[0], counts.frames[1]);
        assert!((59..=62).contains(&counts.frames[2]), "{counts:?}");
        assert_eq!(counts.video[2] as usize, of("f").count());
        assert!(
            of("f").all(|packet| packet.tag.sent < Duration::from_secs(2) && packet.tag.layer == 2)
        );
        let back = film(&mut camera, 4_000, 4_040);
        let first = back.iter().find(|packet| packet.rid == Some("f"));
        assert!(first.expect("the top layer").starts_keyframe);

        camera.request_keyframe_of(Some("h"));
        let packets = film(&mut camera, 4_040, 4_080);
        let keys = packets.iter().filter(|packet| packet.starts_keyframe);
        assert_eq!(
            keys.map(|packet| packet.rid).collect::<Vec<_>>(),
            [Some("h")]
        );
    }
}
