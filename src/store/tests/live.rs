//! Live streams: comments, moderation, runs.

use redred_signaling::grants::User;
use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::{
    Ban, Comment, Role, RoleEntry, Settings, StoreError, StoreId, StoreOk, StoreOp, StoredRole,
    StreamEnded, StreamStarted, StreamState, Timeout,
};

use super::{Fixture, on_each_database};

on_each_database! {
    an_unknown_stream_is_empty,
    the_last_comments_come_back_oldest_first_after_a_restart,
    a_comment_sent_twice_is_stored_once,
    a_deleted_comment_is_gone_from_the_list_and_from_the_pin,
    moderation_is_kept_and_lifted,
    a_run_ends_only_if_it_was_started,
    many_requests_share_few_commits_and_are_answered_in_order,
}

async fn an_unknown_stream_is_empty(mut fixture: Fixture) {
    assert_eq!(load(&mut fixture).await, StreamState::default());
}

async fn the_last_comments_come_back_oldest_first_after_a_restart(mut fixture: Fixture) {
    for number in 0..5 {
        let stored = fixture.ask(StoreOp::AddComment(comment(number))).await;
        assert_eq!(stored, Ok(StoreOk::Comment(comment(number))));
    }
    let state = load(&mut fixture.reopen().await).await;
    assert_eq!(state.comments, [comment(2), comment(3), comment(4)]);
}

async fn a_comment_sent_twice_is_stored_once(mut fixture: Fixture) {
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
        texts(&load(&mut fixture).await),
        ["comment 0", "comment 2", "comment 3"]
    );
}

async fn a_deleted_comment_is_gone_from_the_list_and_from_the_pin(mut fixture: Fixture) {
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
    let state = load(&mut fixture).await;
    assert_eq!((state.settings, state.pinned), (settings, Some(comment(0))));

    let delete = StoreOp::DeleteComment {
        stream: stream(),
        id: comment(0).id,
        by: user("ana"),
        at_ms: 9,
    };
    fixture.done(delete.clone()).await;
    assert_eq!(fixture.ask(delete).await, Err(StoreError::NotFound));
    let state = load(&mut fixture).await;
    assert_eq!(
        (texts(&state), state.pinned.clone()),
        (vec!["comment 1"], None)
    );
}

async fn moderation_is_kept_and_lifted(mut fixture: Fixture) {
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
    let state = load(&mut fixture).await;
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
    let state = load(&mut fixture).await;
    assert_eq!((state.bans, state.timeouts), (vec![ban("cy")], vec![]));
    fixture.done(unban("cy")).await;
    fixture.done(unban("cy")).await;
    fixture.done(set_role(None)).await;
    assert_eq!(load(&mut fixture).await, StreamState::default());
}

async fn a_run_ends_only_if_it_was_started(mut fixture: Fixture) {
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

async fn many_requests_share_few_commits_and_are_answered_in_order(mut fixture: Fixture) {
    for number in 0..1000 {
        fixture.submit(StoreOp::AddComment(comment(number)));
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

pub(super) async fn load(fixture: &mut Fixture) -> StreamState {
    let op = StoreOp::LoadStream {
        stream: stream(),
        comments: 3,
    };
    match fixture.ask(op).await {
        Ok(StoreOk::Loaded(state)) => state,
        other => panic!("expected the state of the stream, got {other:?}"),
    }
}

pub(super) fn stream() -> StreamName {
    StreamName::new("ana").expect("a valid name")
}

pub(super) fn user(id: &str) -> UserId {
    UserId::new(id).expect("a valid name")
}

pub(super) fn comment(number: u64) -> Comment {
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

pub(super) fn texts(state: &StreamState) -> Vec<&str> {
    state
        .comments
        .iter()
        .map(|comment| comment.text.as_str())
        .collect()
}
