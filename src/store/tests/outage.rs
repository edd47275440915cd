//! A database that is locked, full, lost or restarted: senders are told, nothing is acknowledged that is not stored, and
//! the service goes on by itself.

use std::time::{Duration, Instant};

use redred_signaling::id::RoomId;
use redred_signaling::store::chat::{ChatOk, ChatOp, MemberRole, NewRoom, RoomKind};
use redred_signaling::store::{StoreError, StoreOk, StoreOp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use super::durability::message;
use super::live::{comment, load, texts, user};
use super::postgres::{self, Cluster};
use super::{Fixture, on_each_database};
use crate::metrics::Histogram;
use crate::store::backend::Backend;
use crate::store::{QUEUE, Store, StoreRequest};

on_each_database! {
    a_request_that_cannot_be_stored_spoils_only_itself,
    more_requests_than_may_wait_are_refused,
}

async fn a_request_that_cannot_be_stored_spoils_only_itself(mut fixture: Fixture) {
    // The same comment id under another client id breaks a rule of the schema.
    let mut clash = comment(1);
    clash.client_id = Some(String::from("other"));
    let comments = [comment(1), clash.clone(), comment(2), clash, comment(3)];
    for comment in comments {
        fixture.submit(StoreOp::AddComment(comment));
    }
    let mut stored = Vec::new();
    for _ in 0..5 {
        let reply = fixture.store.reply().await.expect("a living writer");
        stored.push(reply.result.is_ok());
    }
    assert_eq!(stored, [true, false, true, false, true]);
    assert!(fixture.store.monitor().is_healthy());
    let state = load(&mut fixture).await;
    assert_eq!(texts(&state), ["comment 1", "comment 2", "comment 3"]);
}

/// Messages are written together, also then.
#[tokio::test]
async fn a_message_that_cannot_be_stored_spoils_only_itself() {
    let mut fixture = Fixture::sqlite().await;
    let room = RoomId::new("r1").expect("a valid name");
    let new = NewRoom {
        id: room.clone(),
        epoch: String::from("00000001"),
        kind: RoomKind::Group,
        title: None,
        members: vec![(user("a1"), MemberRole::Owner)],
        by: None,
        at_ms: 1,
    };
    let created = fixture.ask(StoreOp::Chat(ChatOp::CreateRoom(new))).await;
    created.expect("a new room");
    let rule = "CREATE TRIGGER rule BEFORE INSERT ON messages WHEN new.id = 'm70'
                BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    run(&mut second(&fixture).await, rule).await;
    for number in 0..100 {
        fixture.submit(message(room.clone(), format!("m{number}"), number));
    }
    let mut seqs = Vec::new();
    for number in 0..100 {
        let reply = fixture.store.reply().await.expect("a living writer");
        match reply.result {
            Ok(StoreOk::Chat(ChatOk::Message { message, is_new })) => {
                assert_eq!((message.id, is_new), (format!("m{number}"), true));
                seqs.push(message.seq);
            }
            refused => {
                assert_eq!(number, 70);
                refuses(&refused, "the database cannot store this");
            }
        }
    }
    assert_eq!(seqs, (1..100).collect::<Vec<u64>>());
    assert!(fixture.store.monitor().is_healthy());
}

async fn more_requests_than_may_wait_are_refused(mut fixture: Fixture) {
    // The test has the only thread, so nothing is taken from the queue meanwhile.
    for number in 0..QUEUE as u64 {
        fixture.submit(StoreOp::AddComment(comment(number)));
    }
    let op = StoreOp::AddComment(comment(0));
    let id = redred_signaling::store::StoreId(0);
    let refused = fixture.store.submit(StoreRequest { id, op });
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    assert_eq!(fixture.store.monitor().stats().refused, 1);
    for _ in 0..QUEUE {
        let reply = fixture.store.reply().await.expect("a living writer");
        assert!(reply.result.is_ok(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_database_in_memory_survives_a_failure() {
    let mut fixture = Fixture::memory().await;
    store(&mut fixture, 1).await;
    let mut clash = comment(1);
    clash.client_id = Some(String::from("other"));
    let refused = fixture.ask(StoreOp::AddComment(clash)).await;
    refuses(&refused, "the database cannot store this");
    assert_eq!(texts(&load(&mut fixture).await), ["comment 1"]);
}

#[tokio::test]
async fn a_file_locked_by_another_process_is_told_and_written_again_when_it_is_free() {
    let mut fixture = Fixture::sqlite().await;
    store(&mut fixture, 0).await;
    let mut other = second(&fixture).await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let refused = fixture.ask(StoreOp::AddComment(comment(1))).await;
    refuses(&refused, "the database is locked");
    assert!(!fixture.store.monitor().is_healthy());
    // Now that it is known, nobody waits for the lock any more.
    let begun = Instant::now();
    let refused = fixture.ask(StoreOp::AddComment(comment(1))).await;
    refuses(&refused, "the database is locked");
    assert!(begun.elapsed() < Duration::from_millis(500));

    run(&mut other, "COMMIT").await;
    fixture.until_healthy(true).await;
    store(&mut fixture, 2).await;
    let state = load(&mut fixture).await;
    assert_eq!(texts(&state), ["comment 0", "comment 2"]);
}

#[tokio::test]
async fn a_full_disk_is_told_and_written_again_when_there_is_room() {
    let mut fixture = Fixture::sqlite().await;
    let url = fixture.url.clone();
    fixture.store.close().await;
    let Ok(Backend::Sqlite(options)) = Backend::parse(&url) else {
        panic!("an SQLite URL");
    };
    // SQLite answers as it does when the disk is full, for every connection of the store.
    let backend = Backend::Sqlite(options.pragma("max_page_count", "120"));
    let opened = Store::open_backend(backend, Histogram::default()).await;
    fixture.store = opened.expect("opened again");

    let mut stored = 0;
    let refused = loop {
        let mut long = comment(stored);
        long.text = "x".repeat(2000);
        match fixture.ask(StoreOp::AddComment(long)).await {
            Ok(_) => stored += 1,
            refused => break refused,
        }
    };
    refuses(&refused, "the database is full");
    assert!(stored > 10, "{stored}");
    let mut other = second(&fixture).await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM comments")
        .fetch_one(&mut other)
        .await
        .expect("readable");
    assert_eq!(u64::try_from(count), Ok(stored));

    run(&mut other, "DELETE FROM comments").await;
    fixture.until_healthy(true).await;
    store(&mut fixture, 1).await;
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_rows_locked_by_somebody_else_are_told_and_written_again_when_they_are_free() {
    let mut fixture = Fixture::postgres().await;
    let mut other = postgres::connect(&fixture.url).await;
    let lock = "BEGIN; LOCK TABLE comments IN EXCLUSIVE MODE";
    sqlx::raw_sql(lock)
        .execute(&mut other)
        .await
        .expect("the lock");
    let refused = fixture.ask(StoreOp::AddComment(comment(1))).await;
    refuses(&refused, "the database is locked");

    other.close().await.expect("closed");
    fixture.until_healthy(true).await;
    store(&mut fixture, 2).await;
    assert_eq!(texts(&load(&mut fixture).await), ["comment 2"]);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_restarted_while_nobody_asks_is_not_noticed() {
    let mut cluster = Cluster::start(true);
    let mut fixture = Fixture::open(cluster.database().await, None).await;
    store(&mut fixture, 1).await;
    cluster.kill();
    cluster.restart();
    store(&mut fixture, 2).await;
    let state = load(&mut fixture).await;
    assert_eq!(texts(&state), ["comment 1", "comment 2"]);
}

#[tokio::test]
#[ignore = "needs postgres"]
async fn postgres_lost_is_told_at_once_and_used_again_when_it_is_back() {
    let mut cluster = Cluster::start(true);
    let mut fixture = Fixture::open(cluster.database().await, None).await;
    store(&mut fixture, 1).await;
    cluster.kill();
    let begun = Instant::now();
    for _ in 0..1000 {
        let refused = fixture.ask(StoreOp::AddComment(comment(2))).await;
        refuses(&refused, "the database is lost");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    cluster.restart();
    fixture.until_healthy(true).await;
    store(&mut fixture, 3).await;
    let state = load(&mut fixture).await;
    assert_eq!(texts(&state), ["comment 1", "comment 3"]);
}

/// Stores a comment.
async fn store(fixture: &mut Fixture, number: u64) {
    let stored = fixture.ask(StoreOp::AddComment(comment(number))).await;
    assert_eq!(stored, Ok(StoreOk::Comment(comment(number))));
}

fn refuses(answer: &Result<StoreOk, StoreError>, reason: &str) {
    assert_eq!(answer, &Err(StoreError::Unavailable(reason.to_owned())));
}

/// A connection besides the store's, as another process has.
async fn second(fixture: &Fixture) -> SqliteConnection {
    let options: SqliteConnectOptions = fixture.url.parse().expect("a valid URL");
    options.connect().await.expect("a second connection")
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .expect("carried out");
}
