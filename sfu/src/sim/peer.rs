//! Scripted peers: whole str0m sessions, one with a camera, one that writes down what it gets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, RtpPacket};
use str0m::{Candidate, Event, Input, Output, Rtc};
use str0m_netem::{Input as LinkInput, Netem, NetemConfig, Output as LinkOutput, WithLen};

use super::camera::{Camera, Change, Publishing, ours};
use super::media::{Received, Tag};
use crate::event::{Codec, Kind, Selection};
use crate::forward::codec::{self, Numbering};
use crate::forward::dependency;
use crate::id::{PeerKey, ShardId};

/// Datagrams that are kept to be looked at or sent again.
const SENT_MAX: usize = 64;
/// The number under which both kinds of peer register the dependency descriptor, where Chromium does.
const DEPENDENCY_ID: u8 = 12;

/// How a viewer watches.
#[derive(Clone, Debug)]
pub struct Watching {
    /// What it wants.
    pub selection: Selection,
    /// The codecs it can decode.
    pub codecs: Vec<Codec>,
    /// Whether the viewer offers (WHEP) or waits for the offer of the server.
    pub offers: bool,
    /// Whether it takes sound as RED.
    pub red: bool,
}

impl Default for Watching {
    /// Everything that is there, offered by the server.
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1],
            offers: false,
            red: false,
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
    /// What its shard sent it, when that is written down.
    pub(super) recorded: Option<Vec<Vec<u8>>>,
    rtc: Rtc,
    rtc_deadline: Instant,
    pending: Option<SdpPendingOffer>,
    /// The last answer of the server, which the fragment of an ICE restart amends.
    answer: String,
    camera: Option<Camera>,
    requests: Vec<(Instant, Option<String>)>,
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
        let mut peer = Self::new(key, shard, address, now, &codecs, publishing.red);

        let mut camera = Camera::new(key, now, seed, publishing);
        let mut change = peer.rtc.sdp_api();
        camera.add_media(&mut change);
        let (offer, pending) = change.apply().expect("media was added");
        peer.pending = Some(pending);
        peer.camera = Some(camera);
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
        let mut peer = Self::new(key, shard, address, now, &watching.codecs, watching.red);
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
        red: bool,
    ) -> Self {
        let dependency = Extension::with_serializer(dependency::URI, dependency::Serializer);
        let mut config = Rtc::builder()
            .clear_codecs()
            .set_rtp_mode(true)
            .set_extension(DEPENDENCY_ID, dependency);
        for codec in codecs {
            config = match codec {
                Codec::Opus => config.enable_opus(true, red),
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
            recorded: None,
            rtc,
            rtc_deadline: now,
            pending: None,
            answer: String::new(),
            camera: None,
            requests: Vec::new(),
        }
    }

    pub(super) fn handle_answer(&mut self, now: Instant, sdp: &str) {
        self.note_ufrag(sdp);
        sdp.clone_into(&mut self.answer);
        let answer = SdpAnswer::from_sdp_string(sdp).expect("an answer that parses");
        let pending = self.pending.take().expect("an offer is open");
        let accepted = self.rtc.sdp_api().accept_answer(pending, answer);
        accepted.expect("an answer that fits the offer");
        self.wake(now);
    }

    /// Offers again, with something changed.
    pub(super) fn offer_again(&mut self, changes: &[Change]) -> String {
        let mut api = self.rtc.sdp_api();
        for change in changes {
            match &mut self.camera {
                Some(camera) => camera.change(&mut api, *change),
                None => drop(api.ice_restart(true)),
            }
        }
        let (offer, pending) = api.apply().expect("something changes");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }

    /// Restarts ICE as WHIP and WHEP clients do: gives the fragment to send.
    pub(super) fn restart_ice(&mut self) -> String {
        let offer = self.offer_again(&[Change::RestartIce]);
        let is_wanted =
            |line: &&str| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:");
        let lines = offer.lines().filter(is_wanted);
        lines.map(|line| format!("{line}\r\n")).collect()
    }

    /// The fragment that answers a restart stands for an answer with other credentials and candidates.
    pub(super) fn handle_patched(&mut self, now: Instant, fragment: &str) {
        let line = |name| fragment.lines().find(|line| line.starts_with(name));
        let mut answer = String::new();
        for known in self.answer.clone().lines() {
            let name = ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"]
                .into_iter()
                .find(|name| known.starts_with(name));
            let line = name.and_then(line).unwrap_or(known);
            answer += &format!("{line}\r\n");
        }
        self.handle_answer(now, &answer);
    }

    /// Goes on from another address.
    pub(super) fn rehome(&mut self, address: SocketAddr) {
        self.address = address;
        let candidate = Candidate::host(address, "udp").expect("an address and a known protocol");
        self.rtc.add_local_candidate(candidate);
    }

    pub(super) fn sounds(&self) -> &[Vec<u8>] {
        self.camera.as_ref().map_or(&[], Camera::sounds)
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
        if let Some(camera) = &mut self.camera {
            camera.set_sending(rid, is_sending);
        }
    }

    pub(super) fn set_spatial(&mut self, layers: u8) {
        if let Some(camera) = &mut self.camera {
            camera.set_spatial(layers);
        }
    }

    pub(super) fn send_down(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(bytes.clone());
        }
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
            Some(camera) if self.is_connected => camera.next_deadline(),
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
                    camera.start(now);
                }
            }
            Event::KeyframeRequest(request) => {
                let rid = request.rid.map(|rid| rid.to_string());
                if let Some(camera) = &mut self.camera {
                    camera.handle_keyframe_request(request.mid, rid.as_deref());
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
            .find(|params| params.pt() == pt || params.red() == Some(pt))
            .map(|params| (params.spec().codec, params.red() == Some(pt)));
        let Some((codec, is_red)) = spec.and_then(|(codec, red)| Some((ours(codec)?, red))) else {
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
            payload: packet.payload.clone(),
            is_red,
            captured: captured(packet),
            tag: Tag::read(&packet.payload),
        });
    }

    /// Sends the pictures and the sound that are due.
    fn shoot(&mut self, now: Instant) {
        if !self.is_connected {
            return;
        }
        let Some(camera) = &mut self.camera else {
            return;
        };
        if camera.shoot(&mut self.rtc, now) {
            self.wake(now);
        }
    }
}

/// What the last sender report of a packet's SSRC makes of its RTP timestamp.
fn captured(packet: &RtpPacket) -> Option<SystemTime> {
    let report = packet.last_sender_info?;
    let since = packet
        .header
        .timestamp
        .wrapping_sub(report.rtp_time.numer() as u32);
    let rate = f64::from(packet.time.frequency().get());
    let seconds = f64::from(since.cast_signed()) / rate;
    let passed = Duration::from_secs_f64(seconds.abs());
    match seconds < 0.0 {
        true => report.ntp_time.checked_sub(passed),
        false => report.ntp_time.checked_add(passed),
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
