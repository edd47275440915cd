//! Who is here, told to the rooms and lists of those who may know, and who may not.

use std::collections::BTreeSet;

use super::requests::see;
use super::{Chat, Slot};
use crate::context::Context;
use crate::id::{RoomId, UserId};
use crate::people::Arrival;
use crate::session::Key;
use crate::time::Now;

impl Chat {
    /// A session has a socket.
    pub(crate) fn handle_attached(&mut self, context: &mut Context, now: Now, key: Key) {
        let Some(session) = context.sessions.get(key) else {
            return;
        };
        let user = session.caller.user.clone();
        match self.people.attach(&user, key) {
            Arrival::Known => {}
            Arrival::Renamed => {
                self.rename(&user.id, &user.name);
                see(context, &user, now.wall_ms);
            }
            Arrival::Came => {
                context.stats.presence_changes += 1;
                self.rename(&user.id, &user.name);
                see(context, &user, now.wall_ms);
                self.tell_presence(context, now, &user.id, None);
            }
        }
    }

    /// A session has none any more.
    pub(crate) fn handle_detached(&mut self, context: &Context, now: Now, key: Key) {
        if let Some(session) = context.sessions.get(key) {
            self.people.detach(now, &session.caller.user.id, key);
        }
    }

    /// A user goes by another name from now on.
    fn rename(&mut self, user: &UserId, name: &str) {
        for id in self.rooms_of.get(user).into_iter().flatten() {
            if let Some(Slot::Ready(room)) = self.rooms.get_mut(id)
                && let Some(member) = room.members.get_mut(user)
            {
                name.clone_into(&mut member.user.name);
            }
        }
    }

    /// Tells the rooms of a user that they came or went, and the lists of those who have a direct room with them.
    fn tell_presence(
        &mut self,
        context: &mut Context,
        now: Now,
        user: &UserId,
        last_seen_ms: Option<u64>,
    ) {
        let presence = self.people.view(now, user, last_seen_ms);
        self.list.tell_presence(context, now, presence);
        let rooms = self.rooms_of.get(user).cloned().unwrap_or_default();
        for id in rooms {
            self.with_room(context, now, &id, |room, turn| {
                room.tell_presence(turn, user);
            });
        }
    }

    pub(super) fn handle_gone(&mut self, context: &mut Context, now: Now) {
        let delay = context.config.rooms.offline_delay;
        while let Some((user, left_ms)) = self.people.next_gone(now, delay) {
            context.stats.presence_changes += 1;
            see(context, &user, left_ms);
            let rooms = self.rooms_of.get(&user.id).cloned().unwrap_or_default();
            for id in &rooms {
                if let Some(Slot::Ready(room)) = self.rooms.get_mut(id)
                    && let Some(member) = room.members.get_mut(&user.id)
                {
                    member.last_seen_ms = Some(left_ms);
                }
            }
            self.tell_presence(context, now, &user.id, Some(left_ms));
        }
    }

    /// A block between two users was set or lifted.
    pub(super) fn set_block(
        &mut self,
        context: &mut Context,
        now: Now,
        user: &UserId,
        blocked: &UserId,
        on: bool,
    ) {
        for slot in self.rooms.values_mut() {
            if let Slot::Loading { is_overtaken, .. } = slot {
                *is_overtaken = true;
            }
        }
        if on {
            self.list.hide(context, now, user, blocked);
        }
        let nowhere = BTreeSet::new();
        let mine = self.rooms_of.get(user).unwrap_or(&nowhere);
        let theirs = self.rooms_of.get(blocked).unwrap_or(&nowhere);
        let shared: Vec<RoomId> = mine.intersection(theirs).cloned().collect();
        for id in shared {
            self.with_room(context, now, &id, |room, turn| {
                room.set_block(turn, user, blocked, on);
            });
        }
    }
}
