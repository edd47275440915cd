//! Whose datagrams are let in, in simulated time. Floods are in `malformed.rs`.

use std::net::SocketAddr;
use std::time::Duration;

use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 9], 4_444))
}

/// The last datagram of a peer that starts with a byte of a range: 0 to 3 is STUN, 128 to 191 media.
fn last_sent(sim: &Sim, peer: PeerKey, first: std::ops::RangeInclusive<u8>) -> Vec<u8> {
    let sent = sim.sent(peer).filter(|d| first.contains(&d[0]));
    sent.last().expect("such a datagram was sent").to_vec()
}

#[test]
fn media_from_an_address_that_ice_has_not_seen_is_counted_and_dropped() {
    let mut sim = Sim::new(1, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let before = sim.stats(HOME);
    assert_eq!(before.packets_dropped.unverified, 0, "{sim:?}");
    let media = last_sent(&sim, publisher, 128..=191);
    let received = sim.received(viewer).len();
    for _ in 0..10 {
        sim.inject(HOME, stranger(), &media);
        sim.inject(
            HOME,
            stranger(),
            &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
    }
    let after = sim.stats(HOME);
    assert_eq!(after.packets_dropped.unverified, 20, "{sim:?}");
    assert_eq!(after.packets_forwarded, before.packets_forwarded, "{sim:?}");
    assert_eq!(sim.received(viewer).len(), received, "{sim:?}");
    assert_eq!(sim.stray(), 0, "{sim:?}: a stranger was answered");
}

#[test]
fn an_answered_check_makes_an_address_known_and_a_forged_one_does_not() {
    let mut sim = Sim::new(2, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    sim.run(seconds(2));
    let media = last_sent(&sim, publisher, 128..=191);
    let check = last_sent(&sim, publisher, 0..=3);

    let mut forged = check.clone();
    let last = forged.len() - 10;
    forged[last] ^= 1;
    sim.inject(HOME, stranger(), &forged);
    sim.inject(HOME, stranger(), &media);
    let stats = sim.stats(HOME).packets_dropped;
    assert_eq!((stats.stun, stats.unverified), (1, 1), "{sim:?}");
    assert_eq!(sim.stray(), 0, "{sim:?}");

    // A phone that changed from one network to another sends such checks from its new address.
    sim.inject(HOME, stranger(), &check);
    assert!(sim.stray() >= 1, "{sim:?}: the check was not answered");
    sim.inject(HOME, stranger(), &media);
    let stats = sim.stats(HOME).packets_dropped;
    assert_eq!((stats.stun, stats.unverified), (1, 1), "{sim:?}");
}

#[test]
fn an_address_in_use_is_not_taken_over() {
    let mut sim = Sim::new(3, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    // A viewer who can write other people's addresses on its checks.
    let check = last_sent(&sim, viewer, 0..=3);
    let victim = sim.peer_address(publisher);
    let frames = sim.viewing(viewer).frames.len();
    for _ in 0..20 {
        sim.inject(HOME, victim, &check);
        sim.run(Duration::from_millis(100));
    }
    let shown = sim.viewing(viewer).frames.len() - frames;
    assert!(shown > 50, "{sim:?}: {shown} pictures in two seconds");
}

#[test]
fn addresses_are_forgotten_with_their_peer() {
    let mut sim = Sim::new(4, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    sim.run(seconds(2));
    let (media, check) = (
        last_sent(&sim, publisher, 128..=191),
        last_sent(&sim, publisher, 0..=3),
    );
    let address = sim.peer_address(publisher);
    sim.vanish(publisher);
    sim.run(seconds(12));
    sim.inject(HOME, address, &media);
    sim.inject(HOME, address, &check);
    let stats = sim.stats(HOME).packets_dropped;
    assert_eq!((stats.unverified, stats.stun), (1, 1), "{sim:?}");
}
