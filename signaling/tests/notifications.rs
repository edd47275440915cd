//! Notifications: stored, told, folded, read, and what the server notices by itself.

use std::time::Duration;

use redred_signaling::api::{Notify, Reply, Request};
use redred_signaling::sim::{World, viewer, with_grants};
use redred_signaling::store::notifications::Notification;
use redred_signaling::{Caller, Config, Error, SessionId, User, UserId};
use serde_json::{Value, json};

#[path = "notifications/delivery.rs"]
mod delivery;
#[path = "notifications/messages.rs"]
mod messages;
#[path = "notifications/model.rs"]
mod model;
#[path = "notifications/notices.rs"]
mod notices;
#[path = "notifications/reading.rs"]
mod reading;
#[path = "notifications/storing.rs"]
mod storing;

const CHANNEL: &str = "notifications";

/// A little more than the batching window.
const WINDOW: Duration = Duration::from_millis(501);

fn world() -> World {
    World::new(Config::default())
}

/// The application, by its API key.
fn app() -> Caller {
    with_grants("app", r#"{"admin":true}"#)
}

fn user(id: &str) -> UserId {
    UserId::new(id).expect("a user id")
}

/// Connects a user to their notifications; what comes first is taken.
fn listen(world: &mut World, id: &str) -> SessionId {
    let session = world.connect(&viewer(id), Some(CHANNEL));
    let kinds: Vec<String> = kinds(&world.take(session));
    assert_eq!(
        kinds,
        ["connection_established", "subscribed", "unread_count"]
    );
    session
}

fn kinds(messages: &[Value]) -> Vec<String> {
    let text = |message: &Value| message["type"].as_str().map(str::to_owned);
    messages.iter().filter_map(text).collect()
}

/// One event of an actor for some users.
fn event(kind: &str, actor: &str, to: &[&str]) -> Notify {
    Notify {
        users: to.iter().map(|id| user(id)).collect(),
        kind: kind.to_owned(),
        message: format!("{actor}: {kind}"),
        actor: Some(User {
            id: user(actor),
            name: actor.to_owned(),
        }),
        target: None,
        group_key: None,
        idempotency_key: None,
    }
}

/// A like of a post, which folds.
fn like(actor: &str, to: &[&str]) -> Notify {
    Notify {
        group_key: Some("post:1".to_owned()),
        ..event("like", actor, to)
    }
}

fn post(world: &mut World, notify: Notify) -> Result<usize, Error> {
    let ask = Request::Notify(Box::new(notify));
    let reply = world.http(&app(), ask).expect("an answer")?;
    let Reply::Accepted { accepted } = reply else {
        panic!("{reply:?}");
    };
    Ok(accepted)
}

fn posted(world: &mut World, notify: Notify) {
    let expected = notify.users.len();
    assert_eq!(post(world, notify), Ok(expected));
}

/// Everything a user has in the store, oldest first.
fn stored(world: &World, id: &str) -> Vec<Notification> {
    world.store.notifications.of(&user(id))
}

fn preferences(world: &mut World, id: &str, preferences: Value) -> Result<Reply, Error> {
    let preferences = serde_json::from_value(preferences).expect("preferences");
    let ask = Request::SetPreferences(preferences);
    world.http(&viewer(id), ask).expect("an answer")
}

/// Subscribes from a position; answers `subscribed` and what follows it, without the `ack`.
fn resume(world: &mut World, id: &str, since: &Value) -> (Value, Vec<Value>) {
    let session = world.connect(&viewer(id), None);
    world.take(session);
    let ask = json!({"channel": CHANNEL, "since": since});
    let answer = world.ask(session, CHANNEL, "subscribe", ask);
    assert_eq!(answer["type"], "ack");
    let mut messages = world.take(session);
    let subscribed = messages.remove(0);
    assert_eq!(subscribed["type"], "subscribed");
    (subscribed["data"].clone(), messages)
}
