//! A camera and a microphone that follow a script and answer keyframe requests.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::change::SdpApi;
use str0m::format;
use str0m::media::{Direction, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::{ExtensionValues, RtpWrite};

use super::media::{FILLING_BYTES, Tag, payload};
use super::random::Random;
use super::svc::Layering;
use crate::event::{Codec, Kind};
use crate::forward::dependency;
use crate::id::PeerKey;

const PICTURE_INTERVAL: Duration = Duration::from_micros(33_333);
const SOUND_INTERVAL: Duration = Duration::from_millis(20);

/// What a publisher publishes.
#[derive(Clone, Debug)]
pub struct Publishing {
    /// Codec of the pictures; `None` for sound alone.
    pub video: Option<Codec>,
    /// RIDs of simulcast layers, lowest first; none for a single encoding.
    pub rids: Vec<&'static str>,
    /// Whether there is sound.
    pub audio: bool,
    /// Packets of an ordinary picture; a keyframe has three times as many.
    pub picture_packets: u8,
    /// Spatial layers inside of each encoding, which must be VP9 or AV1.
    pub layering: Option<Layering>,
    /// Whether the sound is sent as RED (RFC 2198), each packet with that before.
    pub red: bool,
    /// How long after their capture pictures are sent; sound is sent at once.
    pub encoding: Duration,
    /// Bytes of a packet of a picture that are neither header nor tag.
    pub filling: usize,
}

impl Default for Publishing {
    /// VP8 and sound, one layer.
    fn default() -> Self {
        Self {
            video: Some(Codec::Vp8),
            rids: Vec::new(),
            audio: true,
            picture_packets: 2,
            layering: None,
            red: false,
            encoding: Duration::ZERO,
            filling: FILLING_BYTES,
        }
    }
}

impl Publishing {
    /// A camera in another codec.
    pub fn of(codec: Codec) -> Self {
        Self {
            video: Some(codec),
            ..Self::default()
        }
    }

    /// A camera with three spatial layers in one encoding.
    pub fn layered(codec: Codec, is_keyed: bool) -> Self {
        let layering = Layering {
            layers: 3,
            is_keyed,
        };
        Self {
            video: Some(codec),
            layering: Some(layering),
            ..Self::default()
        }
    }

    /// A camera with three simulcast layers.
    pub fn simulcast(codec: Codec) -> Self {
        Self {
            video: Some(codec),
            rids: vec!["q", "h", "f"],
            ..Self::default()
        }
    }
}

/// What a publisher is doing.
pub(super) struct Camera {
    key: PeerKey,
    publishing: Publishing,
    video: Option<Mid>,
    audio: Option<Mid>,
    layers: Vec<Encoder>,
    sound: Encoder,
    /// Lines that were added later, each with one encoder.
    extras: Vec<(Mid, Kind, Encoder)>,
    seed: u64,
    next_picture: Instant,
    next_sound: Instant,
    sounds: Vec<Vec<u8>>,
}

/// What a publisher changes about what it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// One more line. Its pictures have the layers 3, 4 and so on.
    Add(Kind),
    /// The line is gone that was added first, of those there are.
    Remove(Kind),
    /// New ICE credentials.
    RestartIce,
}

struct Encoder {
    rid: Option<&'static str>,
    seq_no: u64,
    timestamp: u32,
    frame: u32,
    wants_keyframe: bool,
    is_sending: bool,
    /// What its pictures take.
    encoding: Duration,
    filling: usize,
    layering: Option<Layering>,
    /// How many spatial layers are sent, and how many were in the last picture.
    spatial: u8,
    last_spatial: u8,
}

impl Camera {
    /// Every encoder starts somewhere else, as real ones do.
    pub(super) fn new(key: PeerKey, now: Instant, seed: u64, publishing: Publishing) -> Self {
        let seed = seed ^ key.0 << 32;
        let mut random = Random::new(seed);
        let mut encoder = |rid| Encoder::new(&mut random, rid, publishing.layering, &publishing);
        let layers = match publishing.rids.as_slice() {
            [] => vec![encoder(None)],
            rids => rids.iter().map(|rid| encoder(Some(*rid))).collect(),
        };
        let sound = encoder(None);
        Self {
            key,
            publishing,
            video: None,
            audio: None,
            layers,
            sound,
            extras: Vec::new(),
            seed,
            next_picture: now,
            next_sound: now,
            sounds: Vec::new(),
        }
    }

    /// Puts a change into an offer.
    pub(super) fn change(&mut self, changes: &mut SdpApi<'_>, change: Change) {
        match change {
            Change::Add(kind) => {
                let media = match kind {
                    Kind::Audio => MediaKind::Audio,
                    Kind::Video => MediaKind::Video,
                };
                let mid = changes.add_media(media, Direction::SendOnly, None, None, None);
                let mut random = Random::new(self.seed ^ (1 + self.extras.len() as u64));
                let encoder = Encoder::new(&mut random, None, None, &self.publishing);
                self.extras.push((mid, kind, encoder));
            }
            Change::Remove(kind) => {
                let main = match kind {
                    Kind::Audio => self.audio.take(),
                    Kind::Video => self.video.take(),
                };
                let extra = self.extras.iter().position(|extra| extra.1 == kind);
                let mid = match (main, extra) {
                    (Some(mid), _) => mid,
                    (None, Some(index)) => self.extras.remove(index).0,
                    (None, None) => panic!("no such line"),
                };
                changes.stop_media(mid);
            }
            Change::RestartIce => {
                changes.ice_restart(true);
            }
        }
    }

    /// The payloads of the sound that was sent.
    pub(super) fn sounds(&self) -> &[Vec<u8>] {
        &self.sounds
    }

    /// Puts what is published into an offer.
    pub(super) fn add_media(&mut self, change: &mut SdpApi<'_>) {
        let direction = Direction::SendOnly;
        if self.publishing.audio {
            self.audio = Some(change.add_media(MediaKind::Audio, direction, None, None, None));
        }
        if self.publishing.video.is_none() {
            return;
        }
        let mut simulcast = Simulcast::new();
        for rid in &self.publishing.rids {
            simulcast.add_send_layer(SimulcastLayer::new(rid));
        }
        let simulcast = (!self.publishing.rids.is_empty()).then_some(simulcast);
        self.video = Some(change.add_media(MediaKind::Video, direction, None, None, simulcast));
    }

    /// The connection is up: the first picture is due.
    pub(super) fn start(&mut self, now: Instant) {
        self.next_picture = now;
        self.next_sound = now;
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.next_picture.min(self.next_sound)
    }

    /// The next picture of a layer is a keyframe.
    pub(super) fn handle_keyframe_request(&mut self, mid: Mid, rid: Option<&str>) {
        for (extra, _, encoder) in &mut self.extras {
            encoder.wants_keyframe |= *extra == mid;
        }
        for layer in &mut self.layers {
            layer.wants_keyframe |= self.video == Some(mid) && layer.rid == rid;
        }
    }

    /// Stops or resumes one layer, or all.
    pub(super) fn set_sending(&mut self, rid: Option<&str>, is_sending: bool) {
        for layer in &mut self.layers {
            if rid.is_none() || layer.rid == rid {
                // An encoder that was off starts anew.
                layer.wants_keyframe |= is_sending && !layer.is_sending;
                layer.is_sending = is_sending;
            }
        }
    }

    /// Sends only so many spatial layers from here on.
    pub(super) fn set_spatial(&mut self, layers: u8) {
        for layer in &mut self.layers {
            layer.spatial = layers;
        }
    }

    /// Writes the pictures and the sound that are due; tells whether there were any.
    pub(super) fn shoot(&mut self, rtc: &mut Rtc, now: Instant) -> bool {
        let mut has_shot = false;
        while self.next_picture <= now {
            self.next_picture += PICTURE_INTERVAL;
            has_shot |= self.shoot_extras(rtc, now, Kind::Video);
            let (Some(mid), Some(codec)) = (self.video, self.publishing.video) else {
                continue;
            };
            let parts = self.publishing.picture_packets;
            for (index, layer) in self.layers.iter_mut().enumerate() {
                layer.shoot(rtc, now, self.key, (mid, codec), index as u8, parts);
            }
            has_shot = true;
        }
        while self.next_sound <= now {
            self.next_sound += SOUND_INTERVAL;
            has_shot |= self.shoot_extras(rtc, now, Kind::Audio);
            let Some(mid) = self.audio else {
                continue;
            };
            if self.publishing.red {
                self.shoot_redundantly(rtc, now, mid);
            } else {
                self.sound
                    .shoot(rtc, now, self.key, (mid, Codec::Opus), 0, 1);
            }
            has_shot = true;
        }
        has_shot
    }

    fn shoot_extras(&mut self, rtc: &mut Rtc, now: Instant, kind: Kind) -> bool {
        let codec = match kind {
            Kind::Audio => Codec::Opus,
            Kind::Video => self.publishing.video.unwrap_or(Codec::Vp8),
        };
        let mut has_shot = false;
        for (index, (mid, of, encoder)) in self.extras.iter_mut().enumerate() {
            if *of == kind {
                encoder.shoot(rtc, now, self.key, (*mid, codec), 3 + index as u8, 1);
                has_shot = true;
            }
        }
        has_shot
    }

    /// Sends sound as RED: the packet before, then the newest (RFC 2198 section 3).
    fn shoot_redundantly(&mut self, rtc: &mut Rtc, now: Instant, mid: Mid) {
        let sound = &mut self.sound;
        sound.timestamp = sound.timestamp.wrapping_add(960);
        sound.frame = sound.frame.wrapping_add(1);
        let opus = negotiated(rtc, mid, Codec::Opus);
        let (Some(opus), Some(red)) = (opus, redundant(rtc, mid)) else {
            return;
        };
        let publisher = self.key.0 as u16;
        let sound_of = |frame| {
            let tag = Tag {
                publisher,
                frame,
                parts: 1,
                ..Tag::default()
            };
            payload(Codec::Opus, tag, &[], FILLING_BYTES)
        };
        let earlier = sound_of(sound.frame.wrapping_sub(1));
        let head = 1 << 31 | u32::from(*opus) << 24 | 960 << 10 | earlier.len() as u32;
        let mut wrapped = head.to_be_bytes().to_vec();
        wrapped.push(*opus);
        wrapped.extend(earlier);
        wrapped.extend(sound_of(sound.frame));
        self.sounds.push(wrapped.clone());
        let mut direct = rtc.direct_api();
        if let Some(stream) = direct.stream_tx_by_mid(mid, None) {
            let seq_no = sound.seq_no.into();
            stream.write_rtp(RtpWrite::new(red, seq_no, sound.timestamp, now, wrapped));
            sound.seq_no += 1;
        }
    }
}

impl Encoder {
    fn new(
        random: &mut Random,
        rid: Option<&'static str>,
        layering: Option<Layering>,
        publishing: &Publishing,
    ) -> Self {
        Self {
            rid,
            seq_no: random.bits() >> 48,
            timestamp: random.bits() as u32,
            frame: random.bits() as u32 & 0xff,
            wants_keyframe: true,
            is_sending: true,
            encoding: publishing.encoding,
            filling: publishing.filling,
            layering,
            spatial: layering.map_or(1, |layering| layering.layers),
            last_spatial: 0,
        }
    }

    fn shoot(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        publisher: PeerKey,
        (mid, codec): (Mid, Codec),
        layer: u8,
        picture_packets: u8,
    ) {
        let is_sound = codec == Codec::Opus;
        self.timestamp = self
            .timestamp
            .wrapping_add(if is_sound { 960 } else { 3_000 });
        if !self.is_sending {
            return;
        }
        let keyframe = std::mem::take(&mut self.wants_keyframe) && !is_sound;
        let parts = if keyframe {
            3 * picture_packets
        } else {
            picture_packets
        };
        self.frame = self.frame.wrapping_add(1);
        let Some(pt) = negotiated(rtc, mid, codec) else {
            return;
        };
        let mut direct = rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(mid, self.rid.map(Rid::from)) else {
            return;
        };
        let captured = if is_sound { now } else { now - self.encoding };
        let layering = self.layering.filter(|_| !is_sound);
        let sizes = layering.map_or(vec![(320 << layer, 180 << layer)], Layering::sizes);
        let spatial = if layering.is_some() { self.spatial } else { 1 };
        let filling = if is_sound {
            FILLING_BYTES
        } else {
            self.filling
        };
        for (frame, part) in (0..spatial).flat_map(|f| (0..parts).map(move |part| (f, part))) {
            let is_keyed = layering.is_some_and(|layering| layering.is_keyed);
            let tag = Tag {
                publisher: publisher.0 as u16,
                layer: if layering.is_some() { frame } else { layer },
                frame: self.frame,
                part,
                parts,
                keyframe,
                is_layered: layering.is_some(),
                needs_below: frame > 0 && (keyframe || !is_keyed),
                is_fresh: keyframe || frame >= self.last_spatial,
            };
            let mut values = ExtensionValues::default();
            if codec == Codec::Av1 {
                let layered = layering.map(|layering| layering.descriptor(tag));
                values
                    .user_values
                    .set(layered.unwrap_or_else(|| descriptor(tag)));
            }
            let is_end = part + 1 == parts && frame + 1 == spatial;
            let write = RtpWrite::new(
                pt,
                self.seq_no.into(),
                self.timestamp,
                captured,
                payload(codec, tag, &sizes, filling),
            )
            .marker(is_end && !is_sound)
            .ext_vals(values)
            .nackable(!is_sound);
            stream.write_rtp(write);
            self.seq_no += 1;
        }
        self.last_spatial = spatial;
    }
}

fn descriptor(tag: Tag) -> dependency::Descriptor {
    let starts = if tag.part == 0 { 0x80 } else { 0 };
    let ends = if tag.part + 1 == tag.parts { 0x40 } else { 0 };
    let [.., high, low] = tag.frame.to_be_bytes();
    let structure = if tag.keyframe && tag.part == 0 {
        0x80
    } else {
        0
    };
    let bytes = [starts | ends, high, low, structure, 0];
    dependency::Descriptor::new(&bytes).expect("long enough")
}

fn negotiated(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let pts = rtc.media(mid)?.remote_pts();
    rtc.codec_config()
        .iter()
        .filter(|params| ours(params.spec().codec) == Some(codec))
        .map(|params| params.pt())
        .find(|pt| pts.contains(pt))
}

/// The payload type of RED on a line.
fn redundant(rtc: &Rtc, mid: Mid) -> Option<Pt> {
    let opus = negotiated(rtc, mid, Codec::Opus)?;
    let mut types = rtc.codec_config().iter();
    types.find(|params| params.pt() == opus)?.red()
}

/// The codec that str0m means, of those that are forwarded.
pub(super) fn ours(codec: format::Codec) -> Option<Codec> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no peer here speaks more")]
    match codec {
        format::Codec::Opus => Some(Codec::Opus),
        format::Codec::Vp8 => Some(Codec::Vp8),
        format::Codec::Vp9 => Some(Codec::Vp9),
        format::Codec::H264 => Some(Codec::H264),
        format::Codec::Av1 => Some(Codec::Av1),
        _ => None,
    }
}
