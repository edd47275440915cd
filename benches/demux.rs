//! Demultiplexing: what a datagram costs until it is known whose it is.
//!
//! Measured: [`Shard::handle_datagram`] for datagrams that belong to nobody, in ns each: media from an address that ICE has
//! not verified, a STUN request that names an unknown fragment, and bytes of no protocol. A datagram of a peer takes the same
//! way, one look into the same map, and then costs what [`forward`](../forward.rs) says; so this is the price of finding the
//! peer, and of a stranger's datagram in a flood.
//!
//! How: a shard with 50 viewers; a thousand datagrams an iteration, each from another address.
//!
//! We hold 60 ns and 700 instructions for any of them: measured were 27 ns and 407 instructions, 57 and 639, 5 and 77, on two
//! busy cores of an AMD EPYC.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redred_sfu::Shard;
use redred_sfu::id::ShardId;
use redred_sfu::sim::{Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);
const VIEWERS: usize = 50;
const DATAGRAMS: u16 = 1_000;

fn house() -> Sim {
    let mut sim = Sim::new(1, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|_| sim.watch(stream, HOME, Watching::default()))
        .collect();
    let is_ready = sim.run_until(Duration::from_secs(20), |sim| {
        viewers.iter().all(|&viewer| sim.is_connected(viewer))
    });
    assert!(is_ready, "everybody is connected");
    sim
}

fn media() -> Vec<u8> {
    let mut datagram = vec![0x80, 96];
    datagram.resize(1_100, 0x5a);
    datagram
}

/// A binding request as browsers send it: the name of an unknown peer first.
fn check() -> Vec<u8> {
    let username = b"nobodyhere:aaaa";
    let mut datagram = vec![0, 1, 0, 72, 0x21, 0x12, 0xa4, 0x42];
    datagram.extend([7; 12]);
    datagram.extend([0, 6, 0, username.len() as u8]);
    datagram.extend(username);
    datagram.resize(92, 0);
    datagram
}

#[inline(never)]
fn measured(
    shard: &mut Shard,
    now: Instant,
    local: SocketAddr,
    from: &[SocketAddr],
    datagram: &[u8],
) {
    for source in from {
        shard.handle_datagram(now, *source, local, black_box(datagram));
    }
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("demux");
    group
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .throughput(Throughput::Elements(DATAGRAMS.into()));
    let mut sim = None;
    let strangers: Vec<_> = (0..DATAGRAMS)
        .map(|port| SocketAddr::from(([203, 0, 113, 9], 10_000 + port)))
        .collect();
    for (name, datagram) in [
        ("unverified_media", media()),
        ("unknown_stun", check()),
        ("no_protocol", vec![0xff; 100]),
    ] {
        group.bench_function(name, |bencher| {
            let sim = sim.get_or_insert_with(house);
            let (now, local) = (sim.now(), sim.address(HOME));
            let shard = sim.shard_mut(HOME);
            let before = shard.stats().packets_dropped;
            bencher.iter(|| measured(shard, now, local, &strangers, &datagram));
            assert_ne!(shard.stats().packets_dropped, before, "all are dropped");
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
