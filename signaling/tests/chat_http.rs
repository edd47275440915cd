//! Chat over HTTP: who may open a socket on a room, rooms, messages, lists and searches, for users and for applications.

use std::time::Duration;

use redred_signaling::api::{Reply, Request};
use redred_signaling::sim::{World, viewer, with_grants};
use redred_signaling::store::chat::{RoomCursor, RoomKind};
use redred_signaling::{Channel, Config, ErrorCode, RoomId, SessionId, UserId};
use serde_json::{Value, json};

mod support;
use support::{chat_of, direct, user};

fn write(world: &mut World, who: SessionId, room: &str, text: &str) {
    let ack = world.ask(who, room, "chat_message", json!({"text": text}));
    assert_eq!(ack["type"], "ack", "{ack}");
}

#[test]
fn who_may_open_a_socket_on_a_room_is_told_before_the_upgrade() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let admit = |world: &mut World, who: &str, room: &str| {
        let channel = Channel::parse(room).expect("a channel");
        let ask = Request::Admit { channel };
        let result = world.http(&viewer(who), ask).expect("an answer");
        result.map_err(|error| error.code)
    };
    assert_eq!(admit(&mut world, "ana", &room), Ok(Reply::Done));
    assert_eq!(admit(&mut world, "cy", &room), Err(ErrorCode::Forbidden));
    let nowhere = admit(&mut world, "ana", "chat:nowhere");
    assert_eq!(nowhere, Err(ErrorCode::NotFound));
}

#[test]
fn http_does_what_a_socket_does() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let id = RoomId::new(chat_of(&room)).expect("a room");
    let bo = world.connect(&viewer("bo"), Some(&room));
    world.take(bo);
    let post = |text: &str, sender: Option<UserId>| Request::PostMessage {
        room: id.clone(),
        sender,
        message: serde_json::from_value(json!({"text": text, "client_id": text}))
            .expect("a message"),
    };
    let posted = world.http(&viewer("ana"), post("over HTTP", None));
    let Some(Ok(Reply::Posted {
        message,
        is_new: true,
    })) = posted
    else {
        panic!("{posted:?}");
    };
    assert_eq!(
        world.take_kind(bo, "chat_message")[0]["id"],
        message.id.as_str()
    );
    let again = world.http(&viewer("ana"), post("over HTTP", None));
    assert!(matches!(
        again,
        Some(Ok(Reply::Posted { is_new: false, .. }))
    ));
    // In the name of others only for admins, who need not be members.
    let forbidden = world.http(&viewer("bo"), post("x", Some(user("ana"))));
    assert_eq!(
        forbidden.expect("an answer").expect_err("refused").code,
        ErrorCode::Forbidden
    );
    let admin = with_grants("app", r#"{"admin": true}"#);
    let posted = world.http(&admin, post("for ana", Some(user("ana"))));
    assert!(
        matches!(posted, Some(Ok(Reply::Posted { .. }))),
        "{posted:?}"
    );
    let posted = world.http(&admin, post("as itself", None));
    assert!(
        matches!(posted, Some(Ok(Reply::Posted { .. }))),
        "{posted:?}"
    );
    let senders: Vec<Value> = world
        .take_kind(bo, "chat_message")
        .iter()
        .map(|message| message["sender"]["id"].clone())
        .collect();
    assert_eq!(senders, ["ana", "app"]);
    let stranger = world.http(&admin, post("x", Some(user("cy"))));
    assert_eq!(
        stranger.expect("an answer").expect_err("refused").code,
        ErrorCode::InvalidField
    );
    let page = Request::RoomMessages {
        room: id.clone(),
        before_seq: None,
        after_seq: Some(1),
        limit: 1,
    };
    let page = world.http(&admin, page);
    let Some(Ok(Reply::Messages {
        messages,
        has_more: true,
    })) = page
    else {
        panic!("{page:?}");
    };
    assert_eq!(messages[0].text, "for ana");
    let view = world.http(&viewer("bo"), Request::GetRoom { room: id.clone() });
    let Some(Ok(Reply::Room { room: view, .. })) = view else {
        panic!("{view:?}");
    };
    assert_eq!((view.kind, view.members.len()), (RoomKind::Direct, 2));
    let view = world.http(&viewer("cy"), Request::GetRoom { room: id });
    assert_eq!(
        view.expect("an answer").expect_err("refused").code,
        ErrorCode::Forbidden
    );
}

#[test]
fn a_pair_has_one_room_and_lists_and_searches_show_ones_own() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    assert_eq!(direct(&mut world, "bo", "ana"), room, "whoever asks");
    let other = direct(&mut world, "bo", "cy");
    let ana = world.connect(&viewer("ana"), None);
    let bo = world.connect(&viewer("bo"), None);
    write(&mut world, ana, &room, "A secret about boats");
    world.advance(Duration::from_secs(1));
    write(&mut world, bo, &other, "boating tomorrow?");
    let list = |world: &mut World, who: &str| {
        let ask = Request::ListRooms {
            before: None,
            limit: 10,
        };
        let Some(Ok(Reply::Rooms { rooms, .. })) = world.http(&viewer(who), ask) else {
            panic!("no list");
        };
        let ids = rooms
            .into_iter()
            .map(|listing| format!("chat:{}", listing.room.id));
        ids.collect::<Vec<String>>()
    };
    assert_eq!(list(&mut world, "bo"), [other.clone(), room.clone()]);
    assert_eq!(list(&mut world, "ana"), [room]);
    let find = |world: &mut World, who: &str, text: &str| {
        let ask = Request::SearchMessages {
            text: text.to_owned(),
            room: None,
            before_ms: None,
            limit: 10,
        };
        let Some(Ok(Reply::Messages { messages, .. })) = world.http(&viewer(who), ask) else {
            panic!("nothing found");
        };
        messages.len()
    };
    assert_eq!(find(&mut world, "bo", "boat"), 2);
    assert_eq!(find(&mut world, "ana", "boat"), 1);
    assert_eq!(find(&mut world, "ana", "secret boats"), 1);
    assert_eq!(find(&mut world, "cy", "secret"), 0);
    let empty = Request::SearchMessages {
        text: " ".to_owned(),
        room: None,
        before_ms: None,
        limit: 10,
    };
    let refused = world.http(&viewer("bo"), empty).expect("an answer");
    assert_eq!(refused.expect_err("refused").code, ErrorCode::InvalidField);
}

#[test]
fn a_list_is_paged_by_the_last_room_of_the_page_before() {
    let mut config = Config::default();
    config.rooms.list_rooms = 3;
    let mut world = World::new(config);
    let others = ["bo", "cy", "di", "ed", "fi"];
    let rooms: Vec<String> = others
        .into_iter()
        .map(|other| direct(&mut world, "ana", other))
        .collect();
    let ana = world.connect(&viewer("ana"), None);
    for room in &rooms {
        world.advance(Duration::from_secs(1));
        write(&mut world, ana, room, "hi");
    }
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let ask = Request::ListRooms { before, limit: 2 };
        let Some(Ok(Reply::Rooms { rooms, has_more })) = world.http(&viewer("ana"), ask) else {
            panic!("no list");
        };
        let last = rooms.last().expect("a room").room.clone();
        before = Some(RoomCursor {
            updated_at_ms: last.updated_at,
            room: last.id,
        });
        seen.extend(
            rooms
                .into_iter()
                .map(|listing| format!("chat:{}", listing.room.id)),
        );
        if !has_more {
            break;
        }
    }
    let newest_first: Vec<String> = rooms.into_iter().rev().collect();
    assert_eq!(seen, newest_first);
    world.ask(ana, "chats", "subscribe", json!({"channel": "chats"}));
    let state = world.take_kind(ana, "subscribed")[0]["state"].clone();
    assert_eq!(state["rooms"].as_array().map(Vec::len), Some(3));
    assert_eq!(state["has_more"], true);
}
