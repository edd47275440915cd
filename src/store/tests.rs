use redred_signaling::grants::User;
use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::{
    Ban, Comment, Role, RoleEntry, Settings, StoreError, StoreId, StoreOk, StoreOp, StoredRole,
    StreamEnded, StreamStarted, StreamState, Timeout,
};
use tempfile::TempDir;

use super::*;

/// A store in a file, and what it needs to be asked conveniently.
struct Fixture {
    directory: TempDir,
    store: Store,
    next: u64,
}

impl Fixture {
    async fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let store = open(&directory).await;
        Self {
            directory,
            store,
            next: 0,
        }
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        let store = open(&self.directory).await;
        Self {
            directory: self.directory,
            store,
            next: self.next,
        }
    }

    async fn ask(&mut self, op: StoreOp) -> Result<StoreOk, StoreError> {
        let id = StoreId(self.next);
        self.next += 1;
        self.store
            .submit(StoreRequest { id, op })
            .expect("room in the queue");
        let reply = self.store.reply().await.expect("a living writer");
        assert_eq!(reply.id, id);
        reply.result
    }

    async fn done(&mut self, op: StoreOp) {
        assert_eq!(self.ask(op).await, Ok(StoreOk::Done));
    }

    async fn load(&mut self) -> StreamState {
        let op = StoreOp::LoadStream {
            stream: stream(),
            comments: 3,
        };
        match self.ask(op).await {
            Ok(StoreOk::Loaded(state)) => state,
            other => panic!("expected the state of the stream, got {other:?}"),
        }
    }
}

async fn open(directory: &TempDir) -> Store {
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    Store::open(&url, Histogram::default())
        .await
        .expect("a new database")
}

async fn open_memory() -> Store {
    Store::open("sqlite::memory:", Histogram::default())
        .await
        .expect("a database in memory")
}

fn stream() -> StreamName {
    StreamName::new("ana").expect("a valid name")
}

fn user(id: &str) -> UserId {
    UserId::new(id).expect("a valid name")
}

fn comment(number: u64) -> Comment {
    Comment {
        id: format!("{number:032x}"),
        stream: stream(),
        user: User {
            id: user("bo"),
            name: String::from("Bo \u{1f600}"),
        },
        role: Role::Vip,
        text: format!("comment {number}"),
        highlighted: false,
        client_id: Some(format!("client-{number}")),
        created_at_ms: 1_800_000_000_000 + number,
    }
}

fn ban(id: &str) -> Ban {
    let reason = Some(String::from("spam"));
    Ban {
        stream: stream(),
        user: user(id),
        by: user("ana"),
        reason,
        at_ms: 7,
    }
}

fn texts(state: &StreamState) -> Vec<&str> {
    state
        .comments
        .iter()
        .map(|comment| comment.text.as_str())
        .collect()
}

#[tokio::test]
async fn an_unknown_stream_is_empty() {
    assert_eq!(Fixture::new().await.load().await, StreamState::default());
}

#[tokio::test]
async fn the_last_comments_come_back_oldest_first_after_a_restart() {
    let mut fixture = Fixture::new().await;
    for number in 0..5 {
        let stored = fixture.ask(StoreOp::AddComment(comment(number))).await;
        assert_eq!(stored, Ok(StoreOk::Comment(comment(number))));
    }
    let state = fixture.reopen().await.load().await;
    assert_eq!(state.comments, [comment(2), comment(3), comment(4)]);
}

#[tokio::test]
async fn a_comment_sent_twice_is_stored_once() {
    let mut fixture = Fixture::new().await;
    fixture
        .ask(StoreOp::AddComment(comment(0)))
        .await
        .expect("stored");
    let mut again = comment(1);
    again.client_id = comment(0).client_id;
    let stored = fixture.ask(StoreOp::AddComment(again)).await;
    assert_eq!(stored, Ok(StoreOk::Comment(comment(0))));
    for number in 2..4 {
        let mut anonymous = comment(number);
        anonymous.client_id = None;
        fixture
            .ask(StoreOp::AddComment(anonymous))
            .await
            .expect("stored");
    }
    assert_eq!(
        texts(&fixture.load().await),
        ["comment 0", "comment 2", "comment 3"]
    );
}

#[tokio::test]
async fn a_deleted_comment_is_gone_from_the_list_and_from_the_pin() {
    let mut fixture = Fixture::new().await;
    for number in 0..2 {
        fixture
            .ask(StoreOp::AddComment(comment(number)))
            .await
            .expect("stored");
    }
    let settings = Settings {
        slow_mode_seconds: 5,
        pinned_comment: Some(comment(0).id),
    };
    fixture
        .done(StoreOp::SaveSettings {
            stream: stream(),
            settings: settings.clone(),
        })
        .await;
    let state = fixture.load().await;
    assert_eq!((state.settings, state.pinned), (settings, Some(comment(0))));

    let delete = StoreOp::DeleteComment {
        stream: stream(),
        id: comment(0).id,
        by: user("ana"),
        at_ms: 9,
    };
    fixture.done(delete.clone()).await;
    assert_eq!(fixture.ask(delete).await, Err(StoreError::NotFound));
    let state = fixture.load().await;
    assert_eq!(
        (texts(&state), state.pinned.clone()),
        (vec!["comment 1"], None)
    );
}

#[tokio::test]
async fn moderation_is_kept_and_lifted() {
    let mut fixture = Fixture::new().await;
    let timeout = Timeout {
        stream: stream(),
        user: user("cy"),
        by: user("ana"),
        reason: None,
        at_ms: 8,
        until_ms: 99,
    };
    fixture.done(StoreOp::Timeout(timeout.clone())).await;
    fixture.done(StoreOp::Ban(ban("bo"))).await;
    let set_role = |role| StoreOp::SetRole {
        stream: stream(),
        user: user("di"),
        role,
        by: user("ana"),
        at_ms: 9,
    };
    fixture.done(set_role(Some(StoredRole::Vip))).await;
    fixture.done(set_role(Some(StoredRole::Moderator))).await;
    let mut fixture = fixture.reopen().await;
    let state = fixture.load().await;
    assert_eq!(
        (state.bans, state.timeouts),
        (vec![ban("bo")], vec![timeout])
    );
    assert_eq!(
        state.roles,
        [RoleEntry {
            user: user("di"),
            role: StoredRole::Moderator
        }]
    );

    // A ban replaces a timeout, and one word lifts both.
    fixture.done(StoreOp::Ban(ban("cy"))).await;
    let unban = |id| StoreOp::Unban {
        stream: stream(),
        user: user(id),
        by: user("ana"),
        at_ms: 1,
    };
    fixture.done(unban("bo")).await;
    let state = fixture.load().await;
    assert_eq!((state.bans, state.timeouts), (vec![ban("cy")], vec![]));
    fixture.done(unban("cy")).await;
    fixture.done(unban("cy")).await;
    fixture.done(set_role(None)).await;
    assert_eq!(fixture.load().await, StreamState::default());
}

#[tokio::test]
async fn a_run_ends_only_if_it_was_started() {
    let mut fixture = Fixture::new().await;
    let started = StreamStarted {
        stream: stream(),
        run: String::from("r1"),
        publisher: user("ana"),
        title: String::from("Hello"),
        tags: vec![String::from("a,b"), String::from("c")],
        at_ms: 1,
    };
    let ended = StreamEnded {
        stream: stream(),
        run: String::from("r1"),
        reason: String::from("ended"),
        duration_ms: 1000,
        peak_viewers: 3,
        at_ms: 1001,
    };
    assert_eq!(
        fixture.ask(StoreOp::StreamEnded(ended.clone())).await,
        Err(StoreError::NotFound)
    );
    fixture.done(StoreOp::StreamStarted(started)).await;
    fixture.done(StoreOp::StreamEnded(ended)).await;
}

#[tokio::test]
async fn many_requests_share_few_commits_and_are_answered_in_order() {
    let mut fixture = Fixture::new().await;
    for number in 0..1000 {
        let op = StoreOp::AddComment(comment(number));
        fixture
            .store
            .submit(StoreRequest {
                id: StoreId(number),
                op,
            })
            .expect("room");
    }
    for number in 0..1000 {
        assert_eq!(
            fixture.store.reply().await.map(|reply| reply.id),
            Some(StoreId(number))
        );
    }
    let stats = fixture.store.monitor().stats();
    assert_eq!(stats.requests, 1000);
    assert!(stats.commits < 50, "{} commits", stats.commits);
}

#[tokio::test]
async fn a_lost_database_fails_requests_and_comes_back_by_itself() {
    let mut fixture = Fixture::new().await;
    fixture
        .ask(StoreOp::AddComment(comment(0)))
        .await
        .expect("stored");
    let path = fixture.directory.path().join("test.db");
    // Another process holds the write lock.
    let url = format!("sqlite://{}", path.display());
    let mut other = SqliteConnectOptions::from_str(&url)
        .expect("a valid URL")
        .connect()
        .await
        .expect("a second connection");
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("the lock");
    let refused = fixture.ask(StoreOp::AddComment(comment(1))).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(!fixture.store.monitor().is_healthy());

    sqlx::query("COMMIT")
        .execute(&mut other)
        .await
        .expect("unlocked");
    fixture
        .ask(StoreOp::AddComment(comment(2)))
        .await
        .expect("stored");
    assert!(fixture.store.monitor().is_healthy());
    assert_eq!(texts(&fixture.load().await), ["comment 0", "comment 2"]);
}

#[tokio::test]
async fn a_database_in_memory_survives_a_failure() {
    let mut store = open_memory().await;
    store
        .submit(StoreRequest {
            id: StoreId(1),
            op: StoreOp::AddComment(comment(1)),
        })
        .expect("room");
    store
        .reply()
        .await
        .expect("a living writer")
        .result
        .expect("stored");
    // The same comment id under another client id breaks a rule of the schema, which fails its transaction.
    let mut clash = comment(1);
    clash.client_id = Some(String::from("other"));
    store
        .submit(StoreRequest {
            id: StoreId(2),
            op: StoreOp::AddComment(clash),
        })
        .expect("room");
    store
        .reply()
        .await
        .expect("a living writer")
        .result
        .expect_err("refused");
    let op = StoreOp::LoadStream {
        stream: stream(),
        comments: 3,
    };
    store
        .submit(StoreRequest { id: StoreId(3), op })
        .expect("room");
    match store.reply().await.expect("a living writer").result {
        Ok(StoreOk::Loaded(state)) => assert_eq!(texts(&state), ["comment 1"]),
        other => panic!("expected the state of the stream, got {other:?}"),
    }
}

#[tokio::test]
async fn other_databases_and_files_that_are_none_are_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("text");
    std::fs::write(&path, "this is not a database, and long enough to show it").expect("written");
    for url in [
        "postgres://localhost/x",
        &format!("sqlite://{}", path.display()),
    ] {
        let error = migrate(url).await.expect_err("refused");
        assert!(format!("{error:#}").contains("store.url"), "{error:#}");
    }
}

#[test]
fn versions_are_compared_by_number() {
    for (version, recent) in [
        ("3.51.3", true),
        ("3.54.0", true),
        ("4.0.0", true),
        ("3.51.2", false),
        ("3.9.9", false),
    ] {
        assert_eq!(is_recent(version), recent, "{version}");
    }
}
