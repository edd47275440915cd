//! Any bytes as datagrams that arrive at a shard while a publisher and a viewer are connected through it.
//!
//! ```text
//! input = datagram*
//! datagram = control:u8 bytes:u8 content
//! control: bits 0-1 from: stranger, publisher, viewer, another stranger
//!          bits 2-3 what: the content, or the content XORed over a datagram that the publisher or the viewer sent,
//!                   or STUN in the name of the publisher with the content as its attributes
//!          bits 4-7 which of the datagrams sent
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);

/// Inputs after which the session is set up anew: a simulation remembers what its viewers received.
const INPUTS_MAX: u32 = 200;

const RTP_HEADER_BYTES: usize = 12;

/// A shard with a publisher and a viewer whose pictures flow.
pub(crate) struct Session {
    sim: Sim,
    publisher: PeerKey,
    viewer: PeerKey,
    seed: u64,
    inputs: u32,
}

impl Session {
    /// Connects everybody.
    pub(crate) fn new(seed: u64) -> Self {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::default());
        let viewer = sim.watch(stream, HOME, Watching::default());
        let is_seen = sim.run_until(Duration::from_secs(5), |sim| {
            sim.viewing(viewer).frames.len() > 3
        });
        assert!(is_seen, "{sim:?}: no pictures to begin with");
        Self {
            sim,
            publisher,
            viewer,
            seed,
            inputs: 0,
        }
    }

    /// Sends the datagrams that `data` describes; panics when the pictures stop.
    pub(crate) fn run(&mut self, data: &[u8]) {
        self.inputs += 1;
        if self.inputs > INPUTS_MAX {
            *self = Self::new(self.seed + 1);
        }
        let mut rest = data;
        while let [control, bytes, content @ ..] = rest {
            let (content, following) = content.split_at(content.len().min((*bytes).into()));
            self.send(*control, content);
            rest = following;
        }
        let before = self.sim.viewing(self.viewer).frames.len();
        self.sim.run(Duration::from_millis(100));
        let after = self.sim.viewing(self.viewer).frames.len();
        let events: Vec<_> = self.sim.events().collect();
        assert!(
            after >= before + 2,
            "{:?}: the pictures stopped after {:?}",
            self.sim,
            events.last()
        );
    }

    fn send(&mut self, control: u8, content: &[u8]) {
        let source = match control & 0x03 {
            0 => SocketAddr::from(([192, 0, 2, 1], 1234)),
            1 => self.sim.peer_address(self.publisher),
            2 => self.sim.peer_address(self.viewer),
            _ => SocketAddr::from(([192, 0, 2, 1], u16::from(control) << 4 | 1)),
        };
        let which = usize::from(control >> 4);
        let datagram = match control >> 2 & 0x03 {
            0 => content.to_vec(),
            1 => self.disturbed(self.publisher, which, content),
            2 => self.disturbed(self.viewer, which, content),
            _ => self.stun(content),
        };
        self.sim.inject(HOME, source, &datagram);
    }

    /// A datagram that a peer sent, with `content` XORed over its beginning; empty content replays it.
    fn disturbed(&self, peer: PeerKey, which: usize, content: &[u8]) -> Vec<u8> {
        let mut datagram = self.sim.sent(peer).nth(which).unwrap_or_default().to_vec();
        // str0m 0.25 assigns a new SSRC to the media line that the MID in its header names before it checks the
        // packet's authenticity, so somebody who sends from the publisher's very address and port and knows the MID can
        // take its media line. The RTP header therefore stays what it was.
        let untouched = if is_rtp(&datagram) {
            RTP_HEADER_BYTES
        } else {
            0
        };
        for (byte, disturbance) in datagram.iter_mut().skip(untouched).zip(content) {
            *byte ^= disturbance;
        }
        datagram
    }

    /// A binding request (RFC 8489) that names the publisher's session but cannot be signed for it.
    fn stun(&self, attributes: &[u8]) -> Vec<u8> {
        let ufrag = self.sim.server_ufrag(self.publisher).unwrap_or_default();
        stun_request(&format!("{ufrag}:fuzz"), attributes)
    }
}

/// RFC 7983 and RFC 5761: media and no feedback.
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [0x80..=0xbf, kind, ..] if !(192..=223).contains(kind))
}

/// Header and USERNAME, followed by `attributes` as they are.
pub(crate) fn stun_request(username: &str, attributes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([0x00, 0x06]);
    body.extend((username.len() as u16).to_be_bytes());
    body.extend(username.as_bytes());
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(attributes);
    let mut datagram = vec![0x00, 0x01];
    datagram.extend((body.len() as u16).to_be_bytes());
    datagram.extend([0x21, 0x12, 0xa4, 0x42]);
    datagram.extend([7; 12]);
    datagram.extend(body);
    datagram
}
