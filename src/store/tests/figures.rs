//! Messages stored and acknowledged a second, by group commit with `synchronous=FULL`. We hold 10 000 on SQLite, built
//! with `--release` on two cores: `cargo test --release --lib -- --ignored --nocapture figures`.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use redred_signaling::id::RoomId;
use redred_signaling::store::StoreOp;
use redred_signaling::store::chat::{ChatOp, MemberRole, NewRoom, RoomKind};

use super::Fixture;
use super::durability::message;
use super::live::user;
use super::postgres::Cluster;

const MESSAGES: u64 = 20_000;
const ROOMS: u64 = 100;

#[tokio::test]
#[ignore = "a figure"]
async fn figures_of_sqlite() {
    figures(Fixture::sqlite().await).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn figures_of_postgres() {
    let cluster = Cluster::start(true);
    figures(Fixture::open(cluster.database().await, None).await).await;
}

async fn figures(mut fixture: Fixture) {
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        let room = RoomId::new(format!("room-{number}")).expect("a valid name");
        rooms.push(room.clone());
        let new = NewRoom {
            id: room,
            epoch: String::from("00000001"),
            kind: RoomKind::Group,
            title: None,
            members: (0..4)
                .map(|member| (user(&format!("a{member}")), MemberRole::Member))
                .collect(),
            by: None,
            at_ms: 1,
        };
        let created = fixture.ask(StoreOp::Chat(ChatOp::CreateRoom(new))).await;
        created.expect("a new room");
    }
    for under_way in [1, 64, 2048] {
        let messages = if under_way == 1 {
            MESSAGES / 20
        } else {
            MESSAGES
        };
        let commits = fixture.store.monitor().stats().commits;
        let begun = Instant::now();
        let latencies = write(&mut fixture, &rooms, under_way, messages).await;
        let seconds = begun.elapsed().as_secs_f64();
        let commits = fixture.store.monitor().stats().commits - commits;
        let at = |percent: usize| latencies[latencies.len() * percent / 100];
        writeln!(
            std::io::stdout(),
            "{}, {under_way} under way: {:.0} messages a second, {:.0} in a commit, p50 {:.1?}, p99 {:.1?}",
            fixture.url.split(':').next().unwrap_or_default(),
            messages as f64 / seconds,
            messages as f64 / commits as f64,
            at(50),
            at(99),
        )
        .expect("written");
        assert_eq!(latencies.len() as u64, messages);
    }
}

/// How long each message took, the shortest first.
async fn write(
    fixture: &mut Fixture,
    rooms: &[RoomId],
    under_way: usize,
    messages: u64,
) -> Vec<Duration> {
    let mut asked = HashMap::new();
    let mut latencies = Vec::new();
    let mut count = 0;
    while count < messages || !asked.is_empty() {
        while asked.len() < under_way && count < messages {
            let number = fixture.next;
            let room = rooms[number as usize % rooms.len()].clone();
            // Ids are as random as those of the server.
            let id = format!(
                "{:032x}",
                u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
            );
            let op = message(room, id, number);
            asked.insert(fixture.submit(op), Instant::now());
            count += 1;
        }
        let reply = fixture.store.reply().await.expect("a living store");
        reply.result.expect("stored");
        let begun = asked.remove(&reply.id).expect("one that was asked");
        latencies.push(begun.elapsed());
    }
    latencies.sort_unstable();
    latencies
}
