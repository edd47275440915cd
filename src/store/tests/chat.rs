//! Chat: what has to survive a restart, and what search may find.

use redred_signaling::grants::User;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::chat::{
    ChatOk, ChatOp, LogEvent, MemberRole, Message, NewMessage, NewRoom, RoomChange, RoomKind,
    RoomState,
};
use redred_signaling::store::{StoreError, StoreOk, StoreOp};

use super::live::user;
use super::{Fixture, on_each_database};

on_each_database! {
    a_pair_has_one_room_whoever_asks_and_whenever,
    a_message_sent_again_after_a_restart_is_the_first_one,
    the_log_of_a_room_is_whole_after_a_restart,
    search_finds_words_of_ones_own_rooms_as_they_are_now,
    unread_counts_neither_ones_own_nor_deleted_messages,
}

async fn a_pair_has_one_room_whoever_asks_and_whenever(mut fixture: Fixture) {
    let first = create(&mut fixture, "r1", RoomKind::Direct, &["Zoe", "ana"]).await;
    assert!(first.1);
    let mut fixture = fixture.reopen().await;
    let second = create(&mut fixture, "r2", RoomKind::Direct, &["ana", "Zoe"]).await;
    assert_eq!((second.0.id, second.1), (first.0.id, false));
    // A group of the same two is another room.
    assert!(
        create(&mut fixture, "r3", RoomKind::Group, &["ana", "Zoe"])
            .await
            .1
    );
}

async fn a_message_sent_again_after_a_restart_is_the_first_one(mut fixture: Fixture) {
    create(&mut fixture, "r1", RoomKind::Direct, &["ana", "bo"]).await;
    let first = say(&mut fixture, "r1", "ana", "m1", "hello").await;
    let mut fixture = fixture.reopen().await;
    let mut again = message("r1", "ana", "m2", "something else");
    again.client_id = Some(String::from("client-m1"));
    assert_eq!(
        chat(&mut fixture, ChatOp::AddMessage(again)).await,
        Ok(ChatOk::Message {
            message: first,
            is_new: false
        })
    );
    let second = say(&mut fixture, "r1", "bo", "m3", "hello").await;
    assert_eq!(second.seq, 2);
}

async fn the_log_of_a_room_is_whole_after_a_restart(mut fixture: Fixture) {
    let epoch = create(&mut fixture, "r1", RoomKind::Group, &["ana", "bo"])
        .await
        .0
        .epoch;
    say(&mut fixture, "r1", "ana", "m1", "helo").await;
    say(&mut fixture, "r1", "bo", "m2", "a secret").await;
    chat(&mut fixture, edit("m1", "ana", "hello"))
        .await
        .expect("edited");
    chat(&mut fixture, delete("m2", "bo"))
        .await
        .expect("deleted");
    let renamed = RoomChange::Renamed {
        title: String::from("\u{1f600} \"'"),
    };
    let change = ChatOp::ChangeRoom {
        room: room("r1"),
        by: named("ana"),
        change: renamed.clone(),
        at_ms: 9,
    };
    chat(&mut fixture, change).await.expect("renamed");
    let mut fixture = fixture.reopen().await;
    let read = ChatOp::ReadLog {
        room: room("r1"),
        after_seq: 0,
        limit: 10,
    };
    let Ok(ChatOk::Log {
        entries,
        is_complete: true,
    }) = chat(&mut fixture, read).await
    else {
        panic!("expected the log");
    };
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    let events: Vec<LogEvent> = entries.into_iter().map(|entry| entry.event).collect();
    let LogEvent::Message(second) = &events[1] else {
        panic!("expected a message, got {:?}", events[1]);
    };
    assert_eq!((second.text.as_str(), second.deleted_at_ms), ("", Some(8)));
    assert_eq!(
        events[2..],
        [
            LogEvent::Edited {
                id: String::from("m1"),
                text: String::from("hello")
            },
            LogEvent::Deleted {
                id: String::from("m2"),
                by: user("bo")
            },
            LogEvent::Changed {
                by: named("ana"),
                change: renamed
            },
        ]
    );
    assert_eq!(load(&mut fixture, "r1").await.epoch, epoch);
}

async fn search_finds_words_of_ones_own_rooms_as_they_are_now(mut fixture: Fixture) {
    create(&mut fixture, "r1", RoomKind::Direct, &["ana", "bo"]).await;
    create(&mut fixture, "r2", RoomKind::Direct, &["bo", "cy"]).await;
    say(
        &mut fixture,
        "r1",
        "ana",
        "m1",
        "The WEATHER in Köln, today!",
    )
    .await;
    say(&mut fixture, "r2", "cy", "m2", "what weather").await;
    say(&mut fixture, "r1", "bo", "m3", "weathered stone").await;
    let found = async |fixture: &mut Fixture, who: &str, text: &str| find(fixture, who, text).await;
    assert_eq!(
        found(&mut fixture, "bo", "weather").await,
        ["m3", "m2", "m1"]
    );
    assert_eq!(found(&mut fixture, "ana", "weather").await, ["m3", "m1"]);
    assert_eq!(found(&mut fixture, "ana", "weather köl").await, ["m1"]);
    // Only the last word may be a beginning.
    assert_eq!(found(&mut fixture, "ana", "weat the").await, [""; 0]);
    // The room's name is indexed and yet no word.
    assert_eq!(found(&mut fixture, "ana", "r1").await, [""; 0]);
    assert_eq!(found(&mut fixture, "dan", "weather").await, [""; 0]);

    chat(&mut fixture, edit("m1", "ana", "sunshine"))
        .await
        .expect("edited");
    chat(&mut fixture, delete("m3", "bo"))
        .await
        .expect("deleted");
    assert_eq!(found(&mut fixture, "ana", "weather").await, [""; 0]);
    assert_eq!(found(&mut fixture, "ana", "sun").await, ["m1"]);
}

async fn unread_counts_neither_ones_own_nor_deleted_messages(mut fixture: Fixture) {
    create(&mut fixture, "r1", RoomKind::Group, &["ana", "bo", "cy"]).await;
    for number in 0..5 {
        say(&mut fixture, "r1", "ana", &format!("m{number}"), "hello").await;
    }
    say(&mut fixture, "r1", "bo", "m5", "hello").await;
    chat(&mut fixture, delete("m1", "ana"))
        .await
        .expect("deleted");
    chat(&mut fixture, delete("m4", "ana"))
        .await
        .expect("deleted");
    assert_eq!(unread(&mut fixture).await, [1, 0, 4]);
    let read = ChatOp::SetPosition {
        room: room("r1"),
        user: user("cy"),
        delivered: None,
        read: Some(3),
    };
    let moved = chat(&mut fixture, read).await;
    let Ok(ChatOk::Position {
        read_seq: 3,
        unread: 2,
        ..
    }) = moved
    else {
        panic!("expected two unread, got {moved:?}");
    };
    assert_eq!(unread(&mut fixture.reopen().await).await, [1, 0, 2]);
}

/// What each member has not read, by user id.
async fn unread(fixture: &mut Fixture) -> Vec<u64> {
    let room = load(fixture, "r1").await;
    room.members.iter().map(|member| member.unread).collect()
}

async fn chat(fixture: &mut Fixture, op: ChatOp) -> Result<ChatOk, StoreError> {
    match fixture.ask(StoreOp::Chat(op)).await {
        Ok(StoreOk::Chat(ok)) => Ok(ok),
        Ok(other) => panic!("expected an answer about chat, got {other:?}"),
        Err(error) => Err(error),
    }
}

async fn create(
    fixture: &mut Fixture,
    id: &str,
    kind: RoomKind,
    members: &[&str],
) -> (RoomState, bool) {
    let new = NewRoom {
        id: room(id),
        epoch: format!("epoch-{id}"),
        kind,
        title: None,
        members: members
            .iter()
            .map(|name| (user(name), MemberRole::Member))
            .collect(),
        by: None,
        at_ms: 1,
    };
    match chat(fixture, ChatOp::CreateRoom(new)).await {
        Ok(ChatOk::Created { room, is_new }) => (room, is_new),
        other => panic!("expected a room, got {other:?}"),
    }
}

async fn load(fixture: &mut Fixture, id: &str) -> RoomState {
    let op = ChatOp::LoadRoom {
        room: room(id),
        messages: 0,
    };
    match chat(fixture, op).await {
        Ok(ChatOk::Room(room)) => room,
        other => panic!("expected a room, got {other:?}"),
    }
}

async fn say(fixture: &mut Fixture, room: &str, who: &str, id: &str, text: &str) -> Message {
    match chat(fixture, ChatOp::AddMessage(message(room, who, id, text))).await {
        Ok(ChatOk::Message {
            message,
            is_new: true,
        }) => message,
        other => panic!("expected a new message, got {other:?}"),
    }
}

async fn find(fixture: &mut Fixture, who: &str, text: &str) -> Vec<String> {
    let op = ChatOp::Search {
        user: user(who),
        text: text.to_owned(),
        room: None,
        before_ms: None,
        limit: 10,
    };
    match chat(fixture, op).await {
        Ok(ChatOk::Messages { messages, .. }) => messages.into_iter().map(|it| it.id).collect(),
        other => panic!("expected messages, got {other:?}"),
    }
}

fn message(room_id: &str, who: &str, id: &str, text: &str) -> NewMessage {
    NewMessage {
        id: id.to_owned(),
        room: room(room_id),
        sender: named(who),
        text: text.to_owned(),
        client_id: Some(format!("client-{id}")),
        reply_to_id: None,
        attachments: Vec::new(),
        at_ms: 2,
    }
}

fn edit(id: &str, by: &str, text: &str) -> ChatOp {
    ChatOp::EditMessage {
        room: room("r1"),
        id: id.to_owned(),
        by: user(by),
        text: text.to_owned(),
        at_ms: 7,
    }
}

fn delete(id: &str, by: &str) -> ChatOp {
    ChatOp::DeleteMessage {
        room: room("r1"),
        id: id.to_owned(),
        by: user(by),
        any: false,
        at_ms: 8,
    }
}

fn room(id: &str) -> RoomId {
    RoomId::new(id).expect("a valid name")
}

fn named(id: &str) -> User {
    User {
        id: UserId::new(id).expect("a valid name"),
        name: format!("{id} the First"),
    }
}
