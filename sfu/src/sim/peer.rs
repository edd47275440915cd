//! Scripted peers: a camera that answers keyframe requests, and a viewer that writes down what it gets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};
use str0m_netem::{Input as LinkInput, Netem, NetemConfig, Output as LinkOutput, WithLen};

use super::media::{Received, Tag, payload};
use super::random::Random;
use crate::event::{Codec, Kind, Selection};
use crate::forward::codec::{self, Numbering};
use crate::forward::dependency;
use crate::id::{PeerKey, ShardId};

const PICTURE_INTERVAL: Duration = Duration::from_micros(33_333);
const SOUND_INTERVAL: Duration = Duration::from_millis(20);
/// Datagrams that are kept to be looked at or sent again.
const SENT_MAX: usize = 64;
/// The number under which both kinds of peer register the dependency descriptor, where Chromium does.
const DEPENDENCY_ID: u8 = 12;

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
}

impl Default for Publishing {
    /// VP8 and sound, one layer.
    fn default() -> Self {
        Self {
            video: Some(Codec::Vp8),
            rids: Vec::new(),
            audio: true,
            picture_packets: 2,
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

    /// A camera with three simulcast layers.
    pub fn simulcast(codec: Codec) -> Self {
        Self {
            video: Some(codec),
            rids: vec!["q", "h", "f"],
            ..Self::default()
        }
    }
}

/// How a viewer watches.
#[derive(Clone, Debug)]
pub struct Watching {
    /// What it wants.
    pub selection: Selection,
    /// The codecs it can decode.
    pub codecs: Vec<Codec>,
    /// Whether the viewer offers (WHEP) or waits for the offer of the server.
    pub offers: bool,
}

impl Default for Watching {
    /// Everything that is there, offered by the server.
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1],
            offers: false,
        }
    }
}

/// A datagram on a link.
#[derive(Clone, Debug)]
pub(super) struct Datagram {
    pub(super) from: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl WithLen for Datagram {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// One WebRTC peer and its network.
pub(super) struct Peer {
    pub(super) key: PeerKey,
    pub(super) shard: ShardId,
    pub(super) address: SocketAddr,
    pub(super) up: Netem<Datagram>,
    pub(super) down: Netem<Datagram>,
    pub(super) is_connected: bool,
    pub(super) received: Vec<Received>,
    pub(super) sent: VecDeque<Vec<u8>>,
    pub(super) server_ufrag: Option<String>,
    pub(super) arrived: u64,
    rtc: Rtc,
    rtc_deadline: Instant,
    pending: Option<SdpPendingOffer>,
    camera: Option<Camera>,
    requests: Vec<(Instant, Option<String>)>,
}

/// What a publisher is doing.
struct Camera {
    publishing: Publishing,
    video: Option<Mid>,
    audio: Option<Mid>,
    layers: Vec<Encoder>,
    sound: Encoder,
    next_picture: Instant,
    next_sound: Instant,
}

struct Encoder {
    rid: Option<&'static str>,
    seq_no: u64,
    timestamp: u32,
    frame: u32,
    wants_keyframe: bool,
    is_sending: bool,
}

impl Peer {
    pub(super) fn publisher(
        key: PeerKey,
        shard: ShardId,
        address: SocketAddr,
        now: Instant,
        seed: u64,
        publishing: Publishing,
    ) -> (Self, String) {
        let codecs: Vec<Codec> = publishing.video.into_iter().chain([Codec::Opus]).collect();
        let mut peer = Self::new(key, shard, address, now, &codecs);

        let mut change = peer.rtc.sdp_api();
        let audio = publishing
            .audio
            .then(|| change.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None));
        let simulcast = (!publishing.rids.is_empty()).then(|| {
            let mut simulcast = Simulcast::new();
            for rid in &publishing.rids {
                simulcast.add_send_layer(SimulcastLayer::new(rid));
            }
            simulcast
        });
        let video = publishing.video.map(|_| {
            change.add_media(MediaKind::Video, Direction::SendOnly, None, None, simulcast)
        });
        let (offer, pending) = change.apply().expect("media was added");
        peer.pending = Some(pending);

        // Every encoder starts somewhere else, as real ones do.
        let mut random = Random::new(seed ^ key.0 << 32);
        let mut encoder = |rid| Encoder {
            rid,
            seq_no: random.bits() >> 48,
            timestamp: random.bits() as u32,
            frame: random.bits() as u32 & 0xff,
            wants_keyframe: true,
            is_sending: true,
        };
        let layers = match publishing.rids.as_slice() {
            [] => vec![encoder(None)],
            rids => rids.iter().map(|rid| encoder(Some(*rid))).collect(),
        };
        peer.camera = Some(Camera {
            publishing,
            video,
            audio,
            layers,
            sound: encoder(None),
            next_picture: now,
            next_sound: now,
        });
        peer.drain(now);
        (peer, offer.to_sdp_string())
    }

    pub(super) fn viewer(
        key: PeerKey,
        shard: ShardId,
        address: SocketAddr,
        now: Instant,
        watching: Watching,
    ) -> (Self, Option<String>) {
        let mut peer = Self::new(key, shard, address, now, &watching.codecs);
        let mut sdp = None;
        if watching.offers {
            let mut change = peer.rtc.sdp_api();
            for kind in [MediaKind::Audio, MediaKind::Video] {
                change.add_media(kind, Direction::RecvOnly, None, None, None);
            }
            let (offer, pending) = change.apply().expect("media was added");
            peer.pending = Some(pending);
            sdp = Some(offer.to_sdp_string());
        }
        peer.drain(now);
        (peer, sdp)
    }

    fn new(
        key: PeerKey,
        shard: ShardId,
        address: SocketAddr,
        now: Instant,
        codecs: &[Codec],
    ) -> Self {
        let dependency = Extension::with_serializer(dependency::URI, dependency::Serializer);
        let mut config = Rtc::builder()
            .clear_codecs()
            .set_rtp_mode(true)
            .set_extension(DEPENDENCY_ID, dependency);
        for codec in codecs {
            config = match codec {
                Codec::Opus => config.enable_opus(true, false),
                Codec::Vp8 => config.enable_vp8(true),
                Codec::Vp9 => config.enable_vp9(true),
                Codec::H264 => config.enable_h264(true),
                Codec::Av1 => config.enable_av1(true),
            };
        }
        let mut rtc = config.build(now);
        let candidate = Candidate::host(address, "udp").expect("an address and a known protocol");
        rtc.add_local_candidate(candidate);
        Self {
            key,
            shard,
            address,
            up: Netem::new(NetemConfig::new()),
            down: Netem::new(NetemConfig::new()),
            is_connected: false,
            received: Vec::new(),
            sent: VecDeque::new(),
            server_ufrag: None,
            arrived: 0,
            rtc,
            rtc_deadline: now,
            pending: None,
            camera: None,
            requests: Vec::new(),
        }
    }

    pub(super) fn handle_answer(&mut self, now: Instant, sdp: &str) {
        self.note_ufrag(sdp);
        let answer = SdpAnswer::from_sdp_string(sdp).expect("an answer that parses");
        let pending = self.pending.take().expect("an offer is open");
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        accepted.expect("an answer that fits the offer");
        self.wake(now);
    }

    pub(super) fn handle_offer(&mut self, now: Instant, sdp: &str) -> String {
        self.note_ufrag(sdp);
        let offer = SdpOffer::from_sdp_string(sdp).expect("an offer that parses");
        let answer = self
            .rtc
            .sdp_api()
            .accept_offer(offer)
            .expect("a fair offer");
        self.wake(now);
        answer.to_sdp_string()
    }

    fn note_ufrag(&mut self, sdp: &str) {
        let ufrag = sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        self.server_ufrag = ufrag.map(str::to_owned);
    }

    pub(super) fn keyframe_requests(&self) -> &[(Instant, Option<String>)] {
        &self.requests
    }

    pub(super) fn request_keyframe(&mut self, now: Instant) {
        let Some(ssrc) = self
            .received
            .iter()
            .rev()
            .find(|packet| packet.kind == Kind::Video)
            .map(|packet| packet.ssrc)
        else {
            return;
        };
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc.into()) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.wake(now);
    }

    pub(super) fn set_sending(&mut self, rid: Option<&str>, is_sending: bool) {
        let Some(camera) = &mut self.camera else {
            return;
        };
        for layer in &mut camera.layers {
            if rid.is_none() || layer.rid == rid {
                // An encoder that was off starts anew.
                layer.wants_keyframe |= is_sending && !layer.is_sending;
                layer.is_sending = is_sending;
            }
        }
    }

    pub(super) fn send_down(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>) {
        let datagram = Datagram { from, bytes };
        self.down.handle_input(LinkInput::Packet(now, datagram));
    }

    pub(super) fn poll_arrival_at_shard(&mut self, now: Instant) -> Option<Datagram> {
        poll_link(&mut self.up, now)
    }

    pub(super) fn poll_arrival_at_peer(&mut self, now: Instant) -> Option<Datagram> {
        poll_link(&mut self.down, now)
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let links = self.up.poll_timeout().min(self.down.poll_timeout());
        let media = match &self.camera {
            Some(camera) if self.is_connected => camera.next_picture.min(camera.next_sound),
            _ => self.rtc_deadline,
        };
        links.min(self.rtc_deadline).min(media)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.shoot(now);
        if self.rtc_deadline <= now {
            self.wake(now);
        }
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        self.arrived += 1;
        let Ok(receive) = Receive::new(Protocol::Udp, from, self.address, bytes) else {
            return;
        };
        let handled = self.rtc.handle_input(Input::Receive(now, receive));
        handled.expect("a shard sends nothing that a peer refuses");
        self.drain(now);
        self.wake(now);
    }

    fn wake(&mut self, now: Instant) {
        let handled = self.rtc.handle_input(Input::Timeout(now));
        handled.expect("time passes");
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output().expect("a peer in good health") {
                Output::Timeout(at) => {
                    self.rtc_deadline = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    let bytes = transmit.contents.to_vec();
                    if self.sent.len() == SENT_MAX {
                        self.sent.pop_front();
                    }
                    self.sent.push_back(bytes.clone());
                    let from = self.address;
                    let datagram = Datagram { from, bytes };
                    self.up.handle_input(LinkInput::Packet(now, datagram));
                }
                Output::Event(event) => self.handle_event(now, event),
            }
        }
    }

    fn handle_event(&mut self, now: Instant, event: Event) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "a peer cares for few events"
        )]
        match event {
            Event::Connected => {
                self.is_connected = true;
                if let Some(camera) = &mut self.camera {
                    camera.next_picture = now;
                    camera.next_sound = now;
                }
            }
            Event::KeyframeRequest(request) => {
                let rid = request.rid.map(|rid| rid.to_string());
                if let Some(camera) = &mut self.camera {
                    for layer in &mut camera.layers {
                        layer.wants_keyframe |= layer.rid == rid.as_deref();
                    }
                }
                self.requests.push((now, rid));
            }
            Event::RtpPacket(packet) => self.note(now, &packet),
            _ => {}
        }
    }

    fn note(&mut self, now: Instant, packet: &RtpPacket) {
        let pt = packet.header.payload_type;
        let spec = self
            .rtc
            .codec_config()
            .iter()
            .find(|params| params.pt() == pt)
            .map(|params| params.spec().codec);
        let Some(codec) = spec.and_then(ours) else {
            return;
        };
        let values = &packet.header.ext_vals.user_values;
        let dependency = values.get::<dependency::Descriptor>();
        let bytes = dependency.map(dependency::Descriptor::bytes);
        let picture = match codec::inspect(codec, &packet.payload, bytes).numbering {
            Numbering::Vp8(descriptor) => descriptor.picture_id(),
            Numbering::Vp9(descriptor) => descriptor.picture_id(),
            Numbering::Absent => dependency.map(dependency::Descriptor::frame_number),
        };
        self.received.push(Received {
            at: now,
            kind: if codec == Codec::Opus {
                Kind::Audio
            } else {
                Kind::Video
            },
            ssrc: *packet.header.ssrc,
            seq_no: packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            codec,
            picture,
            tag: Tag::read(&packet.payload),
        });
    }

    /// Sends the pictures and the sound that are due.
    fn shoot(&mut self, now: Instant) {
        let Some(camera) = &mut self.camera else {
            return;
        };
        if !self.is_connected {
            return;
        }
        let mut has_sent = false;
        while camera.next_picture <= now {
            if let Some(mid) = camera.video
                && let Some(codec) = camera.publishing.video
            {
                let parts = camera.publishing.picture_packets;
                for (index, layer) in camera.layers.iter_mut().enumerate() {
                    layer.shoot(
                        &mut self.rtc,
                        now,
                        self.key,
                        (mid, codec),
                        index as u8,
                        parts,
                    );
                }
                has_sent = true;
            }
            camera.next_picture += PICTURE_INTERVAL;
        }
        while camera.next_sound <= now {
            if let Some(mid) = camera.audio {
                let media = (mid, Codec::Opus);
                camera
                    .sound
                    .shoot(&mut self.rtc, now, self.key, media, 0, 1);
                has_sent = true;
            }
            camera.next_sound += SOUND_INTERVAL;
        }
        if has_sent {
            self.wake(now);
        }
    }
}

impl Encoder {
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
        let size = (320 << layer, 180 << layer);
        for part in 0..parts {
            let tag = Tag {
                publisher: publisher.0 as u16,
                layer,
                frame: self.frame,
                part,
                parts,
                keyframe,
            };
            let mut values = ExtensionValues::default();
            if codec == Codec::Av1 {
                values.user_values.set(descriptor(tag));
            }
            let write = RtpWrite::new(
                pt,
                self.seq_no.into(),
                self.timestamp,
                now,
                payload(codec, tag, size),
            )
            .marker(part + 1 == parts && !is_sound)
            .ext_vals(values)
            .nackable(!is_sound);
            stream.write_rtp(write);
            self.seq_no += 1;
        }
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

fn ours(codec: format::Codec) -> Option<Codec> {
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

fn poll_link(link: &mut Netem<Datagram>, now: Instant) -> Option<Datagram> {
    link.handle_input(LinkInput::Timeout(now));
    loop {
        match link.poll_output()? {
            LinkOutput::Packet(datagram) => return Some(datagram),
            LinkOutput::Timeout(_) => {}
        }
    }
}
