//! People write to each other: stored, then acknowledged, then told; edited, deleted, read; and what a list of rooms shows.

use std::time::Duration;

use redred_signaling::sim::{World, viewer, with_grants};
use redred_signaling::store::StoreOp;
use redred_signaling::store::chat::{Attachment, ChatOp};
use redred_signaling::{Config, SessionId};
use serde_json::{Value, json};

mod support;
use support::{chat_of, direct, group};

fn kinds(messages: &[Value]) -> Vec<&str> {
    let kinds = messages.iter().map(|message| message["type"].as_str());
    kinds.map(|kind| kind.expect("a type")).collect()
}

fn code(answer: &Value) -> &str {
    assert_eq!(answer["type"], "error", "{answer}");
    answer["data"]["code"].as_str().expect("a code")
}

fn write(world: &mut World, who: SessionId, room: &str, text: &str) -> Value {
    let ack = world.ask(who, room, "chat_message", json!({"text": text}));
    assert_eq!(ack["type"], "ack", "{ack}");
    ack["data"].clone()
}

fn stored_messages(world: &World) -> usize {
    let is_message = |op: &&StoreOp| matches!(op, StoreOp::Chat(ChatOp::AddMessage(_)));
    world.stored.iter().filter(is_message).count()
}

#[test]
fn a_message_is_stored_then_acknowledged_then_told_to_everybody_in_the_room() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.take(ana);
    world.take(bo);
    world.is_store_held = true;
    let data = json!({"text": " hello ", "client_id": "c-1"});
    world.send(ana, &room, "chat_message", data);
    assert_eq!(stored_messages(&world), 1);
    assert_eq!(world.take(ana), Vec::<Value>::new(), "not stored yet");
    assert_eq!(world.take(bo), Vec::<Value>::new());
    world.is_store_held = false;
    world.run();
    let told = world.take(bo);
    assert_eq!(kinds(&told), ["chat_message"]);
    let (data, about) = (&told[0]["data"], &told[0]["metadata"]);
    assert_eq!(data["text"], "hello");
    assert_eq!(data["sender"], json!({"id": "ana", "name": "ana"}));
    assert_eq!(data["client_id"], "c-1");
    assert_eq!(about["seq"], 1);
    assert_eq!(about["channel"], room.as_str());
    assert_eq!(world.take(ana), told, "the sender hears it as well");
    let ack = write(&mut world, ana, &room, "again");
    assert_eq!(ack["seq"], 2);
    assert_eq!(ack["room"], chat_of(&room).as_str());
    assert!(ack["id"].is_string() && ack["created_at"].is_string());
}

#[test]
fn ids_of_messages_rise_with_time_and_are_hard_to_guess() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let mut id_of = |text: &str| {
        let ack = write(&mut world, ana, &room, text);
        world.advance(Duration::from_millis(1));
        ack["id"].as_str().expect("an id").to_owned()
    };
    let ids: Vec<String> = (0..5).map(|n| id_of(&n.to_string())).collect();
    assert!(ids.is_sorted(), "{ids:?}");
    for pair in ids.windows(2) {
        assert_eq!(pair[0].len(), 32);
        // All but the time, the version and the variant.
        assert_ne!(pair[0][13..16], pair[1][13..16]);
        assert_ne!(pair[0][17..], pair[1][17..]);
    }
}

#[test]
fn a_repeat_is_acknowledged_with_the_first_result_and_told_once() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.take(bo);
    let data = json!({"text": "once", "client_id": "c-1"});
    world.is_store_held = true;
    for id in ["r-1", "r-2"] {
        let about = json!({"channel": room, "id": id});
        let envelope = json!({"type": "chat_message", "data": data, "metadata": about});
        world.send_text(ana, &envelope.to_string());
    }
    world.is_store_held = false;
    world.run();
    assert_eq!(stored_messages(&world), 1, "the second waits for the first");
    let (first, second) = (world.answers(ana, "r-1"), world.answers(ana, "r-2"));
    assert_eq!(first[0]["data"], second[0]["data"]);
    let third = world.ask(ana, &room, "chat_message", data.clone());
    assert_eq!(third["data"], first[0]["data"], "known by the store");
    assert_eq!(stored_messages(&world), 2);
    assert_eq!(world.take_kind(bo, "chat_message").len(), 1);
    // Somebody else's message of the same name is another message.
    let other = world.ask(bo, &room, "chat_message", data);
    assert_ne!(other["data"]["id"], first[0]["data"]["id"]);
    let stats = world.hub.stats();
    assert_eq!((stats.chat_messages, stats.chat_repeats), (2, 1));
}

#[test]
fn nothing_is_acknowledged_that_is_not_stored_and_a_retry_is() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.take(bo);
    world.is_store_down = true;
    let data = json!({"text": "hello", "client_id": "c-1"});
    let refused = world.ask(ana, &room, "chat_message", data.clone());
    assert_eq!(code(&refused), "unavailable");
    assert_eq!(refused["data"]["retryable"], true);
    assert!(refused["data"]["retry_after_ms"].is_u64());
    assert!(world.take_kind(bo, "chat_message").is_empty());
    world.is_store_down = false;
    let ack = world.ask(ana, &room, "chat_message", data);
    assert_eq!(ack["data"]["seq"], 1);
    assert_eq!(world.take_kind(bo, "chat_message").len(), 1);
    assert!(world.hub.stats().store_failures > 0);
}

#[test]
fn only_members_with_the_grant_read_and_write_and_unknown_rooms_are_not_found() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let cy = world.connect(&viewer("cy"), None);
    let unknown = "chat:nowhere";
    for (kind, data) in [
        ("subscribe", json!({"channel": room})),
        ("chat_message", json!({"text": "hi"})),
        ("history", json!({})),
        ("mark_read", json!({"up_to_seq": 1})),
        ("typing", json!({"active": true})),
        ("edit_message", json!({"id": "x", "text": "y"})),
        ("delete_message", json!({"id": "x"})),
        ("rename_room", json!({"title": "x"})),
    ] {
        let answer = world.ask(cy, &room, kind, data.clone());
        assert_eq!(code(&answer), "forbidden", "{kind}");
        let data = if kind == "subscribe" {
            json!({"channel": unknown})
        } else {
            data
        };
        let answer = world.ask(cy, unknown, kind, data);
        assert_eq!(code(&answer), "not_found", "{kind}");
    }
    let narrow = with_grants("ana", r#"{"chat": ["other"]}"#);
    let ana = world.connect(&narrow, None);
    let answer = world.ask(ana, &room, "chat_message", json!({"text": "hi"}));
    assert_eq!(code(&answer), "forbidden");
    let admin = world.connect(&with_grants("root", r#"{"admin": true}"#), None);
    let answer = world.ask(admin, &room, "subscribe", json!({"channel": room}));
    assert_eq!(code(&answer), "forbidden", "admins read over HTTP");
    assert_eq!(stored_messages(&world), 0);
}

#[test]
fn a_path_that_leads_nowhere_closes_the_socket() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    for path in [room.as_str(), "chat:nowhere"] {
        let cy = world.connect(&viewer("cy"), Some(path));
        assert!(world.closed.contains_key(&cy), "{path}");
    }
    world.is_store_down = true;
    world.advance(Duration::from_secs(120));
    let ana = world.connect(&viewer("ana"), Some(&room));
    assert!(!world.closed.contains_key(&ana), "it may try again");
    let refused = world.take_kind(ana, "error");
    assert_eq!(refused[0]["code"], "unavailable");
}

#[test]
fn edits_and_deletions_take_positions_and_only_of_ones_own() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let id = write(&mut world, ana, &room, "helo")["id"].clone();
    world.take(bo);
    let edit = json!({"id": id, "text": "hello"});
    let refused = world.ask(bo, &room, "edit_message", edit.clone());
    assert_eq!(code(&refused), "forbidden");
    let ack = world.ask(ana, &room, "edit_message", edit);
    assert_eq!(ack["data"], json!({"id": id, "seq": 2}));
    let told = world.take(bo);
    assert_eq!(kinds(&told), ["message_edited"]);
    assert_eq!(told[0]["data"]["text"], "hello");
    assert_eq!(told[0]["metadata"]["seq"], 2);
    let refused = world.ask(bo, &room, "delete_message", json!({"id": id}));
    assert_eq!(code(&refused), "forbidden");
    let ack = world.ask(ana, &room, "delete_message", json!({"id": id}));
    assert_eq!(ack["data"], json!({"id": id, "seq": 3}));
    let told = world.take_kind(bo, "message_deleted");
    assert_eq!(told[0]["by"], "ana");
    let gone = world.ask(ana, &room, "delete_message", json!({"id": id}));
    assert_eq!(code(&gone), "not_found");
    let gone = json!({"id": id, "text": "x"});
    let gone = world.ask(ana, &room, "edit_message", gone);
    assert_eq!(code(&gone), "not_found");
    let page = world.ask(bo, &room, "history", json!({}));
    let tombstone = &page["data"]["messages"][0];
    assert_eq!(
        (&tombstone["text"], &tombstone["deleted"]),
        (&json!(""), &json!(true))
    );
}

#[test]
fn replies_name_a_message_of_the_same_room() {
    let mut world = World::new(Config::default());
    let (one, other) = (
        direct(&mut world, "ana", "bo"),
        direct(&mut world, "ana", "cy"),
    );
    let ana = world.connect(&viewer("ana"), Some(&one));
    let id = write(&mut world, ana, &one, "question")["id"].clone();
    let reply = json!({"text": "answer", "reply_to_id": id});
    let refused = world.ask(ana, &other, "chat_message", reply.clone());
    assert_eq!(code(&refused), "not_found");
    let ack = world.ask(ana, &one, "chat_message", reply);
    assert_eq!(ack["type"], "ack");
    let told = world.take_kind(ana, "chat_message");
    assert_eq!(told[1]["reply_to_id"], id);
}

#[test]
fn what_a_message_may_hold_is_checked() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let file = json!({"url": "https://cdn.example/a.png", "type": "image/png", "size": 9});
    for bad in [
        json!({}),
        json!({"text": ""}),
        json!({"text": "  \n "}),
        json!({"text": "x".repeat(4001)}),
        json!({"text": "bell\u{7}"}),
        json!({"text": "x", "client_id": ""}),
        json!({"text": "x", "client_id": "x".repeat(65)}),
        json!({"text": "x", "attachments": vec![file.clone(); 11]}),
        json!({"text": "x", "attachments": [{"url": "javascript:x", "type": "a/b", "size": 1}]}),
        json!({"text": "x", "attachments": [{"url": "https://a.example", "type": "a", "size": 1}]}),
        json!({"text": "x", "attachments": [{"url": "https://a.example", "type": "a/b"}]}),
    ] {
        let refused = world.ask(ana, &room, "chat_message", bad.clone());
        assert_eq!(code(&refused), "invalid_field", "{bad}");
    }
    let only_file = json!({"text": "", "attachments": [file]});
    let ack = world.ask(ana, &room, "chat_message", only_file);
    assert_eq!(ack["type"], "ack", "{ack}");
    let longest = json!({"text": "é".repeat(4000)});
    let ack = world.ask(ana, &room, "chat_message", longest);
    assert_eq!(ack["type"], "ack");
    let told = world.take_kind(ana, "chat_message");
    assert_eq!(told[0]["attachments"][0]["type"], "image/png");
}

#[test]
fn history_pages_both_ways() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    for n in 1..=10 {
        write(&mut world, ana, &room, &format!("m{n}"));
    }
    let seqs = |answer: &Value| -> Vec<u64> {
        let messages = answer["data"]["messages"].as_array().expect("messages");
        let seqs = messages.iter().map(|message| message["seq"].as_u64());
        seqs.map(|seq| seq.expect("a position")).collect()
    };
    for (ask, expected, has_more) in [
        (json!({}), (1..=10).collect(), false),
        (json!({"limit": 3}), vec![8, 9, 10], true),
        (json!({"before_seq": 8, "limit": 3}), vec![5, 6, 7], true),
        (json!({"before_seq": 3, "limit": 3}), vec![1, 2], false),
        (json!({"after_seq": 2, "limit": 3}), vec![3, 4, 5], true),
        (json!({"after_seq": 8}), vec![9, 10], false),
        (json!({"after_seq": 99}), vec![], false),
    ] {
        let page = world.ask(ana, &room, "history", ask.clone());
        assert_eq!(seqs(&page), expected, "{ask}");
        assert_eq!(page["data"]["has_more"], has_more, "{ask}");
    }
    for bad in [
        json!({"limit": 0}),
        json!({"limit": 201}),
        json!({"before_seq": 2, "after_seq": 1}),
    ] {
        let refused = world.ask(ana, &room, "history", bad.clone());
        assert_eq!(code(&refused), "invalid_field", "{bad}");
    }
}

#[test]
fn a_message_ends_the_typing_of_its_sender_and_so_do_three_seconds() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let typing = |world: &mut World, active: bool| {
        let ack = world.ask(ana, &room, "typing", json!({"active": active}));
        assert_eq!(ack["type"], "ack");
    };
    let heard = |world: &mut World| -> Vec<bool> {
        let heard = world.take_kind(bo, "typing").into_iter();
        heard
            .map(|typing| typing["active"].as_bool().expect("a flag"))
            .collect()
    };
    typing(&mut world, true);
    world.advance(Duration::from_secs(2));
    typing(&mut world, true);
    assert_eq!(heard(&mut world), [true, true], "while it goes on");
    typing(&mut world, true);
    assert_eq!(heard(&mut world), Vec::<bool>::new(), "told a moment ago");
    world.advance(Duration::from_millis(2900));
    assert_eq!(heard(&mut world), Vec::<bool>::new());
    world.advance(Duration::from_millis(100));
    assert_eq!(heard(&mut world), [false], "3 s after the last");
    typing(&mut world, true);
    typing(&mut world, false);
    assert_eq!(heard(&mut world), [true, false]);
    typing(&mut world, true);
    world.take(bo);
    write(&mut world, ana, &room, "done");
    let told = world.take(bo);
    assert_eq!(kinds(&told), ["typing", "chat_message"]);
    typing(&mut world, true);
    world.disconnect(ana);
    assert_eq!(heard(&mut world), [true, false], "gone with the session");
    assert!(
        world.take_kind(ana, "typing").is_empty(),
        "nobody hears oneself"
    );
}

#[test]
fn positions_move_forward_only_and_give_the_sender_two_ticks() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let cy = world.connect(&viewer("cy"), Some(&room));
    write(&mut world, ana, &room, "one");
    write(&mut world, cy, &room, "two");
    write(&mut world, ana, &room, "three");
    for who in [ana, bo, cy] {
        world.take(who);
    }
    let mark = |world: &mut World, kind: &str, seq: u64| {
        world.ask(bo, &room, kind, json!({"up_to_seq": seq}))["data"].clone()
    };
    let ack = mark(&mut world, "mark_delivered", 1);
    assert_eq!(ack, json!({"up_to_seq": 1, "unread": 3}));
    let told = world.take_kind(ana, "message_delivered");
    assert_eq!(
        (&told[0]["user_id"], &told[0]["up_to_seq"]),
        (&json!("bo"), &json!(1))
    );
    assert!(world.take(cy).is_empty(), "cy's message is not among them");
    let ack = mark(&mut world, "mark_read", 2);
    assert_eq!(ack, json!({"up_to_seq": 2, "unread": 1}));
    for who in [ana, cy] {
        let told = world.take_kind(who, "message_read");
        assert_eq!(told[0]["up_to_seq"], 2);
    }
    assert!(world.take(bo).is_empty(), "oneself is not told");
    // Backwards and beyond the end.
    assert_eq!(
        mark(&mut world, "mark_read", 1),
        json!({"up_to_seq": 2, "unread": 1})
    );
    assert_eq!(
        mark(&mut world, "mark_delivered", 2)["up_to_seq"],
        2,
        "read implies it"
    );
    assert_eq!(
        mark(&mut world, "mark_read", 99),
        json!({"up_to_seq": 3, "unread": 0})
    );
    assert_eq!(world.take_kind(ana, "message_read")[0]["up_to_seq"], 3);
    world.ask(bo, &room, "subscribe", json!({"channel": room}));
    let state = world.take_kind(bo, "subscribed")[0]["state"].clone();
    let members = state["room"]["members"]
        .as_array()
        .expect("members")
        .clone();
    let of = |id: &str| {
        members
            .iter()
            .find(|one| one["id"] == id)
            .expect("a member")
            .clone()
    };
    assert_eq!(of("bo")["read_seq"], 3);
    assert_eq!(of("ana")["read_seq"], 3, "who writes has read");
    assert_eq!(of("cy")["read_seq"], 2);
}

#[test]
fn who_writes_has_read_and_others_are_told() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    write(&mut world, ana, &room, "how are you?");
    world.take(ana);
    write(&mut world, bo, &room, "well");
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["chat_message", "message_read"]);
    assert_eq!(told[1]["data"]["up_to_seq"], 2);
}

#[test]
fn ticks_of_a_direct_room_show_in_the_list_as_well() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some("chats"));
    let bo = world.connect(&viewer("bo"), None);
    write(&mut world, ana, &room, "one");
    world.take(ana);
    world.ask(bo, &room, "mark_delivered", json!({"up_to_seq": 1}));
    world.ask(bo, &room, "mark_read", json!({"up_to_seq": 1}));
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["message_delivered", "message_read"]);
    assert!(told.iter().all(|one| one["metadata"]["channel"] == "chats"));
    write(&mut world, ana, &room, "two");
    world.take(ana);
    write(&mut world, bo, &room, "three");
    assert_eq!(kinds(&world.take(ana)), ["message_read", "chat_update"]);
}

#[test]
fn unread_counts_are_exact_through_writing_reading_and_deleting() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some("chats"));
    let unread = |world: &mut World| {
        let updates = world.take_kind(bo, "chat_update");
        updates.last().map(|update| update["unread"].clone())
    };
    world.take(bo);
    let first = write(&mut world, ana, &room, "1")["id"].clone();
    let second = write(&mut world, ana, &room, "2")["id"].clone();
    write(&mut world, ana, &room, "3");
    assert_eq!(unread(&mut world), Some(json!(3)));
    world.ask(ana, &room, "delete_message", json!({"id": second}));
    assert_eq!(unread(&mut world), Some(json!(2)));
    world.ask(bo, &room, "mark_read", json!({"up_to_seq": 1}));
    assert_eq!(unread(&mut world), Some(json!(1)));
    world.ask(ana, &room, "delete_message", json!({"id": first}));
    assert_eq!(unread(&mut world), None, "it was read");
    world.ask(bo, &room, "chat_message", json!({"text": "4"}));
    assert_eq!(unread(&mut world), Some(json!(0)));
}

#[test]
fn the_list_of_rooms_follows_what_happens() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    write(&mut world, ana, &room, "before");
    let bo = world.connect(&viewer("bo"), Some("chats"));
    let state = world.take_kind(bo, "subscribed")[0]["state"].clone();
    let listed = &state["rooms"][0];
    assert_eq!(listed["id"], chat_of(&room).as_str());
    assert_eq!(listed["last_message"]["text"], "before");
    assert_eq!(
        (&listed["unread"], &state["has_more"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(listed["members"].as_array().map(Vec::len), Some(2));
    world.advance(Duration::from_secs(1));
    write(&mut world, ana, &room, "after");
    let update = world.take_kind(bo, "chat_update")[0].clone();
    assert_eq!(update["last_message"]["text"], "after");
    assert_eq!(
        (&update["unread"], &update["kind"]),
        (&json!(2), &json!("direct"))
    );
    assert_eq!(update["updated_at"], update["last_message"]["created_at"]);
    let new = group(&mut world, "cy", &["bo"]);
    let update = world.take_kind(bo, "chat_update")[0].clone();
    assert_eq!(update["room"], chat_of(&new).as_str());
    assert_eq!(update["members"].as_array().map(Vec::len), Some(2));
    world.ask(bo, "chats", "unsubscribe", json!({"channel": "chats"}));
    write(&mut world, ana, &room, "unheard");
    assert!(world.take_kind(bo, "chat_update").is_empty());
}

#[test]
fn what_changes_while_a_list_is_read_comes_behind_it() {
    let mut config = Config::default();
    config.rooms.list_waiting_max = 2;
    for messages in [1, 2, 5] {
        let mut world = World::new(config.clone());
        let room = direct(&mut world, "ana", "bo");
        let ana = world.connect(&viewer("ana"), Some(&room));
        let bo = world.connect(&viewer("bo"), None);
        world.take(bo);
        world.is_store_held = true;
        world.send(bo, "chats", "subscribe", json!({"channel": "chats"}));
        for n in 0..messages {
            world.send(ana, &room, "chat_message", json!({"text": format!("m{n}")}));
        }
        // The messages are answered before the list, which was read before them.
        world.reorder_store_replies();
        world.is_store_held = false;
        world.run();
        let told = world.take(bo);
        assert_eq!(kinds(&told)[0], "subscribed", "{messages}");
        let last = told.last().expect("a message");
        let newest = match last["type"].as_str() {
            Some("subscribed") => &last["data"]["state"]["rooms"][0],
            _ => &last["data"],
        };
        assert_eq!(newest["unread"], messages, "{messages}");
        let text = format!("m{}", messages - 1);
        assert_eq!(newest["last_message"]["text"], text, "{messages}");
    }
}

#[test]
fn a_new_token_with_fewer_grants_ends_the_subscription() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let narrow = with_grants("bo", r#"{"chat": []}"#);
    world.tokens.insert("narrow".to_owned(), narrow);
    let ack = world.ask(bo, &room, "refresh_token", json!({"token": "narrow"}));
    assert_eq!(ack["type"], "ack");
    world.take(bo);
    write(&mut world, ana, &room, "unheard");
    assert!(world.take(bo).is_empty());
}

#[test]
fn attachments_come_back_as_they_were_sent() {
    let attachment: Attachment = serde_json::from_value(json!({
        "url": "http://files.example/%C3%A4.pdf?v=2", "type": "application/pdf", "size": 0,
        "name": "ä.pdf",
    }))
    .expect("an attachment");
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let data = json!({"text": "see", "attachments": [attachment]});
    world.ask(ana, &room, "chat_message", data);
    let told = world.take_kind(ana, "chat_message");
    assert_eq!(told[0]["attachments"], json!([attachment]));
}
