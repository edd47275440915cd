//! Who is here: over several devices, through reconnects, and hidden from whom one blocks.

use std::time::Duration;

use redred_signaling::api::{Reply, Request};
use redred_signaling::message::chat::{PresenceView, Status};
use redred_signaling::sim::{START_MS, World, viewer, with_grants};
use redred_signaling::store::StoreOp;
use redred_signaling::store::chat::ChatOp;
use redred_signaling::{Caller, Config, ErrorCode, SessionId};
use serde_json::{Value, json};

mod support;
use support::{direct, group, user};

fn heard(world: &mut World, who: SessionId) -> Vec<String> {
    let heard = world.take_kind(who, "presence").into_iter();
    let text = |one: &Value, field: &str| one[field].as_str().expect("a text").to_owned();
    heard
        .map(|one| format!("{} {}", text(&one, "user_id"), text(&one, "status")))
        .collect()
}

fn presence(world: &mut World, caller: &Caller, of: &str) -> Result<PresenceView, ErrorCode> {
    let result = world.http(caller, Request::GetPresence { user: user(of) });
    match result.expect("an answer") {
        Ok(Reply::Presence(view)) => Ok(view),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

/// When the store was told that somebody was here.
fn seen(world: &World, who: &str) -> Vec<u64> {
    let seen = world.stored.iter().filter_map(|op| {
        let StoreOp::Chat(ChatOp::SeeUser { user, at_ms }) = op else {
            return None;
        };
        (user.id.as_str() == who).then(|| at_ms - START_MS)
    });
    seen.collect()
}

#[test]
fn somebody_is_here_until_the_last_device_has_been_gone_for_a_while() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    world.take(ana);
    let phone = world.connect(&viewer("bo"), None);
    let laptop = world.connect(&viewer("bo"), None);
    assert_eq!(heard(&mut world, ana), ["bo online"], "once");
    world.disconnect(phone);
    world.advance(Duration::from_secs(30));
    assert_eq!(heard(&mut world, ana), Vec::<String>::new());
    world.disconnect(laptop);
    world.advance(Duration::from_millis(4999));
    assert_eq!(heard(&mut world, ana), Vec::<String>::new());
    world.advance(Duration::from_millis(1));
    let told = world.take_kind(ana, "presence");
    assert_eq!(told[0]["status"], "offline");
    assert_eq!(
        told[0]["last_seen"], "2026-11-24T12:00:30.000Z",
        "when they went"
    );
    assert_eq!(seen(&world, "bo"), [0, 30_000], "on coming and on going");
    assert_eq!(world.hub.stats().presence_changes, 3);
}

#[test]
fn a_reconnect_within_the_delay_is_no_absence() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let mut bo = world.connect(&viewer("bo"), None);
    world.take(ana);
    for _ in 0..5 {
        world.disconnect(bo);
        world.advance(Duration::from_secs(4));
        bo = world.connect(&viewer("bo"), None);
        world.advance(Duration::from_secs(4));
    }
    assert_eq!(heard(&mut world, ana), Vec::<String>::new());
    // A session that is taken up on another socket while the old one is still there counts once.
    let token = world.take_kind(bo, "connection_established")[0]["resume_token"].clone();
    let token = token.as_str().map(str::to_owned);
    let resumed = world.connect_with(&viewer("bo"), None, token);
    world.disconnect(resumed);
    world.advance(Duration::from_secs(6));
    assert_eq!(heard(&mut world, ana), ["bo offline"]);
}

#[test]
fn the_state_of_a_room_says_who_is_here() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let bo = world.connect(&viewer("bo"), None);
    world.disconnect(bo);
    world.advance(Duration::from_secs(10));
    let ana = world.connect(&viewer("ana"), Some(&room));
    let state = world.take_kind(ana, "subscribed")[0]["state"].clone();
    let members = state["room"]["members"]
        .as_array()
        .expect("members")
        .clone();
    assert_eq!(
        (&members[0]["id"], &members[0]["status"]),
        (&json!("ana"), &json!("online"))
    );
    assert_eq!(members[1]["status"], "offline");
    assert_eq!(members[1]["last_seen"], "2026-11-24T12:00:00.000Z");
    assert_eq!(
        (&members[2]["status"], &members[2]["last_seen"]),
        (&json!("offline"), &Value::Null)
    );
}

#[test]
fn a_list_is_told_of_those_it_has_a_direct_room_with() {
    let mut world = World::new(Config::default());
    direct(&mut world, "ana", "bo");
    group(&mut world, "ana", &["cy"]);
    let ana = world.connect(&viewer("ana"), Some("chats"));
    world.take(ana);
    let bo = world.connect(&viewer("bo"), None);
    let cy = world.connect(&viewer("cy"), None);
    assert_eq!(heard(&mut world, ana), ["bo online"]);
    // One that is new to the list.
    direct(&mut world, "cy", "ana");
    world.disconnect(bo);
    world.disconnect(cy);
    world.advance(Duration::from_secs(5));
    assert_eq!(heard(&mut world, ana), ["bo offline", "cy offline"]);
    world.ask(ana, "chats", "unsubscribe", json!({"channel": "chats"}));
    world.connect(&viewer("bo"), None);
    assert_eq!(heard(&mut world, ana), Vec::<String>::new());
}

#[test]
fn who_is_blocked_sees_neither_presence_nor_typing() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let pair = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let cy = world.connect(&viewer("cy"), Some(&room));
    world.ask(bo, "chats", "subscribe", json!({"channel": "chats"}));
    for who in [ana, bo, cy] {
        world.take(who);
    }
    world.http(&viewer("ana"), Request::Block { user: user("bo") });
    let told = heard(&mut world, bo);
    assert_eq!(
        told,
        ["ana offline", "ana offline"],
        "in the room and in the list"
    );
    world.ask(ana, &room, "typing", json!({"active": true}));
    assert_eq!(world.take_kind(cy, "typing").len(), 1);
    world.ask(bo, &room, "typing", json!({"active": true}));
    assert!(
        world.take_kind(ana, "typing").is_empty(),
        "nor the other way round"
    );
    world.disconnect(ana);
    world.advance(Duration::from_secs(5));
    world.connect(&viewer("ana"), None);
    assert_eq!(heard(&mut world, cy), ["ana offline", "ana online"]);
    assert!(world.take(bo).iter().all(|one| one["type"] != "presence"));
    for channel in [&room, &pair] {
        world.ask(bo, channel, "subscribe", json!({"channel": channel}));
        let state = world.take_kind(bo, "subscribed")[0]["state"].clone();
        assert_eq!(
            state["room"]["members"][0]["status"], "offline",
            "{channel}"
        );
    }
    assert_eq!(
        presence(&mut world, &viewer("cy"), "ana").map(|one| one.status),
        Ok(Status::Online)
    );
    let hidden = presence(&mut world, &viewer("bo"), "ana").expect("an answer");
    assert_eq!((hidden.status, hidden.last_seen), (Status::Offline, None));
    // Changes of the group do not give them away, and others are not misled.
    let owner = world.connect(&viewer("ana"), None);
    world.ask(owner, &room, "rename_room", json!({"title": "x"}));
    let updated = world.take_kind(bo, "room_updated")[0].clone();
    assert_eq!(updated["members"][0]["status"], "offline");
    assert_eq!(heard(&mut world, cy), ["ana online"]);
    world.http(&viewer("ana"), Request::Unblock { user: user("bo") });
    assert_eq!(
        heard(&mut world, bo),
        ["ana online", "ana online"],
        "in both rooms"
    );
}

#[test]
fn presence_is_told_to_those_who_share_a_room_and_to_admins() {
    let mut world = World::new(Config::default());
    direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), None);
    let ana = viewer("ana");
    assert_eq!(
        presence(&mut world, &ana, "bo").map(|one| one.status),
        Ok(Status::Online)
    );
    world.disconnect(bo);
    world.advance(Duration::from_secs(5));
    let gone = presence(&mut world, &ana, "bo").expect("an answer");
    assert_eq!(
        (gone.status, gone.last_seen),
        (Status::Offline, Some(START_MS))
    );
    assert_eq!(
        presence(&mut world, &viewer("cy"), "bo"),
        Err(ErrorCode::Forbidden)
    );
    let admin = with_grants("app", r#"{"admin": true}"#);
    assert!(presence(&mut world, &admin, "bo").is_ok());
    let nobody = presence(&mut world, &admin, "nobody").expect("an answer");
    assert_eq!((nobody.status, nobody.last_seen), (Status::Offline, None));
}

#[test]
fn a_new_name_is_known_to_the_rooms() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    let mut renamed = viewer("bo");
    renamed.user.name = "Bo the Second".to_owned();
    world.connect(&viewer("bo"), None);
    world.connect(&renamed, None);
    world.ask(ana, &room, "subscribe", json!({"channel": room}));
    let subscribed = world.take_kind(ana, "subscribed");
    let state = &subscribed.last().expect("a state")["state"];
    assert_eq!(state["room"]["members"][1]["name"], "Bo the Second");
    assert_eq!(seen(&world, "bo").len(), 2);
}
