//! What was acknowledged is there, whatever happens to the process or to the database.
//!
//! These take a while, so they run on request: `cargo test --lib -- --ignored durability`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redred_signaling::grants::User;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::chat::{ChatOk, ChatOp, MemberRole, NewMessage, NewRoom, RoomKind};
use redred_signaling::store::notifications::{NewNotification, NotificationOp, Priority};
use redred_signaling::store::{StoreId, StoreOk, StoreOp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::Fixture;
use super::live::{comment, user};
use super::postgres::{self, Cluster};

/// How often the writer is killed; the environment variable REDRED_KILLS asks for another number.
const KILLS: u64 = 200;

/// A new database after so many kills, so that checking it stays quick.
const KILLS_PER_DATABASE: u64 = 20;

/// How often PostgreSQL is killed under load.
const RESTARTS: usize = 5;

/// Requests under way.
const UNDER_WAY: usize = 64;

const URL: &str = "REDRED_TEST_WRITER_URL";
const SEED: &str = "REDRED_TEST_WRITER_SEED";

#[test]
#[ignore = "takes a while"]
fn durability_of_sqlite_under_kill_9() {
    let kills = std::env::var("REDRED_KILLS").map_or(KILLS, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut directory = TempDir::new().expect("a temporary directory");
    let (mut acknowledged, mut silent) = (0, 0);
    for kill in 0..kills {
        if kill % KILLS_PER_DATABASE == 0 {
            directory = TempDir::new().expect("a temporary directory");
        }
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let heard = kill_a_writer(&url, kill, random.random_range(0..300));
        silent += usize::from(heard.is_empty());
        acknowledged += heard.len();
        runtime.block_on(check(&url, kill, &heard));
    }
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{kills} kills, {acknowledged} acknowledged, 0 lost, {silent} before the first"
    )
    .expect("written");
    assert!(
        acknowledged as u64 > kills * 50,
        "{acknowledged} is no load"
    );
}

/// Starts a process that writes, kills it after so many acknowledgements, and answers all that it gave.
fn kill_a_writer(url: &str, seed: u64, after: usize) -> Vec<String> {
    let mut writer = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--ignored",
            "--exact",
            "store::tests::durability::the_writer_that_is_killed",
        ])
        .env(URL, url)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let output = writer.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(output)
        .lines()
        .map(|line| line.expect("text"));
    let mut heard = Vec::new();
    assert!(
        lines.any(|line| line == "ready"),
        "the writer did not start"
    );
    heard.extend(lines.by_ref().take(after));
    writer.kill().expect("killed");
    // What was on its way when it died counts too, unless it was cut off.
    heard.extend(lines);
    writer.wait().expect("gone");
    let is_whole = |line: &String| line.len() == "m ".len() + 32;
    heard.retain(is_whole);
    heard
}

/// Not a test of its own: the process that [`kill_a_writer`] starts. It says what is acknowledged and never ends.
#[tokio::test]
#[ignore = "the other half of durability_of_sqlite_under_kill_9"]
async fn the_writer_that_is_killed() {
    let (Ok(url), Ok(seed)) = (std::env::var(URL), std::env::var(SEED)) else {
        return;
    };
    let mut load = Load::new(seed.parse().expect("a number"));
    let mut fixture = Fixture::open(url, None).await;
    load.begin(&mut fixture).await;
    let mut out = std::io::stdout();
    writeln!(out, "ready").expect("a reader");
    let mut under_way = HashMap::new();
    loop {
        while under_way.len() < UNDER_WAY {
            let (name, op) = load.next();
            under_way.insert(fixture.submit(op), name);
        }
        let reply = fixture.store.reply().await.expect("a living store");
        let name = under_way.remove(&reply.id).expect("one that was asked");
        reply.result.expect("a working database");
        writeln!(out, "{name}").expect("a reader");
    }
}

/// Whether everything that was heard is there, and everything that is there fits together.
async fn check(url: &str, seed: u64, heard: &[String]) {
    let options: SqliteConnectOptions = url.parse().expect("a valid URL");
    let mut database = options.connect().await.expect("a database");
    for (kind, sql) in [
        ("m", "SELECT id FROM messages"),
        (
            "e",
            "SELECT id FROM messages WHERE edited_at_ms IS NOT NULL",
        ),
        ("c", "SELECT id FROM comments"),
        ("n", "SELECT id FROM notifications"),
    ] {
        let stored: Vec<String> = sqlx::query_scalar(sql)
            .fetch_all(&mut database)
            .await
            .expect("readable");
        let stored: HashSet<&str> = stored.iter().map(String::as_str).collect();
        let of_kind = heard.iter().filter_map(|line| line.split_once(' '));
        for (_, id) in of_kind.filter(|(of, _)| *of == kind) {
            assert!(
                stored.contains(id),
                "seed {seed}: {kind} {id} was acknowledged and is lost"
            );
        }
    }
    let integrity: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut database)
        .await
        .expect("an answer");
    assert_eq!(integrity, "ok", "seed {seed}");
    assert_eq!(misfits(&mut database).await, 0, "seed {seed}");
    database.close().await.expect("closed");
}

/// Rooms whose log has a gap or whose counters are wrong, and inboxes likewise.
const MISFITS: &str = "
    SELECT (
        SELECT count(*) FROM rooms WHERE last_seq <>
            (SELECT count(*) FROM messages WHERE room = rooms.id)
            + (SELECT count(*) FROM room_log WHERE room = rooms.id)
        OR rooms.messages <> (SELECT count(*) FROM messages WHERE room = rooms.id)
        OR rooms.messages <> (SELECT coalesce(max(ordinal), 0) FROM messages WHERE room = rooms.id)
    ) + (
        SELECT count(*) FROM inboxes WHERE unread <>
            (SELECT count(*) FROM notifications WHERE user_id = inboxes.user_id AND read_at_ms IS NULL)
    )";

async fn misfits(database: &mut SqliteConnection) -> i64 {
    let misfits = sqlx::query_scalar(MISFITS).fetch_one(database).await;
    misfits.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn durability_of_postgres_restarted_under_load() {
    let mut cluster = Cluster::start(true);
    let mut fixture = Fixture::open(cluster.database().await, None).await;
    let mut load = Load::new(1);
    load.begin(&mut fixture).await;
    let mut under_way: HashMap<StoreId, (String, StoreOp)> = HashMap::new();
    let mut heard: HashSet<String> = HashSet::new();
    let mut resumed: HashSet<StoreId> = HashSet::new();
    let mut refused = 0;
    let mut slowest = Duration::ZERO;
    for _ in 0..RESTARTS {
        // Under load a crash; then what was refused is asked again until it is there.
        let mut back: Option<(Instant, StoreId)> = None;
        let mut written = 0;
        while written < 500 {
            if written >= 250 && back.is_none() {
                cluster = tokio::task::spawn_blocking(move || {
                    cluster.kill();
                    cluster.restart();
                    cluster
                })
                .await
                .expect("restarted");
                back = Some((Instant::now(), StoreId(fixture.next)));
            }
            while under_way.len() < UNDER_WAY {
                let (name, op) = load.next();
                under_way.insert(fixture.submit(op.clone()), (name, op));
            }
            let reply = fixture.store.reply().await.expect("a living store");
            let (name, op) = under_way.remove(&reply.id).expect("one that was asked");
            if reply.result.is_ok() {
                written += 1;
                heard.insert(name);
                if let Some((since, first)) = back
                    && reply.id >= first
                    && resumed.insert(first)
                {
                    slowest = slowest.max(since.elapsed());
                }
            } else {
                refused += 1;
                fixture.until_healthy(true).await;
                under_way.insert(fixture.submit(op.clone()), (name, op));
            }
        }
    }
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert_eq!(resumed.len(), RESTARTS);
    assert!(refused > 0, "no restart was noticed");
    let mut database = postgres::connect(&fixture.url).await;
    let mut stored = HashSet::new();
    for sql in [
        "SELECT 'm ' || id FROM messages",
        "SELECT 'e ' || id FROM messages WHERE edited_at_ms IS NOT NULL",
        "SELECT 'c ' || id FROM comments",
        "SELECT 'n ' || id FROM notifications",
    ] {
        let names: Vec<String> = sqlx::query_scalar(sql)
            .fetch_all(&mut database)
            .await
            .expect("readable");
        // The ids are unique by a rule of the schema, so nothing is there twice.
        stored.extend(names);
    }
    let lost: Vec<&String> = heard.difference(&stored).collect();
    assert!(lost.is_empty(), "{} lost, as {:?}", lost.len(), lost[0]);
    let misfits: i64 = sqlx::query_scalar(MISFITS)
        .fetch_one(&mut database)
        .await
        .expect("an answer");
    assert_eq!(misfits, 0);
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{RESTARTS} restarts, {} acknowledged, 0 lost, {refused} refused, writing again after {slowest:?} at most",
        heard.len()
    )
    .expect("written");
}

/// Writes of every kind, each with an id of its own.
pub(super) struct Load {
    seed: u64,
    count: u64,
    rooms: Vec<RoomId>,
}

impl Load {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            count: 0,
            rooms: Vec::new(),
        }
    }

    /// Creates the rooms, or finds them.
    pub(super) async fn begin(&mut self, fixture: &mut Fixture) {
        for number in 0..4 {
            let member = |name: String| (user(&name), MemberRole::Member);
            let new = NewRoom {
                id: RoomId::new(self.id()).expect("a valid name"),
                epoch: String::from("00000001"),
                kind: RoomKind::Direct,
                title: None,
                members: vec![member(format!("a{number}")), member(format!("b{number}"))],
                by: None,
                at_ms: 1,
            };
            match fixture.ask(StoreOp::Chat(ChatOp::CreateRoom(new))).await {
                Ok(StoreOk::Chat(ChatOk::Created { room, .. })) => self.rooms.push(room.id),
                other => panic!("expected a room, got {other:?}"),
            }
        }
    }

    /// A write, and what it is called when it is acknowledged.
    pub(super) fn next(&mut self) -> (String, StoreOp) {
        let id = self.id();
        let room = self.rooms[self.count as usize % self.rooms.len()].clone();
        match self.count % 10 {
            0 => (format!("n {id}"), self.notify(id)),
            1 => {
                let mut comment = comment(self.count);
                comment.client_id = Some(id.clone());
                comment.id.clone_from(&id);
                (format!("c {id}"), StoreOp::AddComment(comment))
            }
            // What came four before is a message, as the last digit of its number is 8.
            2 if self.count > 20 => {
                let message = self.id_of(self.count - 4);
                let room = self.rooms[(self.count - 4) as usize % self.rooms.len()].clone();
                let op = ChatOp::EditMessage {
                    room,
                    by: user(&sender(self.count - 4)),
                    id: message.clone(),
                    text: String::from("edited"),
                    at_ms: self.count,
                };
                (format!("e {message}"), StoreOp::Chat(op))
            }
            _ => (format!("m {id}"), message(room, id, self.count)),
        }
    }

    fn notify(&self, id: String) -> StoreOp {
        StoreOp::Notifications(NotificationOp::Add(NewNotification {
            recipients: vec![(user(&format!("a{}", self.count % 7)), id.clone())],
            kind: String::from("like"),
            priority: Priority::Medium,
            message: String::from("liked"),
            actor: None,
            target: None,
            group_key: None,
            at_ms: self.count,
            idempotency_key: Some(id),
        }))
    }

    fn id(&mut self) -> String {
        self.count += 1;
        self.id_of(self.count)
    }

    fn id_of(&self, count: u64) -> String {
        format!("{:016x}{count:016x}", self.seed)
    }
}

/// A message of a usual length.
pub(super) fn message(room: RoomId, id: String, count: u64) -> StoreOp {
    let name = sender(count);
    StoreOp::Chat(ChatOp::AddMessage(NewMessage {
        client_id: Some(id.clone()),
        id,
        room,
        sender: User {
            id: UserId::new(name.clone()).expect("a valid name"),
            name,
        },
        text: format!("message {count} of somebody who has a lot to say about the weather"),
        reply_to_id: None,
        attachments: Vec::new(),
        at_ms: 1_800_000_000_000 + count,
    }))
}

fn sender(count: u64) -> String {
    format!("a{}", count % 4)
}
