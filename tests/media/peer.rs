//! A WebRTC peer with a socket and a thread of its own: a camera whose packets carry their number, or a viewer that
//! writes down what it gets.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};

const PICTURE_INTERVAL: Duration = Duration::from_millis(33);
const PICTURE_PACKETS: u8 = 3;

/// A packet as a viewer got it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) seq_no: u64,
    pub(crate) is_keyframe: bool,
    ssrc: u32,
}

/// A peer that has made its offer.
pub(crate) struct Offering {
    rtc: Rtc,
    socket: UdpSocket,
    offer: String,
    pending: SdpPendingOffer,
    mid: Mid,
}

/// A peer that runs until it is dropped; then it is gone without a word, as behind a cut cable.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    server_port: u16,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    keyframe_requests: Mutex<usize>,
    is_connected: AtomicBool,
    is_stopped: AtomicBool,
}

impl Offering {
    fn new(direction: Direction) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_vp8(true)
            .set_rtp_mode(true)
            .build(Instant::now());
        let address = socket.local_addr().expect("a bound socket");
        let candidate = Candidate::host(address, "udp").expect("an address and a known protocol");
        rtc.add_local_candidate(candidate);
        let mut change = rtc.sdp_api();
        let mid = change.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = change.apply().expect("media was added");
        Self {
            rtc,
            socket,
            offer: offer.to_sdp_string(),
            pending,
            mid,
        }
    }

    pub(crate) fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer and starts.
    pub(crate) fn start(mut self, answer: &str) -> Peer {
        let server_port = answer
            .lines()
            .find_map(|line| {
                line.strip_prefix("a=candidate:")?
                    .split(' ')
                    .nth(5)?
                    .parse()
                    .ok()
            })
            .expect("a candidate in the answer");
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer that parses");
        let accepted = self.rtc.sdp_api().accept_answer(self.pending, answer);
        accepted.expect("an answer that fits the offer");
        let is_camera = self.offer.contains("a=sendonly");
        let shared = Arc::new(Shared::default());
        let running = Running {
            local: self.socket.local_addr().expect("a bound socket"),
            rtc: self.rtc,
            socket: self.socket,
            camera: is_camera.then(|| Camera::new(self.mid)),
            shared: shared.clone(),
        };
        let thread = Some(thread::spawn(move || running.run()));
        Peer {
            shared,
            server_port,
            thread,
        }
    }
}

impl Peer {
    pub(crate) fn publisher() -> Offering {
        Offering::new(Direction::SendOnly)
    }

    pub(crate) fn viewer() -> Offering {
        Offering::new(Direction::RecvOnly)
    }

    pub(crate) async fn connected(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_connected() {
            assert!(Instant::now() < deadline, "never connected");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared
            .received
            .lock()
            .expect("no panic while locked")
            .clone()
    }

    pub(crate) fn ssrcs(&self) -> usize {
        self.received()
            .iter()
            .map(|packet| packet.ssrc)
            .collect::<BTreeSet<_>>()
            .len()
    }

    pub(crate) fn keyframe_requests(&self) -> usize {
        *self
            .shared
            .keyframe_requests
            .lock()
            .expect("no panic while locked")
    }

    pub(crate) fn server_port(&self) -> u16 {
        self.server_port
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(thread::panicking() || result.is_ok(), "the peer panicked");
        }
    }
}

struct Running {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    camera: Option<Camera>,
    shared: Arc<Shared>,
}

impl Running {
    fn run(mut self) {
        let mut buffer = [0; 2048];
        while !self.shared.is_stopped.load(Ordering::Relaxed) {
            let mut deadline = self.drain();
            if let Some(camera) = &mut self.camera
                && self.shared.is_connected.load(Ordering::Relaxed)
            {
                let now = Instant::now();
                camera.shoot(&mut self.rtc, now);
                self.rtc
                    .handle_input(Input::Timeout(now))
                    .expect("time passes");
                deadline = self.drain().min(Instant::now() + Duration::from_millis(5));
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            let wait = wait.clamp(Duration::from_millis(1), Duration::from_millis(50));
            self.socket
                .set_read_timeout(Some(wait))
                .expect("a working socket");
            if let Ok((bytes, source)) = self.socket.recv_from(&mut buffer) {
                let received = Receive::new(Protocol::Udp, source, self.local, &buffer[..bytes]);
                let received = received.expect("the server sends nothing unknown");
                let input = Input::Receive(Instant::now(), received);
                self.rtc
                    .handle_input(input)
                    .expect("the server sends nothing faulty");
            }
            self.drain();
            self.rtc
                .handle_input(Input::Timeout(Instant::now()))
                .expect("time passes");
        }
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().expect("a peer in good health") {
                Output::Timeout(at) => return at,
                Output::Transmit(transmit) => {
                    // A server that has gone away is no fault of the peer's.
                    let _ = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(event) => self.note(event),
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a peer cares for few events"
    )]
    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => self.shared.is_connected.store(true, Ordering::Relaxed),
            Event::KeyframeRequest(_) => {
                *self
                    .shared
                    .keyframe_requests
                    .lock()
                    .expect("no panic while locked") += 1;
                if let Some(camera) = &mut self.camera {
                    camera.wants_keyframe = true;
                }
            }
            Event::RtpPacket(packet) => {
                let mut received = self.shared.received.lock().expect("no panic while locked");
                received.push(Received {
                    seq_no: *packet.seq_no,
                    // Start of the first partition, and the inverse of its keyframe bit (RFC 7741 section 4.3).
                    is_keyframe: packet.payload[0] & 0x10 != 0 && packet.payload[6] & 1 == 0,
                    ssrc: *packet.header.ssrc,
                });
            }
            _ => {}
        }
    }
}

/// A VP8 encoder without pictures.
struct Camera {
    mid: Mid,
    seq_no: u64,
    timestamp: u32,
    picture: u16,
    wants_keyframe: bool,
    next: Instant,
}

impl Camera {
    fn new(mid: Mid) -> Self {
        // Starts somewhere else each time, as real ones do.
        let start: u16 = rand::random();
        Self {
            mid,
            seq_no: u64::from(start),
            timestamp: rand::random(),
            picture: start & 0x7fff,
            wants_keyframe: true,
            next: Instant::now(),
        }
    }

    fn shoot(&mut self, rtc: &mut Rtc, now: Instant) {
        while self.next <= now {
            self.next += PICTURE_INTERVAL;
            let is_keyframe = std::mem::take(&mut self.wants_keyframe);
            self.timestamp = self.timestamp.wrapping_add(2_970);
            self.picture = self.picture.wrapping_add(1) & 0x7fff;
            for part in 0..PICTURE_PACKETS {
                self.send(rtc, now, part, is_keyframe);
            }
        }
    }

    fn send(&mut self, rtc: &mut Rtc, now: Instant, part: u8, is_keyframe: bool) {
        let pt = rtc
            .media(self.mid)
            .and_then(|media| media.remote_pts().first().copied());
        let pt = pt.expect("VP8 was negotiated");
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let start = if part == 0 { 0x90 } else { 0x80 };
        let mut payload = vec![start, 0xe0, high, low, self.picture as u8, 0];
        if part == 0 && is_keyframe {
            // 640 by 360.
            payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
        } else {
            payload.push(0x11);
        }
        payload.resize(1_000, 0x5a);
        let mut direct = rtc.direct_api();
        let stream = direct
            .stream_tx_by_mid(self.mid, None)
            .expect("a stream to send");
        let write = RtpWrite::new(pt, self.seq_no.into(), self.timestamp, now, payload)
            .marker(part + 1 == PICTURE_PACKETS)
            .nackable(true);
        stream.write_rtp(write);
        self.seq_no += 1;
    }
}
