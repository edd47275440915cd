//! Tens of thousands of hostile datagrams into a shard whose pictures flow: nothing panics, nothing stops, nothing that
//! a stranger sends is answered with more than it sent.

#[path = "../fuzz/bodies/datagram.rs"]
#[expect(dead_code, reason = "only the builder of STUN requests is used here")]
mod datagram;

use std::net::SocketAddr;
use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{Publishing, Random, Sim, Watching};

const HOME: ShardId = ShardId(0);
const SEED: u64 = 0xbad;
/// Datagrams of each kind and source.
const COUNT: usize = 5_000;
/// Sent between two looks at the clock: 20 000 a second.
const BURST: usize = 200;

struct World {
    sim: Sim,
    random: Random,
    publisher: PeerKey,
    viewer: PeerKey,
}

impl World {
    fn new() -> Self {
        let mut sim = Sim::new(SEED, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::default());
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(Duration::from_secs(2));
        assert!(sim.viewing(viewer).frames.len() > 30, "{sim:?}");
        Self {
            sim,
            random: Random::new(SEED),
            publisher,
            viewer,
        }
    }

    fn stranger(&mut self) -> SocketAddr {
        let host = 1 + self.random.below(254) as u8;
        let port = 1_024 + self.random.below(60_000) as u16;
        SocketAddr::from(([203, 0, 113, host], port))
    }

    /// Lets `make` send [`COUNT`] datagrams among the media, and looks whether anybody noticed.
    fn attack(&mut self, mut make: impl FnMut(&mut Self) -> (SocketAddr, Vec<u8>)) {
        let frames_before = self.sim.viewing(self.viewer).frames.len();
        for number in 1..=COUNT {
            let (source, datagram) = make(self);
            self.sim.inject(HOME, source, &datagram);
            if number % BURST == 0 {
                self.sim.run(Duration::from_millis(10));
            }
        }
        self.sim.run(Duration::from_millis(100));
        let viewing = self.sim.viewing(self.viewer);
        let expected = COUNT / BURST / 4;
        assert!(
            viewing.frames.len() > frames_before + expected,
            "{:?}: pictures stopped after {:?}",
            self.sim,
            self.sim.events().last()
        );
        assert_eq!((viewing.broken, viewing.missing), (0, 0), "{:?}", self.sim);
        let longest = viewing.longest_freeze(self.sim.now());
        assert!(
            longest < Duration::from_millis(100),
            "{:?}: froze for {longest:?}",
            self.sim
        );
        assert_eq!(self.sim.stats(HOME).panics, 0, "{:?}", self.sim);
        assert!(
            !self
                .sim
                .events()
                .any(|event| matches!(event, Event::Closed { .. })),
            "{:?}: somebody was closed",
            self.sim
        );
    }

    /// A random datagram that a peer sent before, of those that `is_wanted`.
    fn overheard(&mut self, peer: PeerKey, is_wanted: fn(&[u8]) -> bool) -> Vec<u8> {
        let sent: Vec<Vec<u8>> = self
            .sim
            .sent(peer)
            .filter(|datagram| is_wanted(datagram))
            .map(<[u8]>::to_vec)
            .collect();
        assert!(!sent.is_empty(), "{:?}: nothing was sent", self.sim);
        let which = self.random.below(sent.len());
        sent[which].clone()
    }
}

fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram, [0x80..=0xbf, kind, ..] if !(192..=223).contains(kind))
}

/// DTLS, SRTP or SRTCP. A replayed STUN request is answered wherever it comes from: ICE knows no nonce.
fn is_secured(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first >= 20)
}

#[test]
fn junk_from_anywhere_changes_nothing() {
    let mut world = World::new();
    world.attack(|world| {
        let source = world.stranger();
        let bytes = world.random.below(1_400);
        (source, world.random.bytes(bytes))
    });
    assert_eq!(
        world.sim.stray(),
        0,
        "{:?}: a stranger was answered",
        world.sim
    );
    for peer in [world.publisher, world.viewer] {
        let source = world.sim.peer_address(peer);
        world.attack(|world| {
            let bytes = world.random.below(1_400);
            let mut junk = world.random.bytes(bytes);
            // Media in a peer's name is the business of another test.
            if let Some(first) = junk.first_mut() {
                *first &= 0x7f;
            }
            (source, junk)
        });
    }
}

#[test]
fn stun_that_names_a_session_but_is_not_signed_for_it_changes_nothing() {
    let mut world = World::new();
    for peer in [world.publisher, world.viewer] {
        let ufrag = world
            .sim
            .server_ufrag(peer)
            .expect("was negotiated")
            .to_owned();
        world.attack(|world| {
            let mut attributes = vec![0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff];
            attributes.extend([0x00, 0x25, 0x00, 0x00]); // USE-CANDIDATE
            attributes.extend([0x00, 0x08, 0x00, 0x14]); // MESSAGE-INTEGRITY
            attributes.extend(world.random.bytes(20));
            let request = datagram::stun_request(&format!("{ufrag}:evil"), &attributes);
            (world.stranger(), request)
        });
    }
    assert_eq!(
        world.sim.stray(),
        0,
        "{:?}: a stranger was answered",
        world.sim
    );
    assert!(
        world.sim.stats(HOME).packets_dropped.stun > 0,
        "{:?}",
        world.sim
    );
}

#[test]
fn dtls_of_strangers_reaches_no_session() {
    let mut world = World::new();
    world.attack(|world| {
        // A handshake record with a ClientHello, then whatever.
        let mut hello = vec![0x16, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0x32];
        hello.extend([0x01, 0, 0, 0x26, 0, 0, 0, 0, 0, 0, 0, 0x26, 0xfe, 0xfd]);
        hello.extend(world.random.bytes(36));
        (world.stranger(), hello)
    });
    let dropped = world.sim.stats(HOME).packets_dropped.unverified;
    assert_eq!(dropped, COUNT as u64, "{:?}", world.sim);
    assert_eq!(
        world.sim.stray(),
        0,
        "{:?}: a stranger was answered",
        world.sim
    );
}

#[test]
fn dtls_in_a_peers_name_is_ignored_when_it_is_not_genuine() {
    let mut world = World::new();
    for peer in [world.publisher, world.viewer] {
        let source = world.sim.peer_address(peer);
        world.attack(|world| {
            let kind = 20 + world.random.below(4) as u8;
            let epoch = world.random.below(3) as u8;
            let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0];
            record.extend(world.random.bytes(4));
            record.extend([0, 40]);
            record.extend(world.random.bytes(40));
            (source, record)
        });
    }
}

#[test]
fn media_that_is_not_the_publishers_reaches_nobody() {
    let mut world = World::new();
    let publisher = world.publisher;
    let mut forge = |source: fn(&mut World) -> SocketAddr| {
        world.attack(|world| {
            // The header of a true packet, the number of one to come, and a body sealed with another key.
            let mut packet = world.overheard(publisher, is_media);
            let seq_no = u16::from_be_bytes([packet[2], packet[3]])
                .wrapping_add(world.random.below(500) as u16);
            packet[2..4].copy_from_slice(&seq_no.to_be_bytes());
            packet.truncate(40);
            packet.extend(world.random.bytes(160));
            (source(world), packet)
        });
    };
    forge(|world| world.stranger());
    forge(|world| world.sim.peer_address(world.publisher));
}

#[test]
fn replays_reach_nobody() {
    let mut world = World::new();
    for peer in [world.publisher, world.viewer] {
        let source = world.sim.peer_address(peer);
        world.attack(|world| (source, world.overheard(peer, |_| true)));
        world.attack(|world| (world.stranger(), world.overheard(peer, is_secured)));
    }
}
