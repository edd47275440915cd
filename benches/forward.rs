//! Forwarding: what the media core takes of one core's time for a packet of a publisher, by its number of viewers.
//!
//! Measured: everything that a [`Shard`](redred_sfu::Shard) does while media flows (the publisher's datagrams, the viewers'
//! feedback, timers, and the datagrams it hands out), divided by the packets that came in. ns per packet handed to a viewer
//! are that divided by the viewers. Reading the clock is in it, twice for each datagram that comes in: some 50 ns, of which
//! one viewer notices a little and many nothing. Sockets are not in it.
//!
//! How: one publisher of 30 pictures a second, six packets of 1 100 bytes each, and viewers who are whole str0m sessions with
//! ICE, DTLS and SRTP, over links without loss, in simulated time. The peers' own work is left out.
//!
//! We want 2 000 ns for a viewer of 400, sockets included. Measured on two busy cores of an AMD EPYC: 3 300 ns for one viewer,
//! 1 800 for each of 10, 2 300 of 100, 3 100 of 400, so this is missed. Figures of later commits are in `docs/performance.md`.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redred_sfu::id::ShardId;
use redred_sfu::sim::{Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);
const STEP: Duration = Duration::from_millis(100);

/// A stream and its viewers, all connected, a second after the first picture.
fn audience(viewers: u64) -> Sim {
    let mut sim = Sim::new(1, 1);
    let stream = sim.open();
    let publishing = Publishing {
        audio: false,
        picture_packets: 6,
        filling: 1_080,
        ..Publishing::default()
    };
    sim.publish(stream, publishing);
    let watching: Vec<_> = (0..viewers)
        .map(|_| sim.watch(stream, HOME, Watching::default()))
        .collect();
    let is_ready = sim.run_until(Duration::from_secs(20), |sim| {
        watching.iter().all(|&viewer| sim.is_connected(viewer))
    });
    assert!(is_ready, "everybody is connected");
    sim.run(Duration::from_secs(1));
    sim
}

/// Lets so many packets come in at least; answers what the shard took for that many.
fn forward(sim: &mut Sim, viewers: u64, packets: u64) -> Duration {
    sim.meter(Instant::now);
    let before = sim.stats(HOME).packets_forwarded.video;
    let forwarded = loop {
        sim.run(STEP);
        sim.forget_received();
        let forwarded = sim.stats(HOME).packets_forwarded.video - before;
        if forwarded >= packets * viewers {
            break forwarded;
        }
    };
    sim.metered()
        .mul_f64((packets * viewers) as f64 / forwarded as f64)
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    for viewers in [1, 10, 100, 400] {
        group.throughput(Throughput::Elements(viewers));
        let mut sim = None;
        group.bench_function(BenchmarkId::from_parameter(viewers), |bencher| {
            let sim = sim.get_or_insert_with(|| audience(viewers));
            bencher.iter_custom(|packets| forward(sim, viewers, packets));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
