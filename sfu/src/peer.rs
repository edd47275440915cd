//! Hot path. One WebRTC connection: a str0m `Rtc` and the mutate-then-drain loop around it.
//!
//! Outside of this file and `peer/` nothing touches an `Rtc`. Each method that changes it drains it before it returns,
//! so that str0m's contract (one mutation, then all output) cannot be broken from outside; only asking for a keyframe is
//! followed by [`Peer::flush`] once per turn.
//!
//! A viewer's `Rtc` does ICE, DTLS and the session description. Its media and RTCP are [`crate::egress`]'s.

mod negotiation;
mod sdp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::format::PayloadParams;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Input, Rtc};

use crate::config::{Config, WallClock};
use crate::datagrams::Datagrams;
use crate::demux::{self, Claims};
use crate::egress::{self, Feedback, Nack};
use crate::id::{PeerKey, StreamId};
use crate::publisher::{Publisher, Route};
use crate::stats::Snapshot;
use crate::subscriber::Subscriber;
use crate::timer::Scheduled;

use negotiation::Negotiation;
pub(crate) use negotiation::Offered;

/// One connection and the half of it that is used.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) stream: StreamId,
    pub(crate) role: Role,
    pub(crate) claims: Claims,
    pub(crate) scheduled: Scheduled,
    /// Something is to be sent that the end of the turn must flush.
    pub(crate) is_dirty: bool,
    rtc: Rtc,
    negotiation: Negotiation,
    rtc_deadline: Instant,
    liveness: Liveness,
    /// NACKed packets by line and layer, when last looked at.
    nacks: SmallVec<[(Mid, Option<Rid>, u64); 2]>,
    has_ended: bool,
    /// A negotiation failed half-way.
    pub(crate) is_beyond_repair: bool,
}

/// Which half is used.
#[expect(
    clippy::large_enum_variant,
    reason = "a session is many times as large, and a box would cost a cache miss a packet"
)]
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Publisher),
    Viewer(Subscriber),
}

/// What a peer's drain leads to, besides datagrams.
#[derive(Debug)]
pub(crate) enum Event {
    /// ICE and DTLS are up, or a silent peer is back.
    Connected,
    /// The remote side closed the connection.
    Closed,
    /// The connection cannot go on.
    Failed,
    /// A check from this address was answered.
    Verified(SocketAddr),
    /// Media of a known route.
    Packet(Route, RtpPacket),
    /// Media of an SSRC or payload type whose route is to be found.
    Unrouted(Unrouted),
    /// A viewer needs a keyframe on a line.
    KeyframeRequest(Mid),
    /// A viewer lacks packets of an SSRC.
    Nack(Ssrc, Nack),
}

/// A packet whose track and layer are to be looked up.
#[derive(Debug)]
pub(crate) struct Unrouted {
    pub(crate) mid: Mid,
    pub(crate) rid: Option<Rid>,
    pub(crate) params: PayloadParams,
    pub(crate) packet: RtpPacket,
}

/// Where a peer's output goes.
pub(crate) struct Sink<'a> {
    pub(crate) datagrams: &'a mut Datagrams,
    pub(crate) wall: WallClock,
    pub(crate) events: &'a mut Vec<Event>,
    pub(crate) stats: &'a mut Snapshot,
}

/// When a peer was last heard, and what follows from it.
#[derive(Debug)]
struct Liveness {
    state: State,
    since: Instant,
    /// Anything authentic.
    heard: Instant,
    /// Media.
    heard_media: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Up,
    Silent,
}

/// What a look at the clock found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lapse {
    Silent,
    TimedOut,
}

impl Peer {
    fn new(
        now: Instant,
        key: PeerKey,
        stream: StreamId,
        role: Role,
        rtc: Rtc,
        negotiation: Negotiation,
    ) -> Self {
        Self {
            key,
            stream,
            role,
            claims: Claims::default(),
            scheduled: Scheduled::default(),
            is_dirty: false,
            rtc,
            negotiation,
            rtc_deadline: now,
            liveness: Liveness {
                state: State::Connecting,
                since: now,
                heard: now,
                heard_media: now,
            },
            nacks: SmallVec::new(),
            has_ended: false,
            is_beyond_repair: false,
        }
    }

    /// Takes a datagram that the demultiplexer found to be this peer's.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
        sink: &mut Sink<'_>,
    ) {
        let is_media = demux::protocol(datagram) == Some(demux::Protocol::Rtp);
        if is_media && let Role::Viewer(_) = self.role {
            self.receive_from_viewer(now, datagram, sink);
            return;
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, destination, datagram) else {
            sink.stats.packets_dropped.malformed += 1;
            return;
        };
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, receive)) {
            // Forged records from the right address come to this too: what cannot go on shows in `is_alive`.
            tracing::debug!(peer = self.key.0, %error, "a datagram was not accepted");
        }
        self.drain(now, sink);
    }

    /// Takes RTCP of a viewer, which str0m does not see. RTP is not expected of one.
    fn receive_from_viewer(&mut self, now: Instant, datagram: &[u8], sink: &mut Sink<'_>) {
        let Role::Viewer(subscriber) = &mut self.role else {
            return;
        };
        if !egress::is_rtcp(datagram) {
            sink.stats.packets_dropped.unknown += 1;
            return;
        }
        let mut feedback: SmallVec<[Feedback; 8]> = SmallVec::new();
        let is_authentic = subscriber
            .link
            .read_feedback(datagram, |item| feedback.push(item));
        if !is_authentic {
            sink.stats.packets_dropped.malformed += 1;
            return;
        }
        for item in feedback {
            match item {
                Feedback::Known(ssrc) => subscriber.handle_known(ssrc),
                Feedback::Keyframe(ssrc) => {
                    let mid = subscriber.mid_of(ssrc);
                    sink.events.extend(mid.map(Event::KeyframeRequest));
                }
                Feedback::Nack(ssrc, nack) => {
                    sink.stats.nacks.received += u64::from(nack.count());
                    sink.events.push(Event::Nack(ssrc, nack));
                }
            }
        }
        self.hear(now, sink);
    }

    /// Lets time pass: what is due is sent.
    pub(crate) fn flush(&mut self, now: Instant, sink: &mut Sink<'_>) {
        self.is_dirty = false;
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            tracing::debug!(peer = self.key.0, %error, "time brought an error");
        }
        self.drain(now, sink);
        if let Role::Viewer(subscriber) = &mut self.role
            && subscriber.link.is_report_due(now)
        {
            subscriber.report(now, sink.wall, false, sink.datagrams);
        }
    }

    /// Says goodbye: RTCP BYE and DTLS close_notify.
    pub(crate) fn close(&mut self, now: Instant, sink: &mut Sink<'_>) {
        self.has_ended = true;
        if let Role::Viewer(subscriber) = &mut self.role {
            subscriber.report(now, sink.wall, true, sink.datagrams);
        }
        if self.rtc.close().is_ok() {
            self.drain(now, sink);
        }
    }

    /// Asks the publisher for a keyframe of a layer. False when nothing has arrived on it that could be asked.
    pub(crate) fn request_keyframe(&mut self, mid: Mid, rid: Option<&str>) -> bool {
        let mut api = self.rtc.direct_api();
        let rid = rid.map(Rid::from);
        let Some(stream) = api.stream_rx_by_mid(mid, rid) else {
            return false;
        };
        stream.request_keyframe(KeyframeRequestKind::Pli);
        true
    }

    /// When this peer needs attention.
    pub(crate) fn deadline(&self, config: &Config) -> Instant {
        self.acts_at().min(self.lapses_at(config).0)
    }

    /// Whether something is to be sent.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.acts_at() <= now
    }

    /// When str0m or a report is due.
    fn acts_at(&self) -> Instant {
        let reports_at = match &self.role {
            Role::Viewer(subscriber) => subscriber.link.reports_at(),
            Role::Publisher(_) => None,
        };
        reports_at.map_or(self.rtc_deadline, |at| at.min(self.rtc_deadline))
    }

    /// Looks whether the peer has been unheard for too long.
    pub(crate) fn check_liveness(&mut self, now: Instant, config: &Config) -> Option<Lapse> {
        let (at, lapse) = self.lapses_at(config);
        if now < at {
            return None;
        }
        if lapse == Lapse::Silent {
            self.liveness.state = State::Silent;
        }
        Some(lapse)
    }

    /// Whether anything authentic was heard within the time.
    pub(crate) fn was_heard_within(&self, now: Instant, time: Duration) -> bool {
        now.saturating_duration_since(self.liveness.heard) < time
    }

    fn lapses_at(&self, config: &Config) -> (Instant, Lapse) {
        let liveness = &self.liveness;
        let times_out = (liveness.heard + config.disconnect_timeout, Lapse::TimedOut);
        match (liveness.state, &self.role) {
            (State::Connecting, _) => (liveness.since + config.connect_timeout, Lapse::TimedOut),
            (State::Silent, _) | (State::Up, Role::Viewer(_)) => times_out,
            (State::Up, Role::Publisher(_)) => {
                // Who is heard while no media comes has muted everything, and then checks (every 2.5 s) are all there
                // is to hear.
                let is_muted = liveness.heard_media + config.silence < liveness.heard;
                let patience = config.silence * if is_muted { 3 } else { 1 };
                (liveness.heard + patience, Lapse::Silent).min(times_out)
            }
        }
    }

    fn hear(&mut self, now: Instant, sink: &mut Sink<'_>) {
        self.liveness.heard = now;
        if self.liveness.state == State::Silent {
            self.liveness.state = State::Up;
            sink.events.push(Event::Connected);
        }
    }

    fn drain(&mut self, now: Instant, sink: &mut Sink<'_>) {
        loop {
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    self.rtc_deadline = at;
                    break;
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let (source, destination) = (transmit.source, transmit.destination);
                    if is_stun_success(&transmit.contents) {
                        self.hear(now, sink);
                        sink.events.push(Event::Verified(destination));
                        self.find_path(destination);
                    }
                    if self.may_leave(source, destination, &transmit.contents) {
                        sink.datagrams.push(source, destination, &transmit.contents);
                    }
                }
                Ok(str0m::Output::Event(event)) => self.handle_event(now, event, sink),
                Err(error) => {
                    tracing::debug!(peer = self.key.0, %error, "the connection failed");
                    self.end(Event::Failed, sink);
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.end(Event::Failed, sink);
        }
    }

    /// Whether a datagram of str0m's may leave. SRTP and SRTCP for a viewer may not: that would be sealed with the keys that
    /// [`crate::egress`] uses, on the same SSRCs. What is not STUN shows where ICE wants packets sent.
    fn may_leave(&mut self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) -> bool {
        let Role::Viewer(subscriber) = &mut self.role else {
            return true;
        };
        let protocol = demux::protocol(contents);
        if protocol != Some(demux::Protocol::Stun) {
            subscriber.link.set_path(source, destination);
        }
        protocol != Some(demux::Protocol::Rtp)
    }

    /// A check from an address that no packets go to was answered: has ICE nominated it? str0m tells by where it would
    /// send a report, which does not leave.
    fn find_path(&mut self, verified: SocketAddr) {
        if let Role::Viewer(subscriber) = &self.role
            && subscriber.link.leads_elsewhere(verified)
        {
            let ssrc = Ssrc::from(1);
            self.rtc.direct_api().send_pli_feedback(ssrc, ssrc);
        }
    }

    /// Reports the end once; the first reason is the true one.
    fn end(&mut self, event: Event, sink: &mut Sink<'_>) {
        if !self.has_ended {
            self.has_ended = true;
            sink.events.push(event);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what str0m tells is of no use here, and it may tell more"
    )]
    fn handle_event(&mut self, now: Instant, event: str0m::Event, sink: &mut Sink<'_>) {
        match event {
            str0m::Event::Connected => {
                self.liveness.state = State::Up;
                self.liveness.heard = now;
                self.liveness.heard_media = now;
                sink.events.push(Event::Connected);
            }
            str0m::Event::Closed => self.end(Event::Closed, sink),
            str0m::Event::RtpPacket(packet) => {
                self.hear(now, sink);
                self.liveness.heard_media = now;
                self.route(packet, sink);
            }
            str0m::Event::SenderFeedback(_) => self.hear(now, sink),
            str0m::Event::MediaIngressStats(stats) => {
                sink.stats.nacks.sent += self.new_nacks(stats.mid, stats.rid, stats.nacks);
                if let Role::Publisher(publisher) = &mut self.role {
                    let link = &mut publisher.link;
                    link.rtt = stats.rtt.or(link.rtt);
                    link.loss = stats.loss.unwrap_or(link.loss);
                }
            }
            _ => {}
        }
    }

    /// How much a cumulative count of one line and layer has grown since it was last looked at.
    fn new_nacks(&mut self, mid: Mid, rid: Option<Rid>, nacks: u64) -> u64 {
        let known = self.nacks.iter_mut().find(|n| (n.0, n.1) == (mid, rid));
        let Some((_, _, before)) = known else {
            self.nacks.push((mid, rid, nacks));
            return nacks;
        };
        let new = nacks.saturating_sub(*before);
        *before = nacks;
        new
    }

    fn route(&mut self, packet: RtpPacket, sink: &mut Sink<'_>) {
        let Role::Publisher(publisher) = &mut self.role else {
            sink.stats.packets_dropped.unknown += 1;
            return;
        };
        let header = &packet.header;
        if let Some(route) = publisher.route(header.ssrc, header.payload_type, *packet.seq_no) {
            sink.events.push(Event::Packet(route, packet));
            return;
        }
        let (ssrc, pt) = (header.ssrc, header.payload_type);
        let params = self
            .rtc
            .codec_config()
            .find(|params| params.pt() == pt || params.red() == Some(pt))
            .copied();
        let mut api = self.rtc.direct_api();
        let line = api
            .stream_rx(&ssrc)
            .map(|stream| (stream.mid(), stream.rid()));
        let (Some(params), Some((mid, rid))) = (params, line) else {
            sink.stats.packets_dropped.unknown += 1;
            return;
        };
        sink.events.push(Event::Unrouted(Unrouted {
            mid,
            rid,
            params,
            packet,
        }));
    }
}

/// A binding success response (RFC 8489 section 5).
fn is_stun_success(datagram: &[u8]) -> bool {
    datagram.starts_with(&[0x01, 0x01])
}
