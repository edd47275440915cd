//! Every limit of chat is reached, told to whoever meets it, and counted.

use std::time::Duration;

use redred_signaling::hub::Reason;
use redred_signaling::sim::{World, viewer};
use redred_signaling::{Config, SessionId};
use serde_json::{Value, json};

mod support;
use support::direct;

fn code(answer: &Value) -> &str {
    assert_eq!(answer["type"], "error", "{answer}");
    answer["data"]["code"].as_str().expect("a code")
}

fn write(world: &mut World, who: SessionId, room: &str, text: &str) {
    let ack = world.ask(who, room, "chat_message", json!({"text": text}));
    assert_eq!(ack["type"], "ack", "{ack}");
}

#[test]
fn a_writer_who_is_too_fast_is_told_when_to_go_on() {
    let mut config = Config::default();
    config.rooms.messages_burst = 3;
    config.rooms.messages_per_second = 2;
    let mut world = World::new(config);
    let room = direct(&mut world, "ana", "bo");
    world.advance(Duration::from_secs(2));
    // Both devices share one pace.
    let phone = world.connect(&viewer("ana"), Some(&room));
    let laptop = world.connect(&viewer("ana"), Some(&room));
    for who in [phone, laptop, phone] {
        write(&mut world, who, &room, "x");
    }
    let refused = world.ask(laptop, &room, "chat_message", json!({"text": "x"}));
    assert_eq!(code(&refused), "rate_limited");
    assert_eq!(refused["data"]["retry_after_ms"], 500);
    assert_eq!(world.hub.stats().rate_limited, 1);
    let bo = world.connect(&viewer("bo"), Some(&room));
    write(&mut world, bo, &room, "others are not held up");
    world.advance(Duration::from_millis(500));
    write(&mut world, phone, &room, "x");
}

#[test]
fn a_page_of_long_messages_is_shorter_and_says_that_there_are_more() {
    let mut config = Config::default();
    config.rooms.page_bytes_max = 10_000;
    config.rooms.state_bytes_max = 10_000;
    let mut world = World::new(config);
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), None);
    for _ in 0..6 {
        write(&mut world, ana, &room, &"x".repeat(4000));
    }
    let page = world.ask(ana, &room, "history", json!({}));
    let newest = page["data"]["messages"].as_array().expect("messages");
    assert_eq!(newest.len(), 2);
    assert_eq!(newest[1]["seq"], 6, "the newest are kept");
    assert_eq!(page["data"]["has_more"], true);
    let page = world.ask(ana, &room, "history", json!({"after_seq": 0}));
    let oldest = page["data"]["messages"].as_array().expect("messages");
    assert_eq!((oldest.len(), &oldest[0]["seq"]), (2, &json!(1)));
    world.ask(ana, &room, "subscribe", json!({"channel": room}));
    let state = world.take_kind(ana, "subscribed")[0]["state"].clone();
    assert_eq!(state["messages"].as_array().map(Vec::len), Some(2));
    assert_eq!(state["has_more"], true);
}

#[test]
fn whoever_is_not_looking_is_to_be_notified_and_idle_rooms_are_forgotten() {
    let mut config = Config::default();
    config.rooms.max_rooms = 2;
    let mut world = World::new(config);
    let rooms: Vec<String> = ["bo", "cy", "di"]
        .into_iter()
        .map(|other| direct(&mut world, "ana", other))
        .collect();
    let ana = world.connect(&viewer("ana"), None);
    for room in &rooms {
        write(&mut world, ana, room, "hi");
    }
    let stats = world.hub.stats();
    assert_eq!((stats.chat_rooms, stats.chat_evictions), (2, 1));
    for room in &rooms[..2] {
        let ack = world.ask(ana, room, "subscribe", json!({"channel": room}));
        assert_eq!(ack["type"], "ack");
    }
    let refused = world.ask(ana, &rooms[2], "chat_message", json!({"text": "x"}));
    assert_eq!(code(&refused), "unavailable", "nobody is idle");
    assert!(world.hub.stats().limits_hit > 0);
    world.disconnect(ana);
    world.advance(Duration::from_secs(600));
    assert_eq!(world.hub.stats().chat_rooms, 0);
    let reason = world.hub.poll_timeout().map(|(_, reason)| reason);
    assert_ne!(reason, Some(Reason::Chat));
}

#[test]
fn queues_of_a_room_are_bounded() {
    let mut config = Config::default();
    config.rooms.pending_max = 2;
    config.rooms.pending_writes_max = 3;
    config.rooms.pending_reads_max = 2;
    let mut world = World::new(config);
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), None);
    world.take(ana);
    world.is_store_held = true;
    let refusals = |world: &mut World| world.take_kind(ana, "error");
    for _ in 0..3 {
        world.send(ana, &room, "chat_message", json!({"text": "x"}));
    }
    let refused = refusals(&mut world);
    assert_eq!(refused.len(), 1, "two wait for the room");
    assert_eq!(refused[0]["code"], "unavailable");
    assert!(world.release_store_reply(), "the room is there");
    for _ in 0..2 {
        world.send(ana, &room, "chat_message", json!({"text": "x"}));
    }
    assert_eq!(refusals(&mut world).len(), 1, "three are being stored");
    for _ in 0..3 {
        world.send(ana, &room, "history", json!({}));
    }
    assert_eq!(refusals(&mut world).len(), 1, "two pages are being read");
    assert_eq!(world.hub.stats().limits_hit, 3);
    world.is_store_held = false;
    world.run();
    let ack = world.ask(ana, &room, "history", json!({}));
    let messages = ack["data"]["messages"].as_array().map(Vec::len);
    assert_eq!(messages, Some(3), "what was taken was stored");
}

#[test]
fn a_client_that_sends_one_message_over_and_over_waits_for_its_answer() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    world.is_store_held = true;
    for n in 0..10 {
        let data = json!({"text": "x", "client_id": "c-1"});
        let about = json!({"channel": room, "id": format!("r-{n}")});
        let envelope = json!({"type": "chat_message", "data": data, "metadata": about});
        world.send_text(ana, &envelope.to_string());
    }
    let refused = world.take_kind(ana, "error");
    assert_eq!(refused.len(), 2, "eight wait for the one that is stored");
    assert_eq!(refused[0]["code"], "rate_limited");
    world.is_store_held = false;
    world.run();
    assert_eq!(world.take_kind(ana, "ack").len(), 8);
    assert_eq!(world.hub.stats().chat_messages, 1);
}
