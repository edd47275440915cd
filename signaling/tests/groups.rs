//! Groups: who may do what in them, what everybody is told, and who is left when somebody goes; and blocks.

use redred_signaling::api::{Reply, Request};
use redred_signaling::sim::{World, viewer, with_grants};
use redred_signaling::store::chat::{RoomChange, RoomKind};
use redred_signaling::{Config, ErrorCode, RoomId, SessionId, UserId};
use serde_json::{Value, json};

mod support;
use support::{chat_of, create, direct, group, user};

fn code(answer: &Value) -> &str {
    assert_eq!(answer["type"], "error", "{answer}");
    answer["data"]["code"].as_str().expect("a code")
}

fn done(world: &mut World, who: SessionId, room: &str, kind: &str, data: Value) -> Value {
    let ack = world.ask(who, room, kind, data);
    assert_eq!(ack["type"], "ack", "{kind}: {ack}");
    ack["data"].clone()
}

/// The members as `id:role`, in order.
fn roles(members: &Value) -> Vec<String> {
    let members = members.as_array().expect("members").iter();
    let role = |one: &Value| {
        let text = |field: &str| one[field].as_str().expect("a text").to_owned();
        format!("{}:{}", text("id"), text("role"))
    };
    members.map(role).collect()
}

fn room_id(room: &str) -> RoomId {
    RoomId::new(chat_of(room)).expect("a room")
}

fn refusal(result: Option<Result<Reply, redred_signaling::Error>>) -> ErrorCode {
    result.expect("an answer").expect_err("refused").code
}

#[test]
fn who_creates_a_group_owns_it_and_everybody_finds_it_in_their_list() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), Some("chats"));
    world.take(bo);
    let ask = Request::CreateRoom {
        kind: RoomKind::Group,
        members: vec![user("bo"), user("cy")],
        title: Some(" Friends ".to_owned()),
    };
    let Some(Ok(Reply::Room { room, is_new: true })) = world.http(&viewer("ana"), ask) else {
        panic!("no room");
    };
    assert_eq!(room.title.as_deref(), Some("Friends"));
    let update = world.take_kind(bo, "chat_update")[0].clone();
    assert_eq!(update["title"], "Friends");
    let expected = ["ana:owner", "bo:member", "cy:member"];
    assert_eq!(roles(&update["members"]), expected);
}

#[test]
fn rooms_that_make_no_sense_are_refused() {
    let mut world = World::new(Config::default());
    let title = |text: &str| Some(text.to_owned());
    for (kind, members, title) in [
        (RoomKind::Direct, vec![], None),
        (RoomKind::Direct, vec![user("ana")], None),
        (RoomKind::Direct, vec![user("bo"), user("cy")], None),
        (RoomKind::Direct, vec![user("bo")], title("x")),
        (RoomKind::Group, vec![], title("")),
        (RoomKind::Group, vec![], title(&"x".repeat(101))),
        (RoomKind::Group, vec![], title("a\u{0}b")),
    ] {
        let ask = Request::CreateRoom {
            kind,
            members,
            title,
        };
        let result = world.http(&viewer("ana"), ask.clone());
        assert_eq!(refusal(result), ErrorCode::InvalidField, "{ask:?}");
    }
    let narrow = with_grants("ana", r#"{"chat": ["other"]}"#);
    let ask = Request::CreateRoom {
        kind: RoomKind::Direct,
        members: vec![user("bo")],
        title: None,
    };
    assert_eq!(refusal(world.http(&narrow, ask)), ErrorCode::Forbidden);
}

#[test]
fn an_application_creates_rooms_of_others_and_the_first_named_owns_them() {
    let mut world = World::new(Config::default());
    let admin = with_grants("app", r#"{"admin": true}"#);
    let ask = Request::CreateRoom {
        kind: RoomKind::Group,
        members: vec![user("bo"), user("ana")],
        title: None,
    };
    let Some(Ok(Reply::Room { room, .. })) = world.http(&admin, ask) else {
        panic!("no room");
    };
    let members = serde_json::to_value(&room.members).expect("members");
    assert_eq!(roles(&members), ["ana:member", "bo:owner"]);
    let change = Request::ChangeRoom {
        room: room.id,
        change: RoomChange::MemberRemoved {
            user: user("bo"),
            new_owner: None,
        },
    };
    let Some(Ok(Reply::Room { room, .. })) = world.http(&admin, change) else {
        panic!("not changed");
    };
    let members = serde_json::to_value(&room.members).expect("members");
    assert_eq!(roles(&members), ["ana:owner"]);
}

#[test]
fn admins_add_and_rename_members_do_not() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let cy = world.connect(&viewer("cy"), Some("chats"));
    for who in [ana, bo, cy] {
        world.take(who);
    }
    done(
        &mut world,
        ana,
        &room,
        "chat_message",
        json!({"text": "old"}),
    );
    for (kind, data) in [
        ("add_members", json!({"user_ids": ["cy"]})),
        ("remove_member", json!({"user_id": "ana"})),
        ("rename_room", json!({"title": "Ours"})),
        ("set_member_role", json!({"user_id": "bo", "role": "admin"})),
    ] {
        let refused = world.ask(bo, &room, kind, data);
        assert_eq!(code(&refused), "forbidden", "{kind}");
    }
    let role = json!({"user_id": "bo", "role": "admin"});
    let ack = done(&mut world, ana, &room, "set_member_role", role);
    assert_eq!(roles(&ack["room"]["members"]), ["ana:owner", "bo:admin"]);
    world.take(bo);
    let add = json!({"user_ids": ["cy", "ana", "cy"]});
    let ack = done(&mut world, bo, &room, "add_members", add.clone());
    let expected = ["ana:owner", "bo:admin", "cy:member"];
    assert_eq!(roles(&ack["room"]["members"]), expected);
    let told = world.take(bo);
    let updated = &told[0];
    assert_eq!(updated["type"], "room_updated");
    assert_eq!(updated["metadata"]["seq"], 3);
    assert_eq!(updated["data"]["by"]["id"], "bo");
    let change = json!({"kind": "members_added", "users": ["cy"]});
    assert_eq!(updated["data"]["change"], change, "ana was there");
    let update = world.take_kind(cy, "chat_update")[0].clone();
    assert_eq!(
        (&update["unread"], &update["removed"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(roles(&update["members"]), expected);
    // Nothing changes the second time, so nothing is told.
    done(&mut world, bo, &room, "add_members", add);
    assert!(world.take(bo).is_empty());
    done(
        &mut world,
        bo,
        &room,
        "rename_room",
        json!({"title": "Ours"}),
    );
    assert_eq!(world.take_kind(bo, "room_updated")[0]["title"], "Ours");
    // What was written before a member came counts as read.
    let list = Request::ListRooms {
        before: None,
        limit: 1,
    };
    let Some(Ok(Reply::Rooms { rooms, .. })) = world.http(&viewer("cy"), list) else {
        panic!("no list");
    };
    assert_eq!(rooms[0].unread, 0);
    let page = done(&mut world, cy, &room, "history", json!({}));
    assert_eq!(page["messages"][0]["text"], "old", "and can be read");
}

#[test]
fn a_removed_member_is_told_and_hears_nothing_more() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let phone = world.connect(&viewer("bo"), Some(&room));
    let laptop = world.connect(&viewer("bo"), Some("chats"));
    world.take(laptop);
    done(&mut world, phone, &room, "typing", json!({"active": true}));
    world.take(phone);
    done(
        &mut world,
        ana,
        &room,
        "remove_member",
        json!({"user_id": "bo"}),
    );
    let last = world.take_kind(phone, "room_updated");
    let change = json!({"kind": "member_removed", "user": "bo", "new_owner": null});
    assert_eq!(last[0]["change"], change);
    let update = world.take_kind(laptop, "chat_update");
    assert_eq!(update.last().expect("an update")["removed"], true);
    done(
        &mut world,
        ana,
        &room,
        "chat_message",
        json!({"text": "unheard"}),
    );
    assert!(world.take(phone).is_empty() && world.take(laptop).is_empty());
    for (kind, data) in [
        ("chat_message", json!({"text": "x"})),
        ("subscribe", json!({"channel": room})),
        ("history", json!({})),
    ] {
        let refused = world.ask(phone, &room, kind, data);
        assert_eq!(code(&refused), "forbidden", "{kind}");
    }
    let missing = world.ask(ana, &room, "remove_member", json!({"user_id": "bo"}));
    assert_eq!(code(&missing), "not_found");
    // Who comes back begins where the group is.
    done(
        &mut world,
        ana,
        &room,
        "add_members",
        json!({"user_ids": ["bo"]}),
    );
    done(
        &mut world,
        phone,
        &room,
        "subscribe",
        json!({"channel": room}),
    );
    let state = world.take_kind(phone, "subscribed")[0]["state"].clone();
    assert_eq!(state["unread"], 0);
}

#[test]
fn an_owner_who_leaves_hands_over_to_the_oldest_admin_then_the_oldest_member() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    for late in ["zoe", "cy"] {
        done(
            &mut world,
            ana,
            &room,
            "add_members",
            json!({"user_ids": [late]}),
        );
    }
    let admin = json!({"user_id": "cy", "role": "admin"});
    done(&mut world, ana, &room, "set_member_role", admin);
    let cy = world.connect(&viewer("cy"), Some(&room));
    world.take(cy);
    let refused = world.ask(cy, &room, "remove_member", json!({"user_id": "ana"}));
    assert_eq!(
        code(&refused),
        "forbidden",
        "the owner stays until they leave"
    );
    assert_eq!(
        done(&mut world, ana, &room, "leave_room", json!({})),
        json!({})
    );
    let told = world.take_kind(cy, "room_updated");
    assert_eq!(
        roles(&told[0]["members"]),
        ["bo:member", "cy:owner", "zoe:member"]
    );
    assert_eq!(told[0]["change"]["new_owner"], "cy");
    done(&mut world, cy, &room, "leave_room", json!({}));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let state = world.take_kind(bo, "subscribed")[0]["state"].clone();
    let expected = ["bo:owner", "zoe:member"];
    assert_eq!(
        roles(&state["room"]["members"]),
        expected,
        "bo was there first"
    );
    let zoe = world.connect(&viewer("zoe"), None);
    done(&mut world, bo, &room, "leave_room", json!({}));
    done(&mut world, zoe, &room, "leave_room", json!({}));
    let admin = with_grants("app", r#"{"admin": true}"#);
    let empty = world.http(
        &admin,
        Request::GetRoom {
            room: room_id(&room),
        },
    );
    let Some(Ok(Reply::Room { room, .. })) = empty else {
        panic!("{empty:?}");
    };
    assert!(room.members.is_empty());
}

#[test]
fn only_the_owner_gives_roles_and_hands_the_group_over() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let set = |who: &str, role: &str| json!({"user_id": who, "role": role});
    let step_down = world.ask(ana, &room, "set_member_role", set("ana", "member"));
    assert_eq!(code(&step_down), "conflict", "somebody must own it");
    let stranger = world.ask(ana, &room, "set_member_role", set("di", "admin"));
    assert_eq!(code(&stranger), "not_found");
    done(
        &mut world,
        ana,
        &room,
        "set_member_role",
        set("bo", "owner"),
    );
    let ack = done(&mut world, bo, &room, "set_member_role", set("cy", "admin"));
    let expected = ["ana:admin", "bo:owner", "cy:admin"];
    assert_eq!(roles(&ack["room"]["members"]), expected);
    let refused = world.ask(ana, &room, "set_member_role", set("cy", "member"));
    assert_eq!(code(&refused), "forbidden");
    let refused = world.ask(ana, &room, "remove_member", json!({"user_id": "cy"}));
    assert_eq!(
        code(&refused),
        "forbidden",
        "admins do not remove each other"
    );
}

#[test]
fn admins_delete_messages_of_others_in_groups() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let cy = world.connect(&viewer("cy"), Some(&room));
    let said = done(
        &mut world,
        bo,
        &room,
        "chat_message",
        json!({"text": "rude"}),
    );
    let this = json!({"id": said["id"]});
    let refused = world.ask(cy, &room, "delete_message", this.clone());
    assert_eq!(code(&refused), "forbidden");
    done(&mut world, ana, &room, "delete_message", this);
    assert_eq!(world.take_kind(cy, "message_deleted")[0]["by"], "ana");
}

#[test]
fn direct_rooms_have_no_group_operations() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let ana = world.connect(&viewer("ana"), Some(&room));
    for (kind, data) in [
        ("add_members", json!({"user_ids": ["cy"]})),
        ("remove_member", json!({"user_id": "bo"})),
        ("leave_room", json!({})),
        ("rename_room", json!({"title": "x"})),
        ("set_member_role", json!({"user_id": "bo", "role": "owner"})),
    ] {
        let refused = world.ask(ana, &room, kind, data);
        assert_eq!(code(&refused), "forbidden", "{kind}");
    }
}

#[test]
fn a_group_grows_to_its_limit_and_no_further() {
    let mut config = Config::default();
    config.rooms.max_group_members = 3;
    config.rooms.add_members_max = 5;
    let mut world = World::new(config);
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let add = |ids: Vec<String>| json!({"user_ids": ids});
    let ids = |count: usize| (0..count).map(|n| format!("u{n}")).collect::<Vec<String>>();
    for bad in [vec![], ids(6)] {
        let refused = world.ask(ana, &room, "add_members", add(bad));
        assert_eq!(code(&refused), "invalid_field");
    }
    let refused = world.ask(ana, &room, "add_members", add(ids(2)));
    assert_eq!(code(&refused), "conflict");
    done(&mut world, ana, &room, "add_members", add(ids(1)));
    let many = Request::CreateRoom {
        kind: RoomKind::Group,
        members: ids(3).iter().map(|name| user(name)).collect(),
        title: None,
    };
    assert_eq!(
        refusal(world.http(&viewer("ana"), many)),
        ErrorCode::Conflict
    );
    assert_eq!(world.hub.stats().limits_hit, 1);
}

#[test]
fn changes_are_made_one_after_the_other_each_by_what_the_one_before_made() {
    let mut config = Config::default();
    config.rooms.pending_changes_max = 2;
    let mut world = World::new(config);
    let room = group(&mut world, "ana", &["bo", "cy"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    let bo = world.connect(&viewer("bo"), Some(&room));
    let admin = json!({"user_id": "bo", "role": "admin"});
    done(&mut world, ana, &room, "set_member_role", admin);
    for who in [ana, bo] {
        world.take(who);
    }
    world.is_store_held = true;
    world.send(ana, &room, "remove_member", json!({"user_id": "bo"}));
    world.send(bo, &room, "rename_room", json!({"title": "mine"}));
    world.send(bo, &room, "add_members", json!({"user_ids": ["di"]}));
    world.send(bo, &room, "leave_room", json!({}));
    let refused = world.take_kind(bo, "error");
    assert_eq!(refused.len(), 1, "two wait behind the first: {refused:?}");
    assert_eq!(refused[0]["code"], "unavailable");
    world.is_store_held = false;
    world.run();
    let refused = world.take_kind(bo, "error");
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|error| error["code"] == "forbidden"));
    let told = world.take_kind(ana, "room_updated");
    assert_eq!(told.len(), 1, "{told:?}");
}

fn block(world: &mut World, who: &str, whom: &str) {
    let result = world.http(&viewer(who), Request::Block { user: user(whom) });
    assert_eq!(result, Some(Ok(Reply::Done)));
}

#[test]
fn who_is_blocked_cannot_write_to_them_but_still_reads() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), Some(&room));
    let ana = world.connect(&viewer("ana"), Some(&room));
    done(&mut world, bo, &room, "chat_message", json!({"text": "hi"}));
    block(&mut world, "ana", "bo");
    let refused = world.ask(bo, &room, "chat_message", json!({"text": "hi?"}));
    assert_eq!(code(&refused), "forbidden");
    assert_eq!(refused["data"]["reason"], "blocked");
    done(&mut world, bo, &room, "history", json!({}));
    let blocks = world.http(&viewer("ana"), Request::ListBlocks);
    let Some(Ok(Reply::Users(users))) = blocks else {
        panic!("{blocks:?}");
    };
    assert_eq!(users[0].id, user("bo"));
    let lifted = world.http(&viewer("ana"), Request::Unblock { user: user("bo") });
    assert_eq!(lifted, Some(Ok(Reply::Done)));
    done(
        &mut world,
        bo,
        &room,
        "chat_message",
        json!({"text": "hi!"}),
    );
    assert_eq!(world.take_kind(ana, "chat_message").len(), 2);
}

#[test]
fn a_block_holds_in_a_room_that_is_loaded_later() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    block(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), Some(&room));
    let refused = world.ask(bo, &room, "chat_message", json!({"text": "hi?"}));
    assert_eq!(refused["data"]["reason"], "blocked");
}

#[test]
fn a_block_set_while_the_room_is_being_loaded_holds() {
    let mut world = World::new(Config::default());
    let room = direct(&mut world, "ana", "bo");
    let bo = world.connect(&viewer("bo"), None);
    world.is_store_held = true;
    // The room is read before the block is written, and answered behind it.
    world.send(bo, &room, "subscribe", json!({"channel": room}));
    let asked = world.http_open(&viewer("ana"), Request::Block { user: user("bo") });
    world.reorder_store_replies();
    world.release_store_reply();
    world.reorder_store_replies();
    world.release_store_reply();
    assert_eq!(world.replies.get(&asked), Some(&Ok(Reply::Done)));
    world.is_store_held = false;
    world.run();
    let refused = world.ask(bo, &room, "chat_message", json!({"text": "hi?"}));
    assert_eq!(refused["data"]["reason"], "blocked");
}

#[test]
fn who_is_blocked_gets_no_new_room_with_them_and_cannot_add_them() {
    let mut world = World::new(Config::default());
    block(&mut world, "ana", "bo");
    let ask = |kind: RoomKind| Request::CreateRoom {
        kind,
        members: vec![user("ana")],
        title: None,
    };
    for kind in [RoomKind::Direct, RoomKind::Group] {
        let result = world.http(&viewer("bo"), ask(kind));
        let error = result.expect("an answer").expect_err("refused");
        assert_eq!(error.code, ErrorCode::Forbidden);
        assert_eq!(error.rule, Some(redred_signaling::error::Rule::Blocked));
    }
    let room = group(&mut world, "bo", &["cy"]);
    let bo = world.connect(&viewer("bo"), Some(&room));
    let refused = world.ask(bo, &room, "add_members", json!({"user_ids": ["ana"]}));
    assert_eq!(refused["data"]["reason"], "blocked");
    // The one who blocks may.
    create(&mut world, "ana", RoomKind::Direct, &["bo"]);
}

#[test]
fn nobody_blocks_themselves_or_more_than_the_limit() {
    let mut config = Config::default();
    config.rooms.blocks_max = 2;
    let mut world = World::new(config);
    let ask =
        |world: &mut World, whom: UserId| world.http(&viewer("ana"), Request::Block { user: whom });
    let oneself = ask(&mut world, user("ana"));
    assert_eq!(refusal(oneself), ErrorCode::InvalidField);
    block(&mut world, "ana", "bo");
    block(&mut world, "ana", "cy");
    block(&mut world, "ana", "bo");
    let third = ask(&mut world, user("di"));
    assert_eq!(refusal(third), ErrorCode::Conflict);
    assert_eq!(world.hub.stats().limits_hit, 1);
}

#[test]
fn a_group_whose_store_fails_stays_as_it_is() {
    let mut world = World::new(Config::default());
    let room = group(&mut world, "ana", &["bo"]);
    let ana = world.connect(&viewer("ana"), Some(&room));
    world.is_store_down = true;
    let refused = world.ask(ana, &room, "rename_room", json!({"title": "x"}));
    assert_eq!(code(&refused), "unavailable");
    world.is_store_down = false;
    world.advance(std::time::Duration::from_secs(10));
    assert!(world.take_kind(ana, "room_updated").is_empty());
    done(&mut world, ana, &room, "rename_room", json!({"title": "y"}));
    assert_eq!(world.take_kind(ana, "room_updated")[0]["title"], "y");
}
