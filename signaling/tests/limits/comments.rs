//! Limits of comments, reactions and moderation.

use std::time::Duration;

use redred_signaling::sim::{World, viewer};
use redred_signaling::{SessionId, StoreOp};
use serde_json::{Value, json};

use super::{LIVE, outcome, room};

fn comment(world: &mut World, who: SessionId, text: &str) -> Value {
    world.ask(who, LIVE, "comment", json!({"text": text}))
}

/// Sends a comment whose answer is not waited for.
fn write(world: &mut World, who: SessionId, id: &str, client_id: Option<&str>) {
    let data = json!({"text": "hi", "client_id": client_id});
    let about = json!({"channel": LIVE, "id": id});
    let envelope = json!({"type": "comment", "data": data, "metadata": about});
    world.send_text(who, &envelope.to_string());
}

#[test]
fn the_last_comments_come_with_the_subscription() {
    let (mut world, ana, _) = room(|config| config.chat.recent_comments = 2);
    for text in ["one", "two", "three"] {
        comment(&mut world, ana, text);
    }
    let cy = world.connect(&viewer("cy"), Some(LIVE));
    let subscribed = world.take_kind(cy, "subscribed");
    let comments = subscribed[0]["state"]["comments"].as_array();
    let texts: Vec<&Value> = comments.into_iter().flatten().map(|c| &c["text"]).collect();
    assert_eq!(texts, ["two", "three"]);
}

#[test]
fn comments_pass_in_a_burst_and_then_at_a_pace() {
    let (mut world, ana, bo) = room(|config| {
        config.chat.comments_burst = 2;
        config.chat.comments_per_minute = 30;
    });
    for _ in 0..2 {
        assert_eq!(outcome(&comment(&mut world, bo, "hi")), "ack");
    }
    let refused = comment(&mut world, bo, "hi");
    assert_eq!(outcome(&refused), "rate_limited");
    assert_eq!(refused["data"]["retry_after_ms"], 2000);
    assert_eq!(world.hub.stats().rate_limited, 1);
    for _ in 0..5 {
        assert_eq!(outcome(&comment(&mut world, ana, "the streamer")), "ack");
    }
    world.advance(Duration::from_secs(2));
    assert_eq!(outcome(&comment(&mut world, bo, "hi")), "ack");
}

#[test]
fn the_pace_of_so_many_writers_is_remembered() {
    let (mut world, _, bo) = room(|config| {
        config.chat.comments_burst = 1;
        config.chat.remembered_writers = 1;
    });
    let cy = world.connect(&viewer("cy"), Some(LIVE));
    assert_eq!(outcome(&comment(&mut world, bo, "hi")), "ack");
    assert_eq!(outcome(&comment(&mut world, bo, "hi")), "rate_limited");
    assert_eq!(outcome(&comment(&mut world, cy, "hi")), "ack");
    assert_eq!(outcome(&comment(&mut world, bo, "hi")), "ack");
}

#[test]
fn reactions_pass_in_a_burst_and_then_at_a_pace_and_are_told_once_an_interval() {
    let (mut world, ana, bo) = room(|config| {
        config.chat.reactions_burst = 3;
        config.chat.reactions_per_second = 4;
        config.chat.reactions_interval = Duration::from_millis(400);
    });
    let fire = json!({"emoji": "🔥"});
    for _ in 0..3 {
        assert_eq!(
            outcome(&world.ask(bo, LIVE, "reaction", fire.clone())),
            "ack"
        );
    }
    let refused = world.ask(bo, LIVE, "reaction", fire.clone());
    assert_eq!(outcome(&refused), "rate_limited");
    assert_eq!(refused["data"]["retry_after_ms"], 250);
    assert_eq!(world.hub.stats().rate_limited, 1);
    world.advance(Duration::from_millis(399));
    assert!(world.take_kind(ana, "reactions_update").is_empty());
    world.advance(Duration::from_millis(1));
    let told = world.take_kind(ana, "reactions_update");
    assert_eq!(told, [json!({"counts": {"🔥": 3}})]);
    assert_eq!(outcome(&world.ask(bo, LIVE, "reaction", fire)), "ack");
}

#[test]
fn so_many_different_reactions_are_counted_at_a_time() {
    let (mut world, _, bo) = room(|config| config.chat.reaction_kinds_max = 2);
    let mut react = |emoji: &str| {
        let answer = world.ask(bo, LIVE, "reaction", json!({"emoji": emoji}));
        (outcome(&answer).to_owned(), world.hub.stats().limits_hit)
    };
    for (emoji, expected) in [
        ("🔥", ("ack", 0)),
        ("👏", ("ack", 0)),
        ("🎉", ("rate_limited", 1)),
        ("🔥", ("ack", 1)),
    ] {
        let (code, hits) = react(emoji);
        assert_eq!((code.as_str(), hits), expected, "{emoji}");
    }
    world.advance(Duration::from_millis(500));
    let answer = world.ask(bo, LIVE, "reaction", json!({"emoji": "🎉"}));
    assert_eq!(outcome(&answer), "ack");
}

#[test]
fn so_many_writes_of_a_stream_wait_for_the_store() {
    let (mut world, ana, bo) = room(|config| config.chat.pending_writes_max = 2);
    world.is_store_held = true;
    write(&mut world, ana, "first", None);
    write(&mut world, bo, "second", None);
    let refused = comment(&mut world, ana, "third");
    assert_eq!(outcome(&refused), "unavailable");
    assert_eq!(refused["data"]["retryable"], true);
    let ban = world.ask(ana, LIVE, "ban", json!({"user_id": "cy"}));
    assert_eq!(outcome(&ban), "unavailable");
    assert_eq!(world.hub.stats().limits_hit, 2);
    world.is_store_held = false;
    world.run();
    assert_eq!(outcome(&world.answers(ana, "first")[0]), "ack");
    assert_eq!(outcome(&world.answers(bo, "second")[0]), "ack");
    assert_eq!(world.hub.stats().comments, 2);
}

#[test]
fn so_many_repeats_of_a_comment_wait_for_its_store_reply() {
    let (mut world, _, bo) = room(|config| config.chat.waiting_repeats_max = 2);
    world.is_store_held = true;
    for id in ["first", "again", "and again", "too often"] {
        write(&mut world, bo, id, Some("c-1"));
    }
    let refused = world.answers(bo, "too often");
    assert_eq!(outcome(&refused[0]), "rate_limited");
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_store_held = false;
    world.run();
    let first = world.answers(bo, "first");
    for id in ["again", "and again"] {
        assert_eq!(world.answers(bo, id)[0]["data"], first[0]["data"]);
    }
    assert_eq!(world.hub.stats().comments, 1);
}

#[test]
fn a_repeat_older_than_what_is_remembered_is_recognised_by_the_store() {
    let (mut world, ana, _) = room(|config| config.chat.remembered_client_ids = 1);
    let mut write = |client_id: &str| {
        let data = json!({"text": "hi", "client_id": client_id});
        let answer = world.ask(ana, LIVE, "comment", data);
        let is_write = |op: &&StoreOp| matches!(op, StoreOp::AddComment(_));
        let asked = world.stored.iter().filter(is_write).count();
        (answer["data"]["id"].clone(), asked)
    };
    let (first, _) = write("c-1");
    let (second, asked) = write("c-2");
    assert_eq!(asked, 2);
    assert_eq!(write("c-2"), (second, 2), "remembered");
    assert_eq!(write("c-1"), (first, 3), "asked again, and known");
    assert_eq!(world.hub.stats().comments, 2);
}

#[test]
fn slow_mode_and_timeouts_have_a_longest() {
    let (mut world, ana, _) = room(|config| {
        config.chat.slow_mode_max = Duration::from_secs(60);
        config.chat.timeout_max = Duration::from_secs(600);
    });
    for (seconds, expected) in [(60, "ack"), (61, "invalid_field")] {
        let answer = world.ask(ana, LIVE, "slow_mode", json!({"seconds": seconds}));
        assert_eq!(outcome(&answer), expected, "{seconds}");
    }
    for (seconds, expected) in [(0, "invalid_field"), (600, "ack"), (601, "invalid_field")] {
        let data = json!({"user_id": "bo", "seconds": seconds});
        let answer = world.ask(ana, LIVE, "timeout", data);
        assert_eq!(outcome(&answer), expected, "{seconds}");
    }
}

#[test]
fn a_kick_keeps_out_for_so_long() {
    let (mut world, ana, bo) = room(|config| config.chat.kick_cooldown = Duration::from_secs(10));
    world.ask(ana, LIVE, "kick", json!({"user_id": "bo"}));
    assert!(world.closed.contains_key(&bo));
    world.advance(Duration::from_millis(9999));
    let early = world.connect(&viewer("bo"), Some(LIVE));
    assert!(world.closed.contains_key(&early));
    world.advance(Duration::from_millis(1));
    let later = world.connect(&viewer("bo"), Some(LIVE));
    assert!(!world.closed.contains_key(&later));
}

#[test]
fn a_stream_has_so_many_bans_and_roles() {
    let (mut world, ana, _) = room(|config| {
        config.chat.bans_max = 2;
        config.chat.roles_max = 1;
    });
    let mut ask = |kind: &str, data: Value| {
        let answer = world.ask(ana, LIVE, kind, data);
        (outcome(&answer).to_owned(), world.hub.stats().limits_hit)
    };
    for (kind, data, expected) in [
        ("ban", json!({"user_id": "u1"}), ("ack", 0)),
        (
            "timeout",
            json!({"user_id": "u2", "seconds": 60}),
            ("ack", 0),
        ),
        ("ban", json!({"user_id": "u3"}), ("conflict", 1)),
        (
            "timeout",
            json!({"user_id": "u3", "seconds": 60}),
            ("conflict", 2),
        ),
        ("unban", json!({"user_id": "u1"}), ("ack", 2)),
        ("ban", json!({"user_id": "u3"}), ("ack", 2)),
        (
            "set_role",
            json!({"user_id": "v1", "role": "vip"}),
            ("ack", 2),
        ),
        (
            "set_role",
            json!({"user_id": "v2", "role": "vip"}),
            ("conflict", 3),
        ),
        (
            "set_role",
            json!({"user_id": "v1", "role": "moderator"}),
            ("ack", 3),
        ),
        (
            "set_role",
            json!({"user_id": "v1", "role": "viewer"}),
            ("ack", 3),
        ),
        (
            "set_role",
            json!({"user_id": "v2", "role": "vip"}),
            ("ack", 3),
        ),
    ] {
        let (code, hits) = ask(kind, data.clone());
        assert_eq!((code.as_str(), hits), expected, "{kind} {data}");
    }
}
