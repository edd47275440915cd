//! Connecting, resuming, refreshing and ending a session.

use std::time::Duration;

use redred_signaling::sim::{START_MS, World, streamer, viewer, with_grants};
use redred_signaling::{CloseCode, Config};
use serde_json::json;

#[test]
fn the_first_message_says_who_the_session_is() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), Some("live:ana"));
    let messages = world.take(bo);
    assert_eq!(messages[0]["type"], "connection_established");
    assert_eq!(messages[0]["data"]["user_id"], "bo");
    assert_eq!(messages[0]["data"]["resumed"], false);
    assert_eq!(messages[1]["type"], "subscribed");
    assert_eq!(messages[1]["data"]["channel"], "live:ana");
    assert_eq!(messages[1]["data"]["state"]["live"], false);
}

#[test]
fn a_path_that_the_token_does_not_grant_is_closed_for_good() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&with_grants("bo", r#"{"watch":["x"]}"#), Some("live:ana"));
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Unauthorised));
}

#[test]
fn a_resumed_session_keeps_its_identity_and_replaces_the_old_socket() {
    let mut world = World::new(Config::default());
    let old = world.connect(&viewer("bo"), None);
    let first = world.take(old)[0]["data"].clone();
    let token = first["resume_token"].as_str().map(str::to_owned);
    let new = world.connect_with(&viewer("bo"), None, token.clone());
    let second = world.take(new)[0]["data"].clone();
    assert_eq!(second["session_id"], first["session_id"]);
    assert_eq!(second["resumed"], true);
    assert_eq!(world.closed.get(&old), Some(&CloseCode::Replaced));
    // A resume token works once, and only for its user.
    let again = world.connect_with(&viewer("bo"), None, token);
    assert_eq!(world.take(again)[0]["data"]["resumed"], false);
    let token = second["resume_token"].as_str().map(str::to_owned);
    let other = world.connect_with(&viewer("eve"), None, token);
    assert_eq!(world.take(other)[0]["data"]["resumed"], false);
}

#[test]
fn a_silent_session_is_pinged_then_closed_and_a_heard_one_is_not() {
    let mut world = World::new(Config::default());
    let silent = world.connect(&viewer("bo"), None);
    let heard = world.connect(&viewer("cy"), None);
    for _ in 0..8 {
        world.advance(Duration::from_secs(10));
        world.hub.handle_heard(world.now, heard);
    }
    assert!(!world.take_kind(silent, "ping").is_empty());
    assert_eq!(world.closed.get(&silent), Some(&CloseCode::Idle));
    assert_eq!(world.closed.get(&heard), None);
}

#[test]
fn a_session_ends_with_its_token_unless_it_is_refreshed() {
    let mut world = World::new(Config::default());
    let mut short = viewer("bo");
    short.expires_at_ms = START_MS + 20_000;
    let (kept, lost) = (world.connect(&short, None), world.connect(&short, None));
    let mut longer = short.clone();
    longer.expires_at_ms = START_MS + 50_000;
    world.tokens.insert("good".to_owned(), longer);
    world.tokens.insert("other".to_owned(), viewer("eve"));
    let refused = world.ask(kept, "streams", "refresh_token", json!({"token": "bad"}));
    assert_eq!(refused["data"]["code"], "forbidden");
    let refused = world.ask(kept, "streams", "refresh_token", json!({"token": "other"}));
    assert_eq!(refused["data"]["code"], "forbidden");
    let ack = world.ask(kept, "streams", "refresh_token", json!({"token": "good"}));
    assert_eq!(ack["type"], "ack");
    world.advance(Duration::from_secs(25));
    assert_eq!(world.closed.get(&lost), Some(&CloseCode::TokenExpired));
    assert_eq!(world.closed.get(&kept), None);
}

#[test]
fn bad_messages_are_answered_and_repeated_abuse_is_closed() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), None);
    for (bad, code) in [
        ("{", "bad_message"),
        (r#"{"type":"nope","data":{}}"#, "unknown_type"),
        (r#"{"type":"subscribe","data":{}}"#, "invalid_field"),
        (
            r#"{"type":"subscribe","data":{"channel":"x:y"}}"#,
            "not_found",
        ),
        (
            r#"{"type":"comment","data":{"text":"hi"}}"#,
            "invalid_field",
        ),
    ] {
        world.take(bo);
        world.send_text(bo, bad);
        assert_eq!(world.take_kind(bo, "error")[0]["code"], code, "{bad}");
    }
    assert_eq!(world.closed.get(&bo), None);
    for _ in 0..100 {
        world.send_text(bo, "{");
    }
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Abuse));
}

#[test]
fn draining_tells_each_session_when_to_come_back() {
    let mut world = World::new(Config::default());
    let sessions: Vec<_> = (0..5)
        .map(|n| world.connect(&viewer(&format!("u{n}")), None))
        .collect();
    world.hub.handle_drain(world.now, Duration::from_secs(30));
    world.run();
    let mut delays = std::collections::BTreeSet::new();
    for session in sessions {
        let told = world.take_kind(session, "draining");
        delays.insert(told[0]["reconnect_after_ms"].as_u64());
        assert_eq!(world.closed.get(&session), Some(&CloseCode::Draining));
    }
    assert!(delays.len() > 1, "delays are spread: {delays:?}");
    let late = world.connect(&streamer("ana"), None);
    assert_eq!(world.closed.get(&late), Some(&CloseCode::Draining));
}

#[test]
fn too_many_sessions_of_a_user_are_turned_away() {
    let mut config = Config::default();
    config.session.max_sessions_per_user = 2;
    let mut world = World::new(config);
    let first = world.connect(&viewer("bo"), None);
    world.connect(&viewer("bo"), None);
    let third = world.connect(&viewer("bo"), None);
    assert_eq!(world.closed.get(&third), Some(&CloseCode::RateLimited));
    world.disconnect(first);
    let fourth = world.connect(&viewer("bo"), None);
    assert_eq!(
        world.closed.get(&fourth),
        None,
        "a detached session makes room"
    );
}
