//! One WebRTC peer: a camera or a viewer, its socket, and how far its join has come.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;

use super::camera::{Camera, Counts};
use super::dtls::Identity;
use super::impair::{Datagram, Link};
use super::ledger::Ledger;
use super::plan::{LAYERS_MAX, Streams};
use super::stack::{Broken, Engine, Event, Output, Received, Stack, Wish};
use super::tag::{Kind, Tag};
use super::tally::Tally;
use super::watch::{Sent, Watch};
use crate::measure::record;

/// How long a peer may take from its offer to its first whole keyframe.
const PATIENCE: Duration = Duration::from_secs(20);

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
    stack: Stack,
    socket: std::net::UdpSocket,
    began: Instant,
    /// The offer.
    pub(super) sdp: String,
}

impl Offering {
    pub(super) fn new(
        engine: Engine,
        identity: &Identity,
        ip: IpAddr,
        sends: bool,
        streams: &Streams,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let socket = std::net::UdpSocket::bind((ip, 0))?;
        socket.set_nonblocking(true)?;
        let wish = Wish {
            local: socket.local_addr()?,
            sends,
            streams,
        };
        let (stack, sdp) = Stack::offer(engine, identity, wish, began)?;
        Ok(Self {
            stack,
            socket,
            began,
            sdp,
        })
    }

    /// Takes the answer; none where it cannot be used.
    pub(super) fn answered(mut self, answer: &str, role: Role) -> Option<Peer> {
        let now = Instant::now();
        self.stack.answer(answer, now).ok()?;
        let (part, link) = match role {
            Role::Publisher { camera, live } => (Part::Waiting(camera, live), None),
            Role::Viewer { watch, live, link } => (Part::Watching(watch, live), link),
        };
        Some(Peer {
            stack: self.stack,
            socket: UdpSocket::from_std(self.socket),
            part,
            link,
            stack_due: now,
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
    stack: Stack,
    pub(super) socket: UdpSocket,
    part: Part,
    link: Option<Box<Link>>,
    stack_due: Instant,
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
        let mut due = self.stack_due;
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
        match self.stack.receive(now, source, bytes) {
            Ok(true) => self.drain(desk, now),
            Ok(false) => desk.tally.strays += 1,
            Err(Broken) => self.leave(desk, "error"),
        }
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
        if self.stack.wake(now).is_err() {
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
        self.stack.disconnect();
    }

    fn drain(&mut self, desk: &mut Desk, now: Instant) {
        loop {
            match self.stack.poll(now) {
                Ok(Output::Wait(at)) => {
                    self.stack_due = at;
                    return;
                }
                Ok(Output::Send(to, bytes)) => {
                    if self.socket.send_to(&bytes, to).is_err() {
                        desk.tally.unsent += 1;
                    }
                }
                Ok(Output::Event(event)) => self.note(desk, now, event),
                Err(Broken) => {
                    self.leave(desk, "error");
                    return;
                }
            }
        }
    }

    fn note(&mut self, desk: &mut Desk, now: Instant, event: Event) {
        match event {
            Event::Checked => {
                if self.checked.is_none() {
                    self.checked = Some(now);
                    record(&mut desk.tally.http, self.answered - self.began);
                    record(&mut desk.tally.ice, now - self.answered);
                }
            }
            Event::Connected => self.connect(desk, now),
            Event::Disconnected => self.leave(desk, "disconnected"),
            Event::KeyframeRequest(rid) => {
                desk.tally.keyframe_requests += 1;
                if let Part::Publishing(camera, _) = &mut self.part {
                    camera.request_keyframe_of(rid.as_deref());
                }
            }
            Event::Packet(packet) => self.packet(desk, now, &packet),
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

    fn packet(&mut self, desk: &mut Desk, now: Instant, packet: &Received) {
        let Received {
            ssrc,
            payload,
            captured,
        } = packet;
        let Part::Watching(watch, live) = &mut self.part else {
            return;
        };
        let tag = Tag::read(payload).or_else(|| live.ledger.find((*captured)?));
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
            && self.stack.request_keyframe(now, *ssrc)
        {
            desk.tally.keyframes_wanted += 1;
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
        let (stack, tally) = (&mut self.stack, &mut desk.tally);
        camera.shoot(at, |packet| {
            let starts_keyframe = packet.starts_keyframe;
            let captured = packet
                .stamp
                .map(|stamp| live.ledger.note(stamp, packet.tag));
            if stack.write(now, packet, captured) {
                tally.sent += 1;
                tally.keyframes += u64::from(starts_keyframe);
            }
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
