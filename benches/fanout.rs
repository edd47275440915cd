//! Fan-out: what it costs the hub to hand one comment to everybody on a stream.
//!
//! Measured: [`Hub::handle_published`](redred_signaling::Hub::handle_published) of a comment, which writes it once and queues
//! it for each session, and [`Hub::poll_output`](redred_signaling::Hub::poll_output) until each session's write was handed
//! out and reported as done. ns per delivery are that divided by the sessions. Sockets and compression are not in it.
//!
//! How: a hub with so many sessions that are subscribed to one stream, each somebody else's, none with anything to catch up.
//!
//! We hold 250 ns a delivery. Measured were 230 ns for 10 sessions, 110 for 1 000 and 190 for 10 000, on two busy cores of an
//! AMD EPYC.

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redred_signaling::config::Config;
use redred_signaling::hub::Output;
use redred_signaling::message::connection::Position;
use redred_signaling::sim::{World, viewer};
use redred_signaling::{Audience, Channel, Publication};
use serde_json::Value;

const CHANNEL: &str = "live:ana";

/// A hub with an audience, and a comment that is about to be heard by it.
fn audience(sessions: u64) -> (World, Publication) {
    let mut world = World::new(Config::default());
    let mut epoch = None;
    for number in 0..sessions {
        let session = world.connect(&viewer(&format!("viewer-{number}")), Some(CHANNEL));
        let subscribed = world.take(session).into_iter();
        epoch = subscribed
            .map(|message| message["data"]["epoch"].clone())
            .find(Value::is_string);
    }
    let epoch = epoch.expect("the last of them is subscribed");
    let comment = include_str!("../signaling/golden/server.comment.json");
    let publication = Publication {
        channel: Channel::parse(CHANNEL).expect("a channel"),
        audience: Audience::All,
        position: Some(Position {
            epoch: epoch.as_str().expect("a string").to_owned(),
            seq: 0,
        }),
        message: serde_json::from_str(comment).expect("a message"),
        at_ms: world.now.wall_ms,
    };
    (world, publication)
}

/// Publishes, and answers how many sessions were written to.
fn deliver(world: &mut World, publication: Publication) -> u64 {
    let World { hub, now, .. } = world;
    hub.handle_published(*now, publication);
    let mut written = 0;
    while let Some(output) = hub.poll_output() {
        if let Output::Write { session, frames } = output {
            written += frames.len() as u64;
            hub.handle_written(*now, session);
        }
    }
    written
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for sessions in [10, 1_000, 10_000] {
        group.throughput(Throughput::Elements(sessions));
        let mut set_up = None;
        group.bench_function(BenchmarkId::from_parameter(sessions), |bencher| {
            let (world, publication) = set_up.get_or_insert_with(|| audience(sessions));
            bencher.iter_batched(
                || {
                    let position = publication.position.as_mut();
                    position.expect("comments have one").seq += 1;
                    publication.clone()
                },
                |publication| assert_eq!(deliver(world, publication), sessions),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
