//! Limits of channels, their history and the directory.

use std::time::Duration;

use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{Config, SessionId};
use serde_json::{Value, json};

use super::{LIVE, outcome, room, world};

fn subscribe(world: &mut World, socket: SessionId, channel: &str) -> String {
    let answer = world.ask(socket, channel, "subscribe", json!({"channel": channel}));
    outcome(&answer).to_owned()
}

fn epoch(world: &mut World) -> Value {
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let epoch = world.take_kind(bo, "subscribed")[0]["epoch"].clone();
    world.leave(bo);
    epoch
}

#[test]
fn a_node_has_so_many_channels_and_idle_ones_make_room() {
    let (mut world, ana, bo) = room(|config| config.channel.max_channels = 2);
    assert_eq!(subscribe(&mut world, bo, "live:one"), "ack");
    assert_eq!(subscribe(&mut world, bo, "live:two"), "unavailable");
    assert_eq!(world.hub.stats().limits_hit, 1);
    assert_eq!(world.hub.stats().channels, 2);
    // Somebody wrote, so the channel is kept for those who come back, unless its place is needed.
    world.ask(ana, LIVE, "comment", json!({"text": "hi"}));
    world.leave(ana);
    world.ask(bo, LIVE, "unsubscribe", json!({"channel": LIVE}));
    assert_eq!(world.hub.stats().channels, 2);
    assert_eq!(subscribe(&mut world, bo, "live:two"), "ack");
    assert_eq!(world.hub.stats().channels, 2);
}

#[test]
fn a_channel_that_nobody_uses_keeps_its_epoch_for_a_while() {
    let (mut world, ana, bo) = room(|config| config.channel.linger = Duration::from_secs(20));
    world.ask(ana, LIVE, "comment", json!({"text": "hi"}));
    world.leave(bo);
    world.leave(ana);
    let first = epoch(&mut world);
    world.advance(Duration::from_secs(19));
    assert_eq!(epoch(&mut world), first);
    world.advance(Duration::from_secs(20));
    assert_eq!(world.hub.stats().channels, 0);
    assert_ne!(epoch(&mut world), first);
}

#[test]
fn so_many_wait_for_a_channel_to_be_loaded() {
    let mut world = world(|config| config.channel.pending_max = 2);
    let sockets: Vec<SessionId> = (0..3)
        .map(|n| world.connect(&viewer(&format!("u{n}")), None))
        .collect();
    world.is_store_held = true;
    for socket in &sockets {
        let about = json!({"channel": LIVE, "id": "r"});
        let data = json!({"channel": LIVE});
        let envelope = json!({"type": "subscribe", "data": data, "metadata": about});
        world.send_text(*socket, &envelope.to_string());
    }
    let refused = world.answers(sockets[2], "r");
    assert_eq!(outcome(&refused[0]), "unavailable");
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_store_held = false;
    world.run();
    for socket in &sockets[..2] {
        assert_eq!(outcome(&world.answers(*socket, "r")[0]), "ack");
    }
}

#[test]
fn what_is_older_than_the_history_is_told_as_a_gap_and_counted() {
    for limit in [
        (|config| config.channel.history_messages = 2) as fn(&mut Config),
        |config| config.channel.history_bytes = 1000,
    ] {
        let (mut world, ana, bo) = room(limit);
        let first = world.ask(ana, LIVE, "comment", json!({"text": "x".repeat(100)}));
        assert_eq!(outcome(&first), "ack");
        let position = world.take(bo)[0]["metadata"].clone();
        world.leave(bo);
        for _ in 0..4 {
            world.ask(ana, LIVE, "comment", json!({"text": "x".repeat(100)}));
        }
        let bo = world.connect(&viewer("bo"), None);
        for (seq, recovered) in [(3, true), (1, false)] {
            let since = json!({"epoch": position["epoch"], "seq": seq});
            let data = json!({"channel": LIVE, "since": since});
            world.ask(bo, LIVE, "subscribe", data);
            let subscribed = world.take_kind(bo, "subscribed");
            assert_eq!(subscribed[0]["recovered"], recovered, "{seq}");
        }
        let stats = world.hub.stats();
        assert_eq!((stats.recoveries, stats.recovery_failures), (1, 1));
    }
}

#[test]
fn the_directory_is_told_once_an_interval() {
    let mut world = world(|config| {
        config.channel.directory_interval = Duration::from_millis(1500);
    });
    let home = world.connect(&viewer("home"), None);
    subscribe(&mut world, home, "streams");
    world.take(home);
    for name in ["ana", "cy", "di"] {
        let socket = world.connect(&streamer(name), Some(&format!("live:{name}")));
        world.go_live(socket, name);
    }
    let told = world.take_kind(home, "streams_update");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["streams"].as_array().map(Vec::len), Some(1));
    world.advance(Duration::from_millis(1499));
    assert!(world.take_kind(home, "streams_update").is_empty());
    world.advance(Duration::from_millis(1));
    let told = world.take_kind(home, "streams_update");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["streams"].as_array().map(Vec::len), Some(3));
}

#[test]
fn the_directory_names_so_many_streams_the_longest_running_first() {
    let mut world = world(|config| config.channel.directory_streams_max = 2);
    for name in ["zoe", "ana", "cy"] {
        let socket = world.connect(&streamer(name), Some(&format!("live:{name}")));
        world.go_live(socket, name);
        world.advance(Duration::from_secs(1));
    }
    let home = world.connect(&viewer("home"), None);
    subscribe(&mut world, home, "streams");
    let subscribed = world.take_kind(home, "subscribed");
    let streams = subscribed[0]["state"]["streams"].as_array();
    let names: Vec<&Value> = streams.into_iter().flatten().map(|s| &s["id"]).collect();
    assert_eq!(names, ["zoe", "ana"]);
}
