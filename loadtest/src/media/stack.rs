//! The WebRTC of one peer, without sockets and clocks: on str0m, or on the `rtc` crate of webrtc-rs.
//!
//! The server is on str0m too, so a fault that str0m has on both sides cancels out; webrtc-rs shares nothing with it. Both are
//! driven alike: datagrams and the time go in, datagrams, events and the next moment to be woken come out.

mod str0m;
mod webrtc_rs;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::camera::Packet;
use super::dtls::Identity;
use super::plan::Streams;

/// Which WebRTC a peer runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// str0m: for as many peers as the machine takes.
    #[default]
    #[value(name = "str0m")]
    Str0m,
    /// The sans-IO core of webrtc-rs: independent of the server's, for tens of peers.
    #[value(name = "webrtc-rs")]
    WebrtcRs,
}

/// Which WebRTC the peers of a run have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Engines {
    /// Those that publish.
    pub publish: Engine,
    /// Those that watch.
    pub watch: Engine,
}

/// What a peer offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    /// Where its socket is.
    pub(super) local: SocketAddr,
    /// Whether it sends; otherwise it receives.
    pub(super) sends: bool,
    pub(super) streams: &'a Streams,
}

/// The connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What a stack wants done, or has to tell.
pub(super) enum Output {
    /// Nothing more until then, or until a datagram comes.
    Wait(Instant),
    /// A datagram to be sent.
    Send(SocketAddr, Vec<u8>),
    Event(Event),
}

/// What happened.
pub(super) enum Event {
    /// There is a path that was checked.
    Checked,
    /// There are keys: media can go.
    Connected,
    /// The path or the other side is gone.
    Disconnected,
    /// The other side needs a keyframe, of the layer with this name where there are several.
    KeyframeRequest(Option<String>),
    Packet(Received),
}

/// A packet that came.
pub(super) struct Received {
    /// Of the sender of this SSRC.
    pub(super) ssrc: u32,
    pub(super) payload: Arc<[u8]>,
    /// Its header's time of capture.
    pub(super) captured: Option<SystemTime>,
}

/// The header extension for the time of capture.
const CAPTURE_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// What H264 is offered as: only what is sent, Constrained Baseline, level 3.1, in fragments.
const H264_PT: u8 = 108;
const H264_RTX_PT: u8 = 109;
const H264_PROFILE: u32 = 0x42_e0_1f;

/// One connection.
pub(super) enum Stack {
    Str0m(Box<str0m::Connection>),
    WebrtcRs(Box<webrtc_rs::Connection>),
}

impl Stack {
    /// Makes an offer.
    pub(super) fn offer(
        engine: Engine,
        identity: &Identity,
        wish: Wish<'_>,
        now: Instant,
    ) -> anyhow::Result<(Self, String)> {
        Ok(match engine {
            Engine::Str0m => {
                let (connection, sdp) = str0m::Connection::offer(identity, wish, now)?;
                (Self::Str0m(Box::new(connection)), sdp)
            }
            Engine::WebrtcRs => {
                let (connection, sdp) = webrtc_rs::Connection::offer(wish, now)?;
                (Self::WebrtcRs(Box::new(connection)), sdp)
            }
        })
    }

    /// Takes the answer to it.
    pub(super) fn answer(&mut self, sdp: &str, now: Instant) -> anyhow::Result<()> {
        match self {
            Self::Str0m(connection) => connection.answer(sdp),
            Self::WebrtcRs(connection) => connection.answer(sdp, now),
        }
    }

    /// Takes a datagram; tells whether it was one of WebRTC.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<bool, Broken> {
        match self {
            Self::Str0m(connection) => connection.receive(now, source, bytes),
            Self::WebrtcRs(connection) => connection.receive(now, source, bytes),
        }
    }

    /// Does what is due.
    pub(super) fn wake(&mut self, now: Instant) -> Result<(), Broken> {
        match self {
            Self::Str0m(connection) => connection.wake(now),
            Self::WebrtcRs(connection) => connection.wake(now),
        }
    }

    /// What is to be done next; to be asked until it wants to wait.
    pub(super) fn poll(&mut self, now: Instant) -> Result<Output, Broken> {
        match self {
            Self::Str0m(connection) => connection.poll(),
            Self::WebrtcRs(connection) => Ok(connection.poll(now)),
        }
    }

    /// Sends a packet, with its time of capture where it has one; tells whether the other side takes packets of its kind.
    pub(super) fn write(
        &mut self,
        now: Instant,
        packet: Packet,
        captured: Option<SystemTime>,
    ) -> bool {
        match self {
            Self::Str0m(connection) => connection.write(now, packet, captured),
            Self::WebrtcRs(connection) => connection.write(now, packet, captured),
        }
    }

    /// Asks the sender with this SSRC for a keyframe; tells whether it could.
    pub(super) fn request_keyframe(&mut self, now: Instant, ssrc: u32) -> bool {
        match self {
            Self::Str0m(connection) => connection.request_keyframe(ssrc),
            Self::WebrtcRs(connection) => connection.request_keyframe(now, ssrc),
        }
    }

    /// Ends the connection.
    pub(super) fn disconnect(&mut self) {
        match self {
            Self::Str0m(connection) => connection.disconnect(),
            Self::WebrtcRs(connection) => connection.disconnect(),
        }
    }
}
