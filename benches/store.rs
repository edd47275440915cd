//! The store: how long it takes until messages are on the disk, by how many are under way at a time.
//!
//! Measured: chat messages from [`Store::submit`] to [`Store::reply`], on SQLite with `synchronous=FULL` in a temporary
//! file: the time of one, when 1, 64 or 2048 are under way. The writer commits in groups, so the more wait, the less each one
//! costs. It depends on the disk below the temporary folder (`TMPDIR`).
//!
//! We want 10 000 messages a second at 2048. Measured in two runs were 6 600 and 7 500, at 64 5 500 and 7 300, at 1 700
//! and 1 900, on two busy cores of an AMD EPYC: missed.
//!
//! How: messages of four senders to a hundred rooms, through the server's own store and a runtime of two threads.

use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use redred::metrics::Histogram;
use redred::store::Store;
use redred_signaling::store::chat::{ChatOp, MemberRole, NewMessage, NewRoom, RoomKind};
use redred_signaling::{RoomId, StoreId, StoreOp, StoreRequest, User, UserId};
use tempfile::TempDir;
use tokio::runtime::{self, Runtime};

const ROOMS: u64 = 100;
const MEMBERS: u64 = 4;

/// A new database with its rooms.
struct Fixture {
    store: Store,
    next: u64,
    runtime: Runtime,
    _directory: TempDir,
}

fn member(number: u64) -> UserId {
    UserId::new(format!("member-{}", number % MEMBERS)).expect("a user id")
}

fn room(number: u64) -> RoomId {
    RoomId::new(format!("room-{}", number % ROOMS)).expect("a room id")
}

fn new_room(number: u64) -> StoreOp {
    let members = (0..MEMBERS).map(|one| (member(one), MemberRole::Member));
    StoreOp::Chat(ChatOp::CreateRoom(NewRoom {
        id: room(number),
        epoch: String::from("00000001"),
        kind: RoomKind::Group,
        title: None,
        members: members.collect(),
        by: None,
        at_ms: 1,
    }))
}

fn new_message(number: u64) -> StoreOp {
    // Ids are spread over the index as the server's random ones are.
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let sender = member(number);
    let name = sender.to_string();
    StoreOp::Chat(ChatOp::AddMessage(NewMessage {
        client_id: Some(format!("{spread:032x}")),
        id: format!("{spread:032x}"),
        room: room(number),
        sender: User { id: sender, name },
        text: format!("message {number} of somebody who has a lot to say about the weather"),
        reply_to_id: None,
        attachments: Vec::new(),
        at_ms: 1_800_000_000_000 + number,
    }))
}

impl Fixture {
    fn new() -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let directory = TempDir::new().expect("a temporary folder");
        let url = format!("sqlite://{}", directory.path().join("bench.db").display());
        let store = runtime
            .block_on(Store::open(&url, Histogram::default()))
            .expect("a new database");
        let mut fixture = Self {
            store,
            next: 0,
            runtime,
            _directory: directory,
        };
        fixture.write(1, ROOMS, new_room);
        fixture
    }

    /// Has so many carried out, `under_way` of them at a time.
    fn write(&mut self, under_way: u64, count: u64, op: fn(u64) -> StoreOp) -> Duration {
        let Self {
            store,
            next,
            runtime,
            ..
        } = self;
        runtime.block_on(async {
            let begun = Instant::now();
            let (mut asked, mut answered) = (0, 0);
            while answered < count {
                while asked < count && asked - answered < under_way {
                    let id = StoreId(*next);
                    let op = op(*next);
                    store
                        .submit(StoreRequest { id, op })
                        .expect("room in the queue");
                    *next += 1;
                    asked += 1;
                }
                let reply = store.reply().await.expect("a living store");
                reply.result.expect("stored");
                answered += 1;
            }
            begun.elapsed()
        })
    }
}

fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    let mut fixture = None;
    for (under_way, messages) in [(1, 128), (64, 2_048), (2_048, 8_192)] {
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::from_parameter(under_way), |bencher| {
            let fixture = fixture.get_or_insert_with(Fixture::new);
            bencher.iter_custom(|times| {
                let times = (0..times).map(|_| fixture.write(under_way, messages, new_message));
                times.sum()
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
