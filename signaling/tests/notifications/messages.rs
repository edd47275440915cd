//! Messages notify those who are not looking at the room, and reading the room reads the notification.

use redred_signaling::store::StoreOp;
use redred_signaling::store::chat::RoomKind;
use redred_signaling::store::notifications::NotificationOp;

use super::*;

/// A room of ana and others; answers its channel.
fn room(world: &mut World, kind: RoomKind, others: &[&str], title: Option<&str>) -> String {
    let ask = Request::CreateRoom {
        kind,
        members: others.iter().map(|id| user(id)).collect(),
        title: title.map(str::to_owned),
    };
    let reply = world.http(&viewer("ana"), ask);
    let Some(Ok(Reply::Room { room, .. })) = reply else {
        panic!("{reply:?}");
    };
    format!("chat:{}", room.id)
}

fn direct(world: &mut World) -> String {
    room(world, RoomKind::Direct, &["bo"], None)
}

fn write(world: &mut World, from: SessionId, room: &str, text: &str) -> u64 {
    let ack = world.ask(from, room, "chat_message", json!({"text": text}));
    ack["data"]["seq"].as_u64().expect("a position")
}

fn read(world: &mut World, reader: SessionId, room: &str, seq: u64) {
    let ack = world.ask(reader, room, "mark_read", json!({"up_to_seq": seq}));
    assert_eq!(ack["type"], "ack");
}

fn marks(world: &World) -> usize {
    let is_mark = |op: &&StoreOp| {
        matches!(
            op,
            StoreOp::Notifications(NotificationOp::MarkGroupRead { .. })
        )
    };
    world.stored.iter().filter(is_mark).count()
}

#[test]
fn messages_of_a_room_are_one_line_for_who_is_not_looking() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    let bo = listen(&mut world, "bo");
    for text in ["hola", "qué tal", "¿estás?"] {
        write(&mut world, ana, &room, text);
    }
    let told = world.take_kind(bo, "new_notification");
    let shown: Vec<(&Value, &Value)> = told.iter().map(|l| (&l["message"], &l["count"])).collect();
    let expected = ["ana: hola", "ana: qué tal", "ana: ¿estás?"].map(|text| json!(text));
    let counts = [json!(1), json!(2), json!(3)];
    let expected: Vec<(&Value, &Value)> = expected.iter().zip(&counts).collect();
    assert_eq!(shown, expected);
    assert_eq!(told[0]["kind"], "message");
    let id = room.strip_prefix("chat:").expect("a room");
    assert_eq!(told[0]["target"], json!({"room": id}));
    assert_eq!(told[0]["group_key"], format!("room:{id}"));
    assert_eq!(stored(&world, "bo").len(), 1);
    assert!(stored(&world, "ana").is_empty(), "not the sender");
}

#[test]
fn who_looks_at_the_room_is_not_notified() {
    let mut world = world();
    let room = room(&mut world, RoomKind::Group, &["bo", "cy"], Some("Team"));
    let ana = world.connect(&viewer("ana"), None);
    let bo = world.connect(&viewer("bo"), Some(&room));
    write(&mut world, ana, &room, "hola");
    assert!(stored(&world, "bo").is_empty());
    let line = &stored(&world, "cy")[0];
    assert_eq!(line.kind, "group_message");
    let title = line.target.as_ref().and_then(|target| target.get("title"));
    assert_eq!(title, Some(&json!("Team")));
    world.disconnect(bo);
    world.advance(Duration::from_secs(5));
    write(&mut world, ana, &room, "adiós");
    assert_eq!(stored(&world, "bo")[0].message, "ana: adiós");
}

#[test]
fn reading_the_room_reads_its_notification_on_every_device() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    let bell = listen(&mut world, "bo");
    write(&mut world, ana, &room, "one");
    let seq = write(&mut world, ana, &room, "two");
    let id = world.take(bell)[0]["data"]["id"].clone();
    let phone = world.connect(&viewer("bo"), Some(&room));
    read(&mut world, phone, &room, seq - 1);
    assert!(world.take(bell).is_empty(), "not yet to the end");
    read(&mut world, phone, &room, seq);
    let told = world.take(bell);
    assert_eq!(kinds(&told), ["notification_read", "unread_count"]);
    assert_eq!(told[0]["data"]["id"], id);
    assert_eq!(told[1]["data"]["count"], 0);
    world.disconnect(phone);
    world.advance(Duration::from_secs(5));
    write(&mut world, ana, &room, "three");
    let rows = stored(&world, "bo");
    assert_eq!(rows.len(), 2, "a new line after the one that was read");
    assert_eq!(rows[1].count, 1);
}

#[test]
fn answering_reads_the_notification_too() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    write(&mut world, ana, &room, "hola");
    let bo = world.connect(&viewer("bo"), Some(&room));
    write(&mut world, bo, &room, "hola, ana");
    assert!(stored(&world, "bo")[0].read_at_ms.is_some());
}

#[test]
fn reading_on_in_an_open_room_costs_no_write() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    let bo = world.connect(&viewer("bo"), Some(&room));
    for n in 0..20 {
        let seq = write(&mut world, ana, &room, &n.to_string());
        read(&mut world, bo, &room, seq);
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(marks(&world), 1);
    world.disconnect(bo);
    write(&mut world, ana, &room, "are you there?");
    let bo = world.connect(&viewer("bo"), Some(&room));
    read(&mut world, bo, &room, 21);
    assert_eq!(marks(&world), 2);
    assert!(stored(&world, "bo")[0].read_at_ms.is_some());
}

#[test]
fn a_room_that_is_read_before_its_notification_is_told_is_read() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    let seq = write(&mut world, ana, &room, "one");
    let bo = world.connect(&viewer("bo"), Some(&room));
    read(&mut world, bo, &room, seq);
    world.ask(bo, &room, "unsubscribe", json!({"channel": room}));
    // The next is stored, and nobody has heard of it yet, when the room is read.
    world.is_broker_held = true;
    write(&mut world, ana, &room, "two");
    assert_eq!(stored(&world, "bo").len(), 2);
    read(&mut world, bo, &room, seq + 1);
    world.is_broker_held = false;
    world.run();
    let unread = stored(&world, "bo");
    let unread = unread.iter().filter(|row| row.read_at_ms.is_none());
    assert_eq!(unread.count(), 0);
}

#[test]
fn whom_one_blocks_does_not_notify_one() {
    let mut world = world();
    let room = room(&mut world, RoomKind::Group, &["bo", "cy"], None);
    let ask = Request::Block { user: user("ana") };
    assert_eq!(world.http(&viewer("bo"), ask), Some(Ok(Reply::Done)));
    let ana = world.connect(&viewer("ana"), None);
    write(&mut world, ana, &room, "hola");
    assert!(stored(&world, "bo").is_empty());
    assert_eq!(stored(&world, "cy").len(), 1);
}

#[test]
fn long_texts_are_shortened_and_attachments_named() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    write(&mut world, ana, &room, &"ñ".repeat(4000));
    let message = &stored(&world, "bo")[0].message;
    assert_eq!(*message, format!("ana: {}…", "ñ".repeat(140)));
    let file = json!({"url": "https://example.com/a.png", "type": "image/png", "size": 3});
    let only_file = json!({"text": "", "attachments": [file]});
    let ack = world.ask(ana, &room, "chat_message", only_file);
    assert_eq!(ack["type"], "ack");
    assert_eq!(stored(&world, "bo")[0].message, "ana sent an attachment");
}

#[test]
fn the_notification_of_a_message_is_tried_again_when_the_store_fails() {
    let mut world = world();
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    let bo = listen(&mut world, "bo");
    write(&mut world, ana, &room, "first");
    world.take(bo);
    // The message is stored, then the store fails.
    world.store_fails_after = Some(1);
    write(&mut world, ana, &room, "second");
    assert_eq!(world.store_fails_after, None, "it has failed");
    assert!(world.take_kind(bo, "new_notification").is_empty());
    world.advance(Duration::from_secs(2));
    let told = world.take_kind(bo, "new_notification");
    assert_eq!(told[0]["message"], "ana: second");
    assert_eq!(stored(&world, "bo")[0].count, 2);
}

#[test]
fn more_messages_than_may_wait_are_not_notified_of_and_counted() {
    let mut config = Config::default();
    config.notifications.message_jobs_max = 1;
    let mut world = World::new(config);
    let room = direct(&mut world);
    let ana = world.connect(&viewer("ana"), None);
    write(&mut world, ana, &room, "one");
    let before = world.hub.stats().limits_hit;
    world.is_store_held = true;
    for text in ["two", "three"] {
        world.send(ana, &room, "chat_message", json!({"text": text}));
    }
    // Both messages are stored, and said; of one the notification is still being stored.
    world.is_store_held = false;
    world.run();
    let stats = world.hub.stats();
    assert_eq!((stats.notices_dropped, stats.limits_hit - before), (1, 1));
    assert_eq!(stored(&world, "bo")[0].count, 2);
}

#[test]
fn rooms_of_other_users_are_not_touched_by_a_reader() {
    let mut world = world();
    let room = room(&mut world, RoomKind::Group, &["bo", "cy"], None);
    let ana = world.connect(&viewer("ana"), None);
    let seq = write(&mut world, ana, &room, "hola");
    let bo = world.connect(&viewer("bo"), Some(&room));
    read(&mut world, bo, &room, seq);
    assert!(stored(&world, "bo")[0].read_at_ms.is_some());
    assert!(stored(&world, "cy")[0].read_at_ms.is_none());
}
