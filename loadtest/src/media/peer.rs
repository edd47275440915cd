//! One WebRTC peer on str0m: a camera or a viewer, its socket, and how far its join has come.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mio::net::UdpSocket;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{
    Direction, KeyframeRequestKind, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{AbsCaptureTime, Extension, ExtensionValues, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};

use super::camera::{Camera, Counts, Packet};
use super::dtls::Identity;
use super::impair::{Datagram, Link};
use super::ledger::Ledger;
use super::plan::{LAYERS_MAX, Source, Streams, VideoCodec};
use super::tag::{Kind, Tag};
use super::tally::Tally;
use super::watch::{Sent, Watch};
use crate::measure::record;

/// How long a peer may take from its offer to its first whole keyframe.
const PATIENCE: Duration = Duration::from_secs(20);

/// The extension's number in our offers, and what H264 is offered as.
const CAPTURE_ID: u8 = 7;
const H264_PT: u8 = 108;
const H264_RTX_PT: u8 = 109;
const H264_PROFILE: u32 = 0x42_e0_1f;

/// What a publisher has sent so far, for the threads of its viewers.
#[derive(Debug)]
pub(super) struct Live {
    /// Where packets have stamps.
    ledger: Ledger,
    video: [AtomicU32; LAYERS_MAX],
    frames: [AtomicU32; LAYERS_MAX],
    audio: AtomicU32,
    last_us: AtomicU64,
}

impl Live {
    /// Nothing yet, in a run that began at `start`.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            ledger: Ledger::new(start),
            video: Default::default(),
            frames: Default::default(),
            audio: AtomicU32::default(),
            last_us: AtomicU64::default(),
        }
    }

    fn note(&self, camera: &Camera, now: Duration) {
        let counts = camera.sent();
        let before = self.sent().counts.frames;
        for (mine, theirs) in self.video.iter().zip(counts.video) {
            mine.store(theirs, Ordering::Relaxed);
        }
        for (mine, theirs) in self.frames.iter().zip(counts.frames) {
            mine.store(theirs, Ordering::Relaxed);
        }
        self.audio.store(counts.audio, Ordering::Relaxed);
        if before != counts.frames {
            let us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            self.last_us.store(us, Ordering::Relaxed);
        }
    }

    pub(super) fn sent(&self) -> Sent {
        let read = |counts: &[AtomicU32; LAYERS_MAX]| {
            std::array::from_fn(|layer| counts[layer].load(Ordering::Relaxed))
        };
        Sent {
            counts: Counts {
                video: read(&self.video),
                frames: read(&self.frames),
                audio: self.audio.load(Ordering::Relaxed),
            },
            last: Duration::from_micros(self.last_us.load(Ordering::Relaxed)),
        }
    }
}

/// What a peer does once it is there.
pub(super) enum Role {
    /// Publishes; the camera begins when the peer is connected.
    Publisher {
        camera: Box<dyn FnOnce(Duration) -> Camera + Send>,
        live: Arc<Live>,
    },
    /// Watches.
    Viewer {
        watch: Box<Watch>,
        live: Arc<Live>,
        /// Its bad network, where it has one.
        link: Option<Box<Link>>,
    },
}

enum Part {
    Waiting(Box<dyn FnOnce(Duration) -> Camera + Send>, Arc<Live>),
    Publishing(Box<Camera>, Arc<Live>),
    Stopped,
    Watching(Box<Watch>, Arc<Live>),
}

/// A peer that has made its offer.
pub(super) struct Offering {
    rtc: Rtc,
    socket: std::net::UdpSocket,
    local: SocketAddr,
    pending: SdpPendingOffer,
    video: Mid,
    audio: Option<Mid>,
    codec: Codec,
    began: Instant,
    /// The offer.
    pub(super) sdp: String,
}

impl Offering {
    pub(super) fn new(
        identity: &Identity,
        ip: IpAddr,
        direction: Direction,
        streams: &Streams,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        let mut config = Rtc::builder()
            .set_crypto_provider(identity.crypto.clone())
            .set_dtls_cert(identity.certificate.clone())
            .clear_codecs()
            .enable_opus(true, false)
            .set_rtp_mode(true);
        let codec = match streams.codec {
            VideoCodec::Vp8 => {
                config = config.enable_vp8(true);
                Codec::Vp8
            }
            VideoCodec::H264 => {
                // Only what is sent: Constrained Baseline, level 3.1, in fragments.
                let codecs = config.codec_config();
                codecs.add_h264(H264_PT.into(), Some(H264_RTX_PT.into()), true, H264_PROFILE);
                Codec::H264
            }
        };
        if streams.media == Source::Samples {
            config = config.set_extension(CAPTURE_ID, Extension::AbsoluteCaptureTime);
        }
        let mut rtc = config.build(began);
        rtc.add_local_candidate(Candidate::host(local, "udp")?);
        let mut change = rtc.sdp_api();
        let audio = streams
            .audio
            .then(|| change.add_media(MediaKind::Audio, direction, None, None, None));
        let mut simulcast = Simulcast::new();
        for rid in streams.rids() {
            simulcast.add_send_layer(SimulcastLayer::new(rid));
        }
        let publishes_layers = direction == Direction::SendOnly && streams.layers > 1;
        let simulcast = publishes_layers.then_some(simulcast);
        let video = change.add_media(MediaKind::Video, direction, None, None, simulcast);
        let (offer, pending) = change
            .apply()
            .ok_or_else(|| anyhow::anyhow!("an offer without media"))?;
        Ok(Self {
            sdp: offer.to_sdp_string(),
            rtc,
            socket,
            local,
            pending,
            video,
            audio,
            codec,
            began,
        })
    }

    /// Takes the answer; none where it cannot be used.
    pub(super) fn answered(mut self, answer: &str, role: Role) -> Option<Peer> {
        let answer = SdpAnswer::from_sdp_string(answer).ok()?;
        self.rtc
            .sdp_api()
            .accept_answer(self.pending, answer)
            .ok()?;
        let now = Instant::now();
        let (part, link) = match role {
            Role::Publisher { camera, live } => (Part::Waiting(camera, live), None),
            Role::Viewer { watch, live, link } => (Part::Watching(watch, live), link),
        };
        Some(Peer {
            rtc: self.rtc,
            socket: UdpSocket::from_std(self.socket),
            local: self.local,
            video: self.video,
            audio: self.audio,
            codec: self.codec,
            part,
            link,
            rtc_due: now,
            began: self.began,
            answered: now,
            checked: None,
            connected: None,
            has_packet: false,
            state: State::Joining,
        })
    }
}

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Joining,
    /// It publishes, or has seen a keyframe.
    There,
    /// It is gone, before or after it was there.
    Gone,
}

/// A peer with an answer.
pub(super) struct Peer {
    rtc: Rtc,
    pub(super) socket: UdpSocket,
    local: SocketAddr,
    video: Mid,
    audio: Option<Mid>,
    codec: Codec,
    part: Part,
    link: Option<Box<Link>>,
    rtc_due: Instant,
    began: Instant,
    answered: Instant,
    checked: Option<Instant>,
    connected: Option<Instant>,
    has_packet: bool,
    pub(super) state: State,
}

/// What a peer needs of its thread.
pub(super) struct Desk {
    /// The moment that send times are counted from.
    pub(super) start: Instant,
    pub(super) tally: Tally,
    pub(super) buffer: Vec<u8>,
}

impl Peer {
    pub(super) fn is_viewer(&self) -> bool {
        matches!(self.part, Part::Watching(..))
    }

    /// When it wants to be woken.
    pub(super) fn due(&self, desk: &Desk) -> Instant {
        let mut due = self.rtc_due;
        if let Part::Publishing(camera, _) = &self.part {
            due = due.min(desk.start + camera.due());
        }
        if let Some(link) = &self.link {
            due = due.min(link.due());
        }
        if self.state == State::Joining {
            due = due.min(self.began + PATIENCE);
        }
        due
    }

    /// Reads what the socket has.
    pub(super) fn read(&mut self, desk: &mut Desk) {
        let mut buffer = std::mem::take(&mut desk.buffer);
        // Until there is nothing more for now, or the port that the server has closed is told: that it is gone shows by itself.
        while let Ok((bytes, source)) = self.socket.recv_from(&mut buffer) {
            let (now, bytes) = (Instant::now(), &buffer[..bytes]);
            match &mut self.link {
                Some(link) => {
                    let bytes = bytes.to_vec();
                    link.enter(now, Datagram { source, bytes });
                }
                None => self.datagram(desk, now, source, bytes),
            }
        }
        desk.buffer = buffer;
        self.wake(desk, Instant::now());
    }

    fn datagram(&mut self, desk: &mut Desk, now: Instant, source: SocketAddr, bytes: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, bytes) else {
            desk.tally.strays += 1;
            return;
        };
        if self.rtc.handle_input(Input::Receive(now, receive)).is_err() {
            self.leave(desk, "error");
            return;
        }
        self.drain(desk, now);
    }

    /// Does what is due.
    pub(super) fn wake(&mut self, desk: &mut Desk, now: Instant) {
        if self.state == State::Gone {
            return;
        }
        if self.state == State::Joining && now >= self.began + PATIENCE {
            let waited_for = match (self.checked, self.connected) {
                (None, _) => "no ICE",
                (_, None) => "no DTLS",
                _ if self.has_packet => "no keyframe",
                _ => "no packet",
            };
            self.leave(desk, waited_for);
            return;
        }
        while let Some(datagram) = self.link.as_mut().and_then(|link| link.leave(now)) {
            self.datagram(desk, now, datagram.source, &datagram.bytes);
        }
        self.shoot(desk, now);
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.leave(desk, "error");
            return;
        }
        self.drain(desk, now);
    }

    fn leave(&mut self, desk: &mut Desk, why: &str) {
        match self.state {
            State::Joining => desk.tally.fail(why),
            State::There => desk.tally.ended += 1,
            State::Gone => return,
        }
        self.state = State::Gone;
        self.rtc.disconnect();
    }

    fn drain(&mut self, desk: &mut Desk, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.rtc_due = at;
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    let sent = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                    if sent.is_err() {
                        desk.tally.unsent += 1;
                    }
                }
                Ok(Output::Event(event)) => self.note(desk, now, event),
                Err(_) => {
                    self.leave(desk, "error");
                    return;
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a peer cares for few events"
    )]
    fn note(&mut self, desk: &mut Desk, now: Instant, event: Event) {
        match event {
            Event::IceConnectionStateChange(state) => match state {
                IceConnectionState::Connected | IceConnectionState::Completed => {
                    if self.checked.is_none() {
                        self.checked = Some(now);
                        record(&mut desk.tally.http, self.answered - self.began);
                        record(&mut desk.tally.ice, now - self.answered);
                    }
                }
                IceConnectionState::Disconnected => self.leave(desk, "disconnected"),
                IceConnectionState::New | IceConnectionState::Checking => {}
            },
            Event::Connected => self.connect(desk, now),
            Event::KeyframeRequest(request) => {
                desk.tally.keyframe_requests += 1;
                if let Part::Publishing(camera, _) = &mut self.part {
                    camera.request_keyframe_of(request.rid.as_deref());
                }
            }
            Event::RtpPacket(packet) => {
                let captured = packet.header.ext_vals.abs_capture_time;
                let captured = captured.map(|time| time.capture_time);
                self.packet(desk, now, packet.header.ssrc, &packet.payload, captured);
            }
            _ => {}
        }
    }

    fn connect(&mut self, desk: &mut Desk, now: Instant) {
        self.connected = Some(now);
        let checked = self.checked.unwrap_or(self.answered);
        record(&mut desk.tally.dtls, now - checked);
        self.part = match std::mem::replace(&mut self.part, Part::Stopped) {
            Part::Waiting(camera, live) => {
                self.state = State::There;
                desk.tally.publishing += 1;
                Part::Publishing(Box::new(camera(now - desk.start)), live)
            }
            part @ (Part::Publishing(..) | Part::Stopped | Part::Watching(..)) => part,
        };
    }

    fn packet(
        &mut self,
        desk: &mut Desk,
        now: Instant,
        ssrc: Ssrc,
        payload: &[u8],
        captured: Option<SystemTime>,
    ) {
        let Part::Watching(watch, live) = &mut self.part else {
            return;
        };
        let tag = Tag::read(payload).or_else(|| live.ledger.find(captured?));
        let Some(tag) = tag else {
            desk.tally.strays += 1;
            return;
        };
        if !self.has_packet {
            self.has_packet = true;
            let connected = self.connected.unwrap_or(self.answered);
            record(&mut desk.tally.first_packet, now - connected);
        }
        if watch.packet(now - desk.start, &tag, payload.len(), &mut desk.tally) {
            self.state = State::There;
            desk.tally.watching += 1;
            record(&mut desk.tally.first_keyframe, now - self.began);
        }
        if tag.kind != Kind::Audio
            && watch.wants_keyframe(now - desk.start)
            && let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc)
        {
            desk.tally.keyframes_wanted += 1;
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
    }

    /// Sends the pictures and the sound that are due.
    fn shoot(&mut self, desk: &mut Desk, now: Instant) {
        let at = now - desk.start;
        let Part::Publishing(camera, live) = &mut self.part else {
            return;
        };
        let due = camera.due();
        if due > at {
            return;
        }
        record(&mut desk.tally.lag, at - due);
        let (rtc, tally) = (&mut self.rtc, &mut desk.tally);
        let video = pt(rtc, self.video, self.codec).map(|pt| (self.video, pt));
        let audio = self
            .audio
            .and_then(|mid| Some((mid, pt(rtc, mid, Codec::Opus)?)));
        let mut direct = rtc.direct_api();
        camera.shoot(at, |packet| {
            let line = if packet.is_audio { audio } else { video };
            let Some((mid, pt)) = line else {
                return;
            };
            let rid = packet.rid.map(Rid::from);
            let Some(stream) = direct.stream_tx_by_mid(mid, rid) else {
                return;
            };
            let Packet {
                is_audio,
                rid: _,
                seq_no,
                timestamp,
                marker,
                payload,
                starts_keyframe,
                tag,
                stamp,
            } = packet;
            let captured = stamp.map(|stamp| AbsCaptureTime {
                capture_time: live.ledger.note(stamp, tag),
                clock_offset: None,
            });
            let values = ExtensionValues {
                abs_capture_time: captured,
                ..ExtensionValues::default()
            };
            let write = RtpWrite::new(pt, seq_no.into(), timestamp, now, payload)
                .marker(marker)
                .ext_vals(values)
                .nackable(!is_audio);
            stream.write_rtp(write);
            tally.sent += 1;
            tally.keyframes += u64::from(starts_keyframe);
        });
        live.note(camera, at);
    }

    /// Publishes nothing more.
    pub(super) fn stop(&mut self) {
        if !self.is_viewer() {
            self.part = Part::Stopped;
        }
    }

    /// The run is over: what a viewer has not got by now is lost.
    pub(super) fn finish(&mut self, desk: &mut Desk) {
        if self.state == State::Joining {
            self.leave(desk, "not there at the end");
        }
        // Who never saw a keyframe is a failed join, not a loss.
        if let Part::Watching(watch, live) = &mut self.part
            && watch.has_keyframe()
        {
            watch.finish(&live.sent(), &mut desk.tally);
        }
    }
}

/// The payload type of a codec on a line, as it was negotiated.
fn pt(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let pts = rtc.media(mid)?.remote_pts();
    rtc.codec_config()
        .iter()
        .filter(|params| params.spec().codec == codec)
        .map(|params| params.pt())
        .find(|pt| pts.contains(pt))
}
