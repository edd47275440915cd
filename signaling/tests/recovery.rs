//! Positions, epochs and what a client that comes back is given; and what a slow one is not.

use std::time::Duration;

use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{CloseCode, Config, Reason};
use serde_json::{Value, json};

const LIVE: &str = "live:ana";

fn comments(world: &mut World, who: redred_signaling::SessionId, count: usize) {
    for n in 0..count {
        let ack = world.ask(who, LIVE, "comment", json!({"text": format!("c{n}")}));
        assert_eq!(ack["type"], "ack", "{ack}");
    }
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    let seq = |message: &Value| message["metadata"]["seq"].as_u64();
    messages.iter().filter_map(seq).collect()
}

#[test]
fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let subscribed = world.take_kind(bo, "subscribed")[0].clone();
    comments(&mut world, ana, 2);
    assert_eq!(seqs(&world.take(bo)), [1, 2]);
    world.disconnect(bo);
    comments(&mut world, ana, 3);
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    let since = json!({"epoch": subscribed["epoch"], "seq": 2});
    world.send(
        bo,
        LIVE,
        "subscribe",
        json!({"channel": LIVE, "since": since}),
    );
    let messages = world.take(bo);
    assert_eq!(messages[0]["data"]["recovered"], true);
    assert_eq!(messages[0]["data"]["seq"], 2);
    assert_eq!(seqs(&messages), [3, 4, 5]);
}

#[test]
fn a_gap_larger_than_the_history_and_a_foreign_epoch_are_told() {
    let mut config = Config::default();
    config.channel.history_messages = 2;
    let mut world = World::new(config);
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    comments(&mut world, ana, 4);
    let bo = world.connect(&viewer("bo"), None);
    for since in [
        json!({"epoch": epoch, "seq": 1}),
        json!({"epoch": epoch, "seq": 9}),
        json!({"epoch": "other", "seq": 3}),
    ] {
        world.take(bo);
        world.send(
            bo,
            LIVE,
            "subscribe",
            json!({"channel": LIVE, "since": since}),
        );
        let subscribed = world.take_kind(bo, "subscribed")[0].clone();
        assert_eq!(subscribed["recovered"], false, "{since}");
        assert_eq!(subscribed["seq"], 4);
        assert_eq!(
            subscribed["state"]["comments"].as_array().map(Vec::len),
            Some(4)
        );
    }
}

#[test]
fn a_reader_that_is_too_slow_is_closed_and_others_are_not_held_up() {
    let mut config = Config::default();
    config.outbox.messages_max = 8;
    let mut world = World::new(config);
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let slow = world.connect(&viewer("slow"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.stall(slow);
    world.take(bo);
    comments(&mut world, ana, 20);
    assert_eq!(world.closed.get(&slow), Some(&CloseCode::TooSlow));
    assert_eq!(seqs(&world.take(bo)).len(), 20);
    let stats = world.hub.stats();
    assert_eq!(stats.slow_consumers, 1);
    assert_eq!(stats.sessions_resumable, 1);
}

#[test]
fn a_slow_reader_loses_counts_before_comments() {
    let mut config = Config::default();
    config.outbox.messages_max = 8;
    let mut world = World::new(config);
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let slow = world.connect(&viewer("slow"), Some(LIVE));
    world.stall(slow);
    for _ in 0..20 {
        let ack = world.ask(ana, LIVE, "reaction", json!({"emoji": "🔥"}));
        assert_eq!(ack["type"], "ack");
        world.advance(Duration::from_millis(600));
    }
    comments(&mut world, ana, 5);
    assert_eq!(world.closed.get(&slow), None);
    assert!(world.hub.stats().messages_dropped > 0);
}

#[test]
fn the_last_leave_empties_the_hub() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.go_live(ana, "ana");
    world.ask(bo, LIVE, "watch", json!({}));
    comments(&mut world, ana, 3);
    world.ask(ana, LIVE, "end_stream", json!({}));
    world.disconnect(ana);
    world.disconnect(bo);
    world.advance(Duration::from_secs(300));
    let stats = world.hub.stats();
    assert_eq!(stats.channels, 0);
    assert_eq!(stats.sessions_resumable + stats.sessions_live, 0);
    assert_eq!(stats.live_viewers, 0);
    let due = world.hub.poll_timeout().map(|(_, reason)| reason);
    assert_eq!(due, Some(Reason::Notifications), "only their retention");
}
