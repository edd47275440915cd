//! Limits of sessions and their sockets.

use std::time::Duration;

use redred_signaling::sim::{START_MS, streamer, viewer};
use redred_signaling::{CloseCode, SessionId};
use serde_json::json;

use super::{LIVE, outcome, room, world};

#[test]
fn a_node_has_so_many_sessions_and_those_nobody_came_back_to_make_room() {
    let mut world = world(|config| config.session.max_sessions = 2);
    let first = world.connect(&viewer("a"), None);
    world.connect(&viewer("b"), None);
    let third = world.connect(&viewer("c"), None);
    assert_eq!(world.closed.get(&third), Some(&CloseCode::RateLimited));
    assert_eq!(world.hub.stats().sessions_refused, 1);
    world.disconnect(first);
    let fourth = world.connect(&viewer("d"), None);
    assert_eq!(world.closed.get(&fourth), None);
}

#[test]
fn a_user_has_so_many_sessions() {
    let mut world = world(|config| config.session.max_sessions_per_user = 1);
    world.connect(&viewer("a"), None);
    let second = world.connect(&viewer("a"), None);
    assert_eq!(world.closed.get(&second), Some(&CloseCode::RateLimited));
    let other = world.connect(&viewer("b"), None);
    assert_eq!(world.closed.get(&other), None);
    assert_eq!(world.hub.stats().sessions_refused, 1);
}

#[test]
fn a_message_has_so_many_bytes() {
    let (mut world, _, bo) = room(|config| config.session.message_bytes_max = 300);
    let text = |length| json!({"text": "x".repeat(length)});
    assert_eq!(outcome(&world.ask(bo, LIVE, "comment", text(100))), "ack");
    // Too large to be read: there is no id to answer to.
    world.send(bo, LIVE, "comment", text(300));
    assert_eq!(world.take_kind(bo, "error")[0]["code"], "too_large");
    assert_eq!(world.hub.stats().bad_messages, 1);
}

#[test]
fn messages_pass_in_a_burst_and_then_at_a_pace() {
    let mut world = world(|config| {
        config.session.messages_burst = 3;
        config.session.messages_per_second = 2;
    });
    let bo = world.connect(&viewer("bo"), None);
    for _ in 0..3 {
        assert_eq!(outcome(&world.ask(bo, LIVE, "ping", json!({}))), "ack");
    }
    let refused = world.ask(bo, LIVE, "ping", json!({}));
    assert_eq!(outcome(&refused), "rate_limited");
    assert_eq!(refused["data"]["retry_after_ms"], 500);
    assert_eq!(world.hub.stats().rate_limited, 1);
    world.advance(Duration::from_millis(500));
    assert_eq!(outcome(&world.ask(bo, LIVE, "ping", json!({}))), "ack");
}

#[test]
fn abuse_is_forgiven_slowly_and_closed_when_it_comes_fast() {
    let mut world = world(|config| {
        config.session.abuse_budget = 3;
        config.session.abuse_forgiven_per_second = 1;
    });
    let bo = world.connect(&viewer("bo"), None);
    for _ in 0..10 {
        world.send_text(bo, "{");
        world.advance(Duration::from_secs(1));
    }
    for _ in 0..3 {
        world.send_text(bo, "{");
    }
    assert_eq!(world.closed.get(&bo), None);
    world.send_text(bo, "{");
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Abuse));
    assert_eq!(world.hub.stats().abuse_closes, 1);
}

#[test]
fn a_session_has_so_many_subscriptions() {
    let mut world = world(|config| config.session.max_subscriptions = 2);
    let bo = world.connect(&viewer("bo"), None);
    for (channel, expected) in [
        ("streams", "ack"),
        (LIVE, "ack"),
        ("live:cy", "conflict"),
        (LIVE, "ack"),
    ] {
        let answer = world.ask(bo, channel, "subscribe", json!({"channel": channel}));
        assert_eq!(outcome(&answer), expected, "{channel}");
    }
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.ask(bo, LIVE, "unsubscribe", json!({"channel": LIVE}));
    let answer = world.ask(bo, LIVE, "subscribe", json!({"channel": "live:cy"}));
    assert_eq!(outcome(&answer), "ack");
}

#[test]
fn a_session_watches_so_many_streams() {
    let mut world = world(|config| config.session.max_watches = 1);
    for name in ["ana", "cy"] {
        let socket = world.connect(&streamer(name), Some(&format!("live:{name}")));
        world.go_live(socket, name);
    }
    let bo = world.connect(&viewer("bo"), None);
    for (channel, expected) in [(LIVE, "ack"), ("live:cy", "conflict"), (LIVE, "ack")] {
        let answer = world.ask(bo, channel, "watch", json!({}));
        assert_eq!(outcome(&answer), expected, "{channel}");
    }
    assert_eq!(world.hub.stats().limits_hit, 1);
    assert_eq!(world.hub.stats().live_viewers, 1);
}

#[test]
fn a_session_publishes_so_many_streams_and_ended_ones_do_not_count() {
    let mut world = world(|config| config.session.max_publishing = 1);
    let mut everywhere = streamer("ana");
    everywhere.grants.publish = ["*"].into_iter().collect();
    let ana = world.connect(&everywhere, None);
    let start = json!({"title": "x"});
    for n in 0..3 {
        let channel = format!("live:s{n}");
        // Twice, as a page that reloads its encoder does.
        world.go_live(ana, &format!("s{n}"));
        world.go_live(ana, &format!("s{n}"));
        let refused = world.ask(ana, "live:other", "start_stream", start.clone());
        assert_eq!(outcome(&refused), "conflict");
        assert_eq!(world.hub.stats().limits_hit, n + 1);
        if n == 1 {
            // Ended by being lost, not by the streamer.
            let media = world.publisher();
            let reason = "test".to_owned();
            world.media(redred_signaling::MediaReply::Closed { media, reason });
            world.advance(Duration::from_secs(11));
        } else {
            world.ask(ana, &channel, "end_stream", json!({}));
        }
    }
}

#[test]
fn a_close_waits_for_what_is_being_written_but_not_for_long() {
    let (mut world, ana, bo) = room(|config| {
        config.session.close_linger = Duration::from_secs(5);
        config.outbox.batch_frames_max = 1;
    });
    world.stall(bo);
    world.ask(ana, LIVE, "comment", json!({"text": "in flight"}));
    world.ask(ana, LIVE, "ban", json!({"user_id": "bo"}));
    world.advance(Duration::from_millis(4999));
    assert_eq!(world.closed.get(&bo), None);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Removed));
}

#[test]
fn a_silent_session_is_closed_and_counted() {
    let mut world = world(|config| config.session.idle_timeout = Duration::from_secs(40));
    let bo = world.connect(&viewer("bo"), None);
    world.advance(Duration::from_secs(39));
    assert_eq!(world.closed.get(&bo), None);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::Idle));
    assert_eq!(world.hub.stats().idle_closes, 1);
}

#[test]
fn a_session_can_be_resumed_for_so_long() {
    let mut world = world(|config| config.session.resume_window = Duration::from_secs(10));
    for (away_s, resumed) in [(9, true), (10, false)] {
        let bo = world.connect(&viewer("bo"), None);
        let established = world.take_kind(bo, "connection_established");
        let token = established[0]["resume_token"].as_str().map(str::to_owned);
        world.disconnect(bo);
        world.advance(Duration::from_secs(away_s));
        let bo = world.connect_with(&viewer("bo"), None, token);
        let established = world.take_kind(bo, "connection_established");
        assert_eq!(established[0]["resumed"], resumed, "after {away_s} s");
    }
    assert_eq!(world.hub.stats().resumes, 1);
}

#[test]
fn a_session_ends_with_its_token_and_is_counted() {
    let mut world = world(|_| {});
    let mut short = viewer("bo");
    short.expires_at_ms = START_MS + 5_000;
    let bo = world.connect(&short, None);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.closed.get(&bo), Some(&CloseCode::TokenExpired));
    assert_eq!(world.hub.stats().token_expiries, 1);
}

#[test]
fn draining_sessions_come_back_within_the_spread() {
    let mut world = world(|config| {
        config.session.drain_delay_min = Duration::from_millis(700);
        config.session.drain_spread = Duration::from_millis(200);
    });
    let sockets: Vec<SessionId> = (0..40)
        .map(|n| world.connect(&viewer(&format!("u{n}")), None))
        .collect();
    world.hub.handle_drain(world.now, Duration::from_secs(5));
    world.run();
    for socket in sockets {
        let told = world.take_kind(socket, "draining")[0]["reconnect_after_ms"].as_u64();
        assert!(told.is_some_and(|ms| (700..=900).contains(&ms)), "{told:?}");
    }
}

#[test]
fn an_outbox_has_so_many_bytes() {
    let (mut world, ana, slow) = room(|config| config.outbox.bytes_max = 4000);
    let quick = world.connect(&viewer("quick"), Some(LIVE));
    world.stall(slow);
    let text = json!({"text": "x".repeat(450)});
    for _ in 0..10 {
        assert_eq!(
            outcome(&world.ask(ana, LIVE, "comment", text.clone())),
            "ack"
        );
    }
    assert_eq!(world.closed.get(&slow), Some(&CloseCode::TooSlow));
    assert_eq!(world.take_kind(quick, "comment").len(), 10);
    let stats = world.hub.stats();
    assert_eq!(stats.slow_consumers, 1);
    assert_eq!(stats.outbox_bytes, 0, "nothing is kept for it");
}
