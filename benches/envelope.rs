//! Envelopes: what it costs to read a message of a client and to write one of the server.
//!
//! Measured, in ns each: [`codec::decode`] with [`ClientMessage::decode`] of a comment and of a chat message, bytes to typed
//! fields; and [`codec::encode`] of the comment and the message that come of them. A message is written once for all its
//! receivers, see [`fanout`](../fanout.rs).
//!
//! How: the messages of `signaling/golden`, without their white space; a hundred times an iteration.
//!
//! We hold 3 µs for the longest. Measured were 1.2 and 2.4 µs to read, 0.9 and 1.1 µs to write; 12 700, 26 000, 13 400 and
//! 17 200 instructions, on two busy cores of an AMD EPYC.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use redred_signaling::codec;
use redred_signaling::config::Config;
use redred_signaling::envelope::Metadata;
use redred_signaling::message::{ClientMessage, ServerMessage};
use serde_json::Value;

const TIMES: u64 = 100;
const WALL_MS: u64 = 1_795_521_600_000;

fn golden(text: &str) -> Value {
    serde_json::from_str(text).expect("golden messages are JSON")
}

#[inline(never)]
fn measured_decode(bytes: &[u8], bytes_max: usize) {
    for _ in 0..TIMES {
        let envelope = codec::decode(black_box(bytes), bytes_max).expect("an envelope");
        let message = ClientMessage::decode(&envelope.kind, envelope.data).expect("a message");
        black_box(message);
    }
}

#[inline(never)]
fn measured_encode(message: &ServerMessage, metadata: &Metadata) {
    for _ in 0..TIMES {
        black_box(codec::encode(black_box(message), WALL_MS, metadata));
    }
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("envelope");
    group
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .throughput(Throughput::Elements(TIMES));
    let bytes_max = Config::default().session.message_bytes_max;
    for (name, text) in [
        (
            "decode_comment",
            include_str!("../signaling/golden/client.comment.json"),
        ),
        (
            "decode_chat_message",
            include_str!("../signaling/golden/client.chat_message.json"),
        ),
    ] {
        let bytes = golden(text).to_string();
        group.bench_function(name, |bencher| {
            bencher.iter(|| measured_decode(bytes.as_bytes(), bytes_max));
        });
    }
    for (name, text) in [
        (
            "encode_comment",
            include_str!("../signaling/golden/server.comment.json"),
        ),
        (
            "encode_chat_message",
            include_str!("../signaling/golden/server.chat_message.json"),
        ),
    ] {
        let mut value = golden(text);
        let metadata: Metadata =
            serde_json::from_value(value["metadata"].take()).expect("its metadata");
        let message: ServerMessage = serde_json::from_value(value).expect("a message");
        group.bench_function(name, |bencher| {
            bencher.iter(|| measured_encode(&message, &metadata));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
