//! Comments, their storing, and who may not write or be here.

use std::time::Duration;

use redred_signaling::api::{Reply, Request};
use redred_signaling::error::Rule;
use redred_signaling::sim::{World, streamer, viewer, with_grants};
use redred_signaling::store::StoreOp;
use redred_signaling::{Channel, CloseCode, Config, ErrorCode, SessionId, StreamName};
use serde_json::json;

const LIVE: &str = "live:ana";

fn admit() -> Request {
    Request::Admit {
        channel: Channel::parse(LIVE).expect("a channel"),
    }
}

fn room() -> (World, SessionId, SessionId) {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.take(ana);
    world.take(bo);
    (world, ana, bo)
}

#[test]
fn a_comment_is_stored_then_acknowledged_then_seen_by_all() {
    let (mut world, ana, bo) = room();
    let text = json!({"text": "hi", "client_id": "c-1"});
    let first = world.ask(bo, LIVE, "comment", text.clone());
    let of_streams = |world: &World| {
        let ops = world.stored.iter();
        ops.filter(|op| !matches!(op, StoreOp::Chat(_))).count()
    };
    assert_eq!(of_streams(&world), 2, "loaded, then the comment");
    let seen = world.take_kind(ana, "comment");
    assert_eq!(
        seen[0]["user"],
        json!({"id": "bo", "name": "bo", "role": "viewer"})
    );
    assert_eq!(seen[0]["id"], first["data"]["id"]);
    let repeat = world.ask(bo, LIVE, "comment", text);
    assert_eq!(repeat["data"], first["data"]);
    assert!(world.take_kind(ana, "comment").is_empty());
}

#[test]
fn nothing_is_acknowledged_or_seen_that_is_not_stored() {
    let (mut world, ana, bo) = room();
    world.is_store_down = true;
    let text = json!({"text": "hi", "client_id": "c-1"});
    let refused = world.ask(bo, LIVE, "comment", text.clone());
    assert_eq!(refused["data"]["code"], "unavailable");
    assert_eq!(refused["data"]["retryable"], true);
    let refused = world.ask(ana, LIVE, "ban", json!({"user_id": "bo"}));
    assert_eq!(refused["data"]["code"], "unavailable");
    assert_eq!(world.closed.get(&bo), None);
    let late = world.connect(&viewer("cy"), None);
    let subscribe = json!({"channel": "live:other"});
    let refused = world.ask(late, LIVE, "subscribe", subscribe.clone());
    assert_eq!(refused["data"]["code"], "unavailable");
    world.is_store_down = false;
    assert!(world.take_kind(ana, "comment").is_empty());
    assert_eq!(world.ask(bo, LIVE, "comment", text)["type"], "ack");
    assert_eq!(world.take_kind(ana, "comment").len(), 1);
    assert_eq!(world.ask(late, LIVE, "subscribe", subscribe)["type"], "ack");
}

#[test]
fn a_ban_cuts_media_and_chat_at_once_and_outlives_the_session() {
    let (mut world, ana, bo) = room();
    world.go_live(ana, "ana");
    world.ask(bo, LIVE, "watch", json!({}));
    let whep = Request::WhepWatch {
        stream: StreamName::new("ana").expect("a name"),
        offer: "v=0".to_owned(),
        wait: None,
    };
    let created = world.http(&viewer("bo"), whep.clone());
    assert!(matches!(created, Some(Ok(Reply::Created { .. }))));
    assert_eq!(world.hub.stats().live_viewers, 2);
    let ban = json!({"user_id": "bo", "reason": "rude"});
    assert_eq!(world.ask(ana, LIVE, "ban", ban)["type"], "ack");
    assert_eq!(world.hub.stats().live_viewers, 0);
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Removed));
    assert_eq!(world.take_kind(bo, "user_moderated")[0]["action"], "ban");
    world.take(bo);
    world.ask(ana, LIVE, "comment", json!({"text": "bye"}));
    assert!(world.take(bo).is_empty());
    // At the door, by path, by subscription, by WHEP: still out.
    let refused = world.http(&viewer("bo"), admit()).expect("answered");
    assert_eq!(refused.map_err(|e| e.rule), Err(Some(Rule::Banned)));
    let by_path = world.connect(&viewer("bo"), Some(LIVE));
    assert_eq!(world.closed.get(&by_path), Some(&CloseCode::Removed));
    let again = world.connect(&viewer("bo"), None);
    let refused = world.ask(again, LIVE, "subscribe", json!({"channel": LIVE}));
    assert_eq!(refused["data"]["reason"], "banned");
    assert_eq!(
        world.ask(again, LIVE, "watch", json!({}))["data"]["code"],
        "forbidden"
    );
    let refused = world.http(&viewer("bo"), whep);
    assert_eq!(
        refused.map(|r| r.map_err(|e| e.code)),
        Some(Err(ErrorCode::Forbidden))
    );
    world.ask(ana, LIVE, "unban", json!({"user_id": "bo"}));
    assert_eq!(world.http(&viewer("bo"), admit()), Some(Ok(Reply::Done)));
    assert_eq!(
        world.ask(again, LIVE, "subscribe", json!({"channel": LIVE}))["type"],
        "ack"
    );
}

#[test]
fn a_kicked_viewer_may_come_back_after_a_while() {
    let (mut world, ana, bo) = room();
    world.ask(ana, LIVE, "kick", json!({"user_id": "bo"}));
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Removed));
    let early = world.connect(&viewer("bo"), Some(LIVE));
    assert_eq!(world.closed.get(&early), Some(&CloseCode::Removed));
    let refused = world.http(&viewer("bo"), admit()).expect("answered");
    let error = refused.expect_err("kicked");
    assert_eq!(error.rule, Some(Rule::Kicked));
    assert_eq!(error.retry_after_ms, Some(30_000));
    world.advance(Duration::from_secs(31));
    assert_eq!(world.http(&viewer("bo"), admit()), Some(Ok(Reply::Done)));
    let later = world.connect(&viewer("bo"), Some(LIVE));
    assert_eq!(world.closed.get(&later), None);
}

#[test]
fn a_timed_out_viewer_watches_but_does_not_write() {
    let (mut world, ana, bo) = room();
    world.ask(
        ana,
        LIVE,
        "timeout",
        json!({"user_id": "bo", "seconds": 60}),
    );
    let refused = world.ask(bo, LIVE, "comment", json!({"text": "hi"}));
    assert_eq!(refused["data"]["reason"], "timeout");
    assert_eq!(refused["data"]["retry_after_ms"], 60_000);
    world.advance(Duration::from_secs(50));
    world.send_text(bo, r#"{"type":"pong","data":{}}"#);
    world.advance(Duration::from_secs(11));
    assert_eq!(
        world.ask(bo, LIVE, "comment", json!({"text": "hi"}))["type"],
        "ack"
    );
}

#[test]
fn slow_mode_binds_viewers_and_not_vips_or_staff() {
    let (mut world, ana, bo) = room();
    let cy = world.connect(&viewer("cy"), Some(LIVE));
    world.ask(ana, LIVE, "slow_mode", json!({"seconds": 10}));
    assert_eq!(
        world.take_kind(bo, "room_settings")[0]["slow_mode_seconds"],
        10
    );
    world.ask(
        ana,
        LIVE,
        "set_role",
        json!({"user_id": "cy", "role": "vip"}),
    );
    for who in [ana, cy] {
        for _ in 0..3 {
            let ack = world.ask(who, LIVE, "comment", json!({"text": "hi"}));
            assert_eq!(ack["type"], "ack");
        }
    }
    world.ask(bo, LIVE, "comment", json!({"text": "one"}));
    let refused = world.ask(bo, LIVE, "comment", json!({"text": "two"}));
    assert_eq!(refused["data"]["reason"], "slow_mode");
    assert_eq!(refused["data"]["retry_after_ms"], 10_000);
    world.advance(Duration::from_secs(10));
    assert_eq!(
        world.ask(bo, LIVE, "comment", json!({"text": "two"}))["type"],
        "ack"
    );
}

#[test]
fn a_deleted_comment_is_gone_for_everybody_also_where_it_was_pinned() {
    let (mut world, ana, bo) = room();
    let id = world.ask(bo, LIVE, "comment", json!({"text": "hi"}))["data"]["id"].clone();
    world.ask(ana, LIVE, "pin_comment", json!({"id": id}));
    assert_eq!(world.take_kind(bo, "room_settings")[0]["pinned"]["id"], id);
    let refused = world.ask(bo, LIVE, "delete_comment", json!({"id": id}));
    assert_eq!(refused["data"]["code"], "forbidden");
    world.ask(ana, LIVE, "delete_comment", json!({"id": id}));
    let told = world.take(bo);
    let is = |kind: &str| {
        told.iter()
            .find(|m| m["type"] == kind)
            .map(|m| m["data"].clone())
    };
    assert_eq!(
        is("comment_deleted").map(|d| d["id"].clone()),
        Some(id.clone())
    );
    assert_eq!(
        is("room_settings").map(|d| d["pinned"].is_null()),
        Some(true)
    );
    let missing = world.ask(ana, LIVE, "delete_comment", json!({"id": id}));
    assert_eq!(missing["data"]["code"], "not_found");
}

#[test]
fn nobody_moderates_above_their_rank() {
    let (mut world, ana, bo) = room();
    world.ask(
        ana,
        LIVE,
        "set_role",
        json!({"user_id": "bo", "role": "moderator"}),
    );
    world.connect(&viewer("cy"), Some(LIVE));
    let moderator = world.connect(&with_grants("di", r#"{"moderate":["ana"]}"#), Some(LIVE));
    for (who, kind, data) in [
        (bo, "ban", json!({"user_id": "ana"})),
        (bo, "kick", json!({"user_id": "di"})),
        (bo, "ban", json!({"user_id": "bo"})),
        (
            moderator,
            "set_role",
            json!({"user_id": "cy", "role": "moderator"}),
        ),
    ] {
        let refused = world.ask(who, LIVE, kind, data.clone());
        assert_eq!(refused["data"]["code"], "forbidden", "{kind} {data}");
    }
    assert_eq!(
        world.ask(bo, LIVE, "kick", json!({"user_id": "cy"}))["type"],
        "ack"
    );
}
