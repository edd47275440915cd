//! What a session that comes back to a room is given: from memory, from the log, or the truth that it is not all; and what
//! a room does when it finds that something was skipped.

use std::time::Duration;

use redred_signaling::broker::{Audience, Publication};
use redred_signaling::message::ServerMessage;
use redred_signaling::message::chat::MessageView;
use redred_signaling::message::connection::Position;
use redred_signaling::sim::{World, viewer};
use redred_signaling::store::chat::{ChatOk, ChatOp, Message, NewMessage};
use redred_signaling::store::{StoreOk, StoreOp};
use redred_signaling::{Channel, Config, RoomId, SessionId};
use serde_json::{Value, json};

mod support;
use support::{chat_of, direct, group};

fn small() -> Config {
    let mut config = Config::default();
    config.rooms.history_messages = 3;
    config.rooms.recovery_messages = 8;
    config.rooms.messages_burst = 1000;
    config
}

fn write(world: &mut World, who: SessionId, room: &str, count: usize) {
    for n in 0..count {
        let data = json!({"text": format!("m{n}")});
        let ack = world.ask(who, room, "chat_message", data);
        assert_eq!(ack["type"], "ack", "{ack}");
    }
}

fn seqs(messages: &[Value]) -> Vec<u64> {
    let seq = |message: &Value| message["metadata"]["seq"].as_u64();
    messages.iter().filter_map(seq).collect()
}

fn subscribe(world: &mut World, who: SessionId, room: &str, epoch: &Value, seq: u64) {
    let since = json!({"epoch": epoch, "seq": seq});
    world.send(
        who,
        room,
        "subscribe",
        json!({"channel": room, "since": since}),
    );
}

/// Another node writes: stored, and not said here.
fn write_elsewhere(world: &mut World, room: &str, sender: &str, text: &str) -> Message {
    let op = StoreOp::Chat(ChatOp::AddMessage(NewMessage {
        id: format!("elsewhere-{text}"),
        room: RoomId::new(chat_of(room)).expect("a room"),
        sender: viewer(sender).user,
        text: text.to_owned(),
        client_id: None,
        reply_to_id: None,
        attachments: Vec::new(),
        at_ms: world.now.wall_ms,
    }));
    match world.store.carry_out(&op) {
        Ok(StoreOk::Chat(ChatOk::Message { message, .. })) => message,
        other => panic!("{other:?}"),
    }
}

/// Another node says here what it has written.
fn say(world: &mut World, room: &str, epoch: &Value, message: &Message) {
    let epoch = epoch.as_str().expect("an epoch").to_owned();
    let at_ms = world.now.wall_ms;
    world.publish(Publication {
        channel: Channel::parse(room).expect("a channel"),
        audience: Audience::All,
        position: Some(Position {
            epoch,
            seq: message.seq,
        }),
        message: ServerMessage::ChatMessage(MessageView::from(message.clone())),
        at_ms,
    });
}

fn log_reads(world: &World) -> usize {
    let is_read = |op: &&StoreOp| matches!(op, StoreOp::Chat(ChatOp::ReadLog { .. }));
    world.stored.iter().filter(is_read).count()
}

#[test]
fn a_short_gap_comes_from_memory_a_longer_one_from_the_log_and_a_long_one_is_told() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 12);
    for (since, recovered, reads) in [
        (12, true, 0),
        (9, true, 0),
        (8, true, 1),
        (4, true, 2),
        (3, false, 2),
    ] {
        let bo = world.connect(&viewer("bo"), None);
        world.take(bo);
        subscribe(&mut world, bo, &room, &epoch, since);
        let told = world.take(bo);
        assert_eq!(told[0]["type"], "subscribed", "{since}");
        assert_eq!(told[0]["data"]["recovered"], recovered, "{since}");
        let from = if recovered { since } else { 12 };
        assert_eq!(told[0]["data"]["seq"], from, "{since}");
        assert_eq!(told[0]["data"]["epoch"], epoch);
        let expected: Vec<u64> = (from + 1..=12).collect();
        assert_eq!(seqs(&told), expected, "{since}");
        assert_eq!(log_reads(&world), reads, "{since}");
        world.disconnect(bo);
    }
    for (epoch, since) in [(json!("other"), 11), (epoch, 13)] {
        let bo = world.connect(&viewer("bo"), None);
        subscribe(&mut world, bo, &room, &epoch, since);
        let subscribed = world.take_kind(bo, "subscribed")[0].clone();
        assert_eq!(subscribed["recovered"], false, "{epoch} {since}");
        world.disconnect(bo);
    }
    let stats = world.hub.stats();
    assert_eq!((stats.recoveries, stats.recovery_failures), (4, 3));
    assert_eq!(stats.chat_log_recoveries, 2);
}

#[test]
fn positions_hold_through_a_restart_of_the_server() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 5);
    let mut next = World::new(small());
    next.store = std::mem::take(&mut world.store);
    let bo = next.connect(&viewer("bo"), None);
    next.take(bo);
    subscribe(&mut next, bo, &room, &epoch, 1);
    let told = next.take(bo);
    assert_eq!(told[0]["data"]["recovered"], true);
    assert_eq!(seqs(&told), [2, 3, 4, 5]);
}

#[test]
fn what_is_written_while_the_log_is_read_follows_in_order() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 6);
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    // The log is read, two messages are written and told, and only then does the log arrive.
    world.is_store_held = true;
    subscribe(&mut world, bo, &room, &epoch, 1);
    for _ in 0..2 {
        world.send(ana, &room, "chat_message", json!({"text": "meanwhile"}));
    }
    world.reorder_store_replies();
    world.release_store_reply();
    world.release_store_reply();
    assert!(world.take(bo).is_empty(), "nothing before `subscribed`");
    world.is_store_held = false;
    world.run();
    write(&mut world, ana, &room, 1);
    let told = world.take(bo);
    assert_eq!(told[0]["data"]["recovered"], true);
    assert_eq!(seqs(&told), [2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn so_much_written_while_the_log_is_read_that_memory_forgot_it_is_told() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 6);
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    world.is_store_held = true;
    subscribe(&mut world, bo, &room, &epoch, 1);
    for _ in 0..4 {
        world.send(ana, &room, "chat_message", json!({"text": "meanwhile"}));
    }
    world.reorder_store_replies();
    for _ in 0..4 {
        world.release_store_reply();
    }
    world.is_store_held = false;
    world.run();
    let told = world.take(bo);
    assert_eq!(told[0]["data"]["recovered"], false);
    assert_eq!(told[0]["data"]["seq"], 10);
    write(&mut world, ana, &room, 1);
    assert_eq!(seqs(&world.take(bo)), [11]);
}

#[test]
fn a_log_that_cannot_be_read_is_told_as_not_recovered() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 6);
    let bo = world.connect(&viewer("bo"), None);
    world.is_store_down = true;
    subscribe(&mut world, bo, &room, &epoch, 1);
    let subscribed = world.take_kind(bo, "subscribed")[0].clone();
    assert_eq!(
        (&subscribed["recovered"], &subscribed["seq"]),
        (&json!(false), &json!(6))
    );
}

#[test]
fn too_many_bytes_and_too_many_readers_of_the_log_are_told_as_not_recovered() {
    let mut config = small();
    config.rooms.recovery_bytes = 4000;
    config.rooms.recoveries_max = 1;
    let mut world = World::new(config);
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 4);
    for _ in 0..3 {
        let long = json!({"text": "x".repeat(2000)});
        world.ask(ana, &room, "chat_message", long);
    }
    write(&mut world, ana, &room, 1);
    let bo = world.connect(&viewer("bo"), None);
    let cy = world.connect(&viewer("cy"), None);
    world.is_store_held = true;
    subscribe(&mut world, bo, &room, &epoch, 4);
    subscribe(&mut world, cy, &room, &epoch, 4);
    let told = world.take_kind(cy, "subscribed");
    assert_eq!(told[0]["recovered"], false, "one reads at a time");
    world.is_store_held = false;
    world.run();
    let told = world.take_kind(bo, "subscribed");
    assert_eq!(told[0]["recovered"], false, "too many bytes");
}

#[test]
fn leaving_and_coming_back_while_the_log_is_read_counts_once() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 6);
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    world.is_store_held = true;
    subscribe(&mut world, bo, &room, &epoch, 1);
    world.send(bo, &room, "unsubscribe", json!({"channel": room}));
    subscribe(&mut world, bo, &room, &epoch, 2);
    world.is_store_held = false;
    world.run();
    let told = world.take(bo);
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(seqs(&told), [3, 4, 5, 6]);
}

#[test]
fn edits_deletions_and_changes_of_a_group_are_recovered_as_well() {
    for history_messages in [1, 100] {
        let mut config = small();
        config.rooms.history_messages = history_messages;
        let mut world = World::new(config);
        let room = group(&mut world, "ana", &["bo"]);
        let ana = world.connect(&viewer("ana"), Some(&room));
        let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
        let say = |world: &mut World, text: &str| {
            world.ask(ana, &room, "chat_message", json!({"text": text}))["data"]["id"].clone()
        };
        let (first, second) = (say(&mut world, "one"), say(&mut world, "two"));
        world.ask(
            ana,
            &room,
            "edit_message",
            json!({"id": first, "text": "uno"}),
        );
        world.ask(ana, &room, "delete_message", json!({"id": second}));
        world.ask(ana, &room, "rename_room", json!({"title": "Ours"}));
        let bo = world.connect(&viewer("bo"), None);
        world.take(bo);
        subscribe(&mut world, bo, &room, &epoch, 0);
        let told = world.take(bo);
        let kinds: Vec<&str> = told.iter().filter_map(|one| one["type"].as_str()).collect();
        let expected = [
            "subscribed",
            "chat_message",
            "chat_message",
            "message_edited",
            "message_deleted",
            "room_updated",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(seqs(&told), [1, 2, 3, 4, 5]);
        assert_eq!(told[3]["data"]["text"], "uno");
        assert_eq!(told[4]["data"]["by"], "ana");
        assert_eq!(told[5]["data"]["title"], "Ours");
        let from_log = history_messages == 1;
        let texts = (&told[1]["data"]["text"], &told[2]["data"]["deleted"]);
        let as_now = (&json!("uno"), &json!(true));
        let as_then = (&json!("one"), &json!(false));
        assert_eq!(texts, if from_log { as_now } else { as_then });
    }
}

#[test]
fn what_another_node_wrote_is_read_before_what_came_behind_it() {
    let mut world = World::new(small());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.ask(bo, "chats", "subscribe", json!({"channel": "chats"}));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 1);
    world.take(bo);
    write_elsewhere(&mut world, &room, "cy", "lost");
    let second = write_elsewhere(&mut world, &room, "cy", "told");
    world.is_store_held = true;
    say(&mut world, &room, &epoch, &second);
    assert_eq!(
        seqs(&world.take(bo)),
        Vec::<u64>::new(),
        "not before the one it missed"
    );
    world.is_store_held = false;
    world.run();
    let told = world.take(bo);
    assert_eq!(seqs(&told), [2, 3]);
    let unread = told.iter().filter(|one| one["type"] == "chat_update");
    let unread: Vec<&Value> = unread.map(|one| &one["data"]["unread"]).collect();
    assert_eq!(unread.last(), Some(&&json!(3)));
    // One's own write reveals it as well.
    write_elsewhere(&mut world, &room, "cy", "unsaid");
    write(&mut world, ana, &room, 1);
    assert_eq!(seqs(&world.take(bo)), [4, 5]);
    // And repeats of what was delivered are dropped.
    say(&mut world, &room, &epoch, &second);
    assert!(world.take(bo).is_empty());
    assert_eq!(world.hub.stats().chat_gaps, 2);
}

#[test]
fn what_another_node_says_in_order_needs_no_reading() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), Some(&room));
    let epoch = world.take_kind(bo, "subscribed")[0]["epoch"].clone();
    for n in 0..5 {
        let message = write_elsewhere(&mut world, &room, "ana", &n.to_string());
        say(&mut world, &room, &epoch, &message);
    }
    assert_eq!(seqs(&world.take(bo)), [1, 2, 3, 4, 5]);
    assert_eq!(log_reads(&world), 0);
    let ack = world.ask(bo, &room, "mark_delivered", json!({"up_to_seq": 5}));
    assert_eq!(ack["data"], json!({"up_to_seq": 5, "unread": 5}));
}

#[test]
fn a_room_goes_on_asking_until_the_store_tells_what_it_missed() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), Some(&room));
    let epoch = world.take_kind(bo, "subscribed")[0]["epoch"].clone();
    write_elsewhere(&mut world, &room, "ana", "lost");
    let second = write_elsewhere(&mut world, &room, "ana", "told");
    world.is_store_down = true;
    say(&mut world, &room, &epoch, &second);
    world.advance(Duration::from_secs(20));
    assert_eq!(seqs(&world.take(bo)), Vec::<u64>::new());
    world.is_store_down = false;
    world.advance(Duration::from_secs(8));
    assert_eq!(seqs(&world.take(bo)), [1, 2]);
}

#[test]
fn a_message_whose_acknowledgement_was_lost_is_told_all_the_same() {
    let mut world = World::new(small());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.take(bo);
    world.is_store_mute = true;
    let data = json!({"text": "hello", "client_id": "c-1"});
    let refused = world.ask(ana, &room, "chat_message", data.clone());
    assert_eq!(refused["data"]["code"], "unavailable");
    world.is_store_mute = false;
    let ack = world.ask(ana, &room, "chat_message", data);
    assert_eq!(ack["data"]["seq"], 1, "the first result");
    assert_eq!(seqs(&world.take(bo)), [1]);
    // Without a retry it is found a moment later.
    world.is_store_mute = true;
    world.ask(ana, &room, "chat_message", json!({"text": "again"}));
    world.is_store_mute = false;
    world.advance(Duration::from_secs(3));
    assert_eq!(seqs(&world.take(bo)), [2]);
}

#[test]
fn publications_that_pile_up_behind_a_gap_are_bounded() {
    let mut config = small();
    config.rooms.held_max = 2;
    let mut world = World::new(config);
    let room = direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), Some(&room));
    let epoch = world.take_kind(bo, "subscribed")[0]["epoch"].clone();
    write_elsewhere(&mut world, &room, "ana", "lost");
    world.is_store_held = true;
    for n in 0..6 {
        let message = write_elsewhere(&mut world, &room, "ana", &n.to_string());
        say(&mut world, &room, &epoch, &message);
    }
    assert_eq!(world.hub.stats().limits_hit, 4);
    world.is_store_held = false;
    world.run();
    assert_eq!(seqs(&world.take(bo)), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_reader_that_is_too_slow_comes_back_without_a_gap() {
    let mut config = small();
    config.outbox.messages_max = 6;
    config.rooms.history_messages = 50;
    let mut world = World::new(config);
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let cy = world.connect(&viewer("cy"), Some(&room));
    let epoch = world.take_kind(bo, "subscribed")[0]["epoch"].clone();
    world.take(cy);
    world.stall(bo);
    write(&mut world, ana, &room, 10);
    assert!(world.closed.contains_key(&bo));
    assert_eq!(seqs(&world.take(cy)).len(), 10, "others are not held up");
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    subscribe(&mut world, bo, &room, &epoch, 7);
    assert_eq!(seqs(&world.take(bo)), [8, 9, 10]);
}

#[test]
fn a_member_removed_while_the_log_is_read_for_it_gets_nothing() {
    let mut world = World::new(small());
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let epoch = world.take_kind(ana, "subscribed")[0]["epoch"].clone();
    write(&mut world, ana, &room, 6);
    let bo = world.connect(&viewer("bo"), None);
    world.take(bo);
    world.is_store_held = true;
    subscribe(&mut world, bo, &room, &epoch, 1);
    world.send(ana, &room, "remove_member", json!({"user_id": "bo"}));
    world.reorder_store_replies();
    world.is_store_held = false;
    world.run();
    assert!(world.take(bo).is_empty());
    write(&mut world, ana, &room, 1);
    assert!(world.take(bo).is_empty());
}
