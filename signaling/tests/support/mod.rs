//! Steps that several tests take.
#![allow(dead_code, reason = "no test takes all of them")]

use redred_signaling::UserId;
use redred_signaling::api::{Reply, Request};
use redred_signaling::sim::{World, viewer};
use redred_signaling::store::chat::RoomKind;

/// A user id.
pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).expect("a user id")
}

/// Creates a room over HTTP and answers its channel.
pub(crate) fn create(world: &mut World, owner: &str, kind: RoomKind, others: &[&str]) -> String {
    let ask = Request::CreateRoom {
        kind,
        members: others.iter().map(|name| user(name)).collect(),
        title: None,
    };
    match world.http(&viewer(owner), ask) {
        Some(Ok(Reply::Room { room, .. })) => format!("chat:{}", room.id),
        other => panic!("no room: {other:?}"),
    }
}

/// A direct room.
pub(crate) fn direct(world: &mut World, one: &str, other: &str) -> String {
    create(world, one, RoomKind::Direct, &[other])
}

/// A group of its owner and others.
pub(crate) fn group(world: &mut World, owner: &str, others: &[&str]) -> String {
    create(world, owner, RoomKind::Group, others)
}

/// The id of a room, of its channel.
pub(crate) fn chat_of(channel: &str) -> String {
    channel.trim_start_matches("chat:").to_owned()
}
