//! Groups: who may bring, remove and rename, and who owns one when its owner leaves. Changes of one group are made one after
//! the other, each checked against what the one before has made of it.

use super::room::{Room, Then, Turn, blocked, by_user, tell_list};
use super::{Answer, Asker};
use crate::broker::Audience;
use crate::error::Error;
use crate::id::UserId;
use crate::message::ServerMessage;
use crate::message::chat::{RoomUpdated, Status};
use crate::message::text::Text;
use crate::store::StoreError;
use crate::store::chat::{ChatOk, ChatOp, MemberRole, RoomChange, RoomKind};

/// A change that waits for its turn.
#[derive(Debug)]
pub(super) struct Change {
    asker: Asker,
    change: RoomChange,
}

impl Room {
    /// A change of the group, by one of its members or an admin of the platform.
    pub(super) fn change(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        change: RoomChange,
    ) -> Result<(), Error> {
        self.member(&asker)?;
        if self.kind == RoomKind::Direct {
            let what = "a direct room is for its two members and has no title";
            return Err(Error::forbidden(what));
        }
        if self.changes.len() >= turn.context.config.rooms.pending_changes_max {
            turn.context.stats.limits_hit += 1;
            let wait = std::time::Duration::from_secs(1);
            let error = Error::unavailable("the group is being changed");
            return Err(error.retry_after(wait));
        }
        self.pace(turn, &asker)?;
        self.changes.push_back(Change { asker, change });
        self.next_change(turn);
        Ok(())
    }

    fn next_change(&mut self, turn: &mut Turn<'_>) {
        while !self.is_changing
            && let Some(Change { asker, change }) = self.changes.pop_front()
        {
            match self.prepare(turn, &asker, change) {
                Err(error) => turn.context.fail(turn.now, asker.requester, error),
                Ok(None) => self.answer_view(turn, &asker),
                Ok(Some(change)) => {
                    self.is_changing = true;
                    let op = ChatOp::ChangeRoom {
                        room: self.id.clone(),
                        by: asker.caller.user.clone(),
                        change: change.clone(),
                        at_ms: turn.now.wall_ms,
                    };
                    self.ask_store(turn.context, op, Then::Change { asker, change });
                }
            }
        }
    }

    /// What a change comes to; none when everything is like that already.
    fn prepare(
        &self,
        turn: &mut Turn<'_>,
        asker: &Asker,
        change: RoomChange,
    ) -> Result<Option<RoomChange>, Error> {
        let role = self.role(asker)?;
        let caller = &asker.caller.user.id;
        self.check_writes(turn.context)?;
        match change {
            RoomChange::Renamed { title } => {
                need(role, MemberRole::Admin)?;
                let title = Text::<1, 100>::new(&title);
                let title = title.map_err(|expected| Error::invalid_field("title", expected))?;
                let title = title.into_string();
                let is_new = self.title.as_ref() != Some(&title);
                Ok(is_new.then_some(RoomChange::Renamed { title }))
            }
            RoomChange::MembersAdded { users } => {
                need(role, MemberRole::Admin)?;
                self.prepare_adding(turn, users)
            }
            RoomChange::MemberRemoved { user, .. } => {
                let target = self.role_of(&user)?;
                let is_leaving = user == *caller;
                if !is_leaving {
                    need(role, MemberRole::Admin)?;
                    if target >= role && !asker.is_platform_admin() {
                        let what = "only members of a lower role can be removed";
                        return Err(Error::forbidden(what));
                    }
                }
                let new_owner = (target == MemberRole::Owner).then(|| self.heir(&user));
                Ok(Some(RoomChange::MemberRemoved {
                    user,
                    new_owner: new_owner.flatten(),
                }))
            }
            RoomChange::RoleChanged { user, role: wanted } => {
                need(role, MemberRole::Owner)?;
                let target = self.role_of(&user)?;
                if target == wanted {
                    return Ok(None);
                }
                if target == MemberRole::Owner {
                    let what = "an owner hands the group over by making somebody else the owner";
                    return Err(Error::conflict(what));
                }
                Ok(Some(RoomChange::RoleChanged { user, role: wanted }))
            }
        }
    }

    fn prepare_adding(
        &self,
        turn: &mut Turn<'_>,
        mut users: Vec<UserId>,
    ) -> Result<Option<RoomChange>, Error> {
        let limits = &turn.context.config.rooms;
        if !(1..=limits.add_members_max).contains(&users.len()) {
            let expected = format!("expected 1 to {}", limits.add_members_max);
            return Err(Error::invalid_field("user_ids", expected));
        }
        users.sort();
        users.dedup();
        users.retain(|user| !self.members.contains_key(user));
        if self.members.len() + users.len() > limits.max_group_members {
            let what = format!("a group has at most {} members", limits.max_group_members);
            turn.context.stats.limits_hit += 1;
            return Err(Error::conflict(what));
        }
        Ok((!users.is_empty()).then_some(RoomChange::MembersAdded { users }))
    }

    fn role_of(&self, user: &UserId) -> Result<MemberRole, Error> {
        let member = self.members.get(user);
        let missing = || Error::not_found("user_id: there is no such member");
        Ok(member.ok_or_else(missing)?.role)
    }

    /// Who owns the group when its owner leaves: the oldest admin, else the oldest member.
    fn heir(&self, owner: &UserId) -> Option<UserId> {
        let others = self
            .members
            .values()
            .filter(|member| member.user.id != *owner);
        let first = others.min_by_key(|member| {
            let is_admin = member.role == MemberRole::Admin;
            (!is_admin, member.joined_seq, member.user.id.clone())
        });
        first.map(|member| member.user.id.clone())
    }

    /// The store has answered about a change.
    pub(super) fn handle_changed(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        change: RoomChange,
        result: Result<ChatOk, StoreError>,
    ) {
        self.is_changing = false;
        match result {
            Ok(ChatOk::RoomChanged {
                seq,
                title,
                members,
            }) => {
                let is_whole = self.advance(seq, |room| {
                    room.title = title;
                    room.members = by_user(members);
                    room.has_new_members = true;
                    room.updated_at_ms = turn.now.wall_ms;
                });
                self.tell_change(turn, &asker, seq, change, is_whole);
            }
            Ok(_) => {}
            Err(error) => {
                let what = "user_id: there is no such member";
                self.fail(turn, asker.requester, &error, what, blocked());
            }
        }
        self.catch_up(turn);
        self.next_change(turn);
    }

    fn tell_change(
        &self,
        turn: &mut Turn<'_>,
        asker: &Asker,
        seq: u64,
        change: RoomChange,
        is_whole: bool,
    ) {
        let removed = match &change {
            RoomChange::MemberRemoved { user, .. } => Some(user.clone()),
            RoomChange::Renamed { .. }
            | RoomChange::MembersAdded { .. }
            | RoomChange::RoleChanged { .. } => None,
        };
        let has_left = removed.as_ref() == Some(&asker.caller.user.id);
        if has_left {
            super::answer(
                turn.context,
                turn.now,
                asker.requester.clone(),
                Answer::Done,
            );
        } else {
            self.answer_view(turn, asker);
        }
        let members = self.members_for_all(turn);
        let updated = ServerMessage::RoomUpdated(RoomUpdated {
            room: self.id.clone(),
            by: asker.caller.user.clone(),
            change,
            title: self.title.clone(),
            members,
        });
        self.publish(turn, seq, updated);
        self.tell_hidden(turn);
        if is_whole {
            self.tell_lists(turn, true);
        }
        if let Some(user) = removed {
            let mut update = self.chat_update(None, 0);
            update.last_message = None;
            update.removed = true;
            tell_list(turn, Audience::User(user), update);
        }
    }

    /// Whoever blocks a member was shown to all as offline: those who may know are told better.
    fn tell_hidden(&self, turn: &mut Turn<'_>) {
        let blockers: std::collections::BTreeSet<&UserId> =
            self.blocks.iter().map(|(who, _)| who).collect();
        for user in blockers {
            let Some(member) = self.members.get(user) else {
                continue;
            };
            let presence = turn.people.view(turn.now, user, member.last_seen_ms);
            if presence.status == Status::Online {
                let audience = Audience::Except(self.deaf_to(user));
                self.say(turn, audience, ServerMessage::Presence(presence));
            }
        }
    }
}

fn need(role: MemberRole, least: MemberRole) -> Result<(), Error> {
    if role >= least {
        return Ok(());
    }
    Err(match least {
        MemberRole::Owner => Error::forbidden("only the owner of the group may do this"),
        MemberRole::Admin | MemberRole::Member => {
            Error::forbidden("only admins of the group may do this")
        }
    })
}

/// The members of a new room, without repeats: who creates it is among them, and the first owns a group.
pub(super) fn founders(
    kind: RoomKind,
    creator: Option<&UserId>,
    named: Vec<UserId>,
    members_max: usize,
) -> Result<Vec<(UserId, MemberRole)>, Error> {
    let mut users: Vec<UserId> = creator.cloned().into_iter().collect();
    for user in named {
        if !users.contains(&user) {
            users.push(user);
        }
        if users.len() > members_max.max(2) {
            let what = format!("a group has at most {members_max} members");
            return Err(Error::conflict(what));
        }
    }
    match kind {
        RoomKind::Direct if users.len() != 2 => {
            let expected = "expected the one other member of a direct room";
            return Err(Error::invalid_field("members", expected));
        }
        RoomKind::Group if users.is_empty() => {
            return Err(Error::invalid_field("members", "expected at least one"));
        }
        RoomKind::Direct | RoomKind::Group => {}
    }
    let role = |index: usize| match kind {
        RoomKind::Group if index == 0 => MemberRole::Owner,
        RoomKind::Group | RoomKind::Direct => MemberRole::Member,
    };
    let users = users.into_iter().enumerate();
    Ok(users.map(|(index, user)| (user, role(index))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a user id")
    }

    #[test]
    fn founders_are_counted_once_and_the_first_owns_a_group() {
        let ana = user("ana");
        let named = vec![user("bo"), user("ana"), user("bo")];
        let group = founders(RoomKind::Group, Some(&ana), named.clone(), 256).expect("a group");
        let roles = [
            (user("ana"), MemberRole::Owner),
            (user("bo"), MemberRole::Member),
        ];
        assert_eq!(group, roles);
        let pair = founders(RoomKind::Direct, Some(&ana), named, 256).expect("a pair");
        assert!(pair.iter().all(|(_, role)| *role == MemberRole::Member));
    }

    #[test]
    fn a_direct_room_is_for_two_and_a_group_for_as_many_as_allowed() {
        let ana = user("ana");
        for named in [vec![], vec![user("ana")], vec![user("bo"), user("cy")]] {
            assert!(founders(RoomKind::Direct, Some(&ana), named, 256).is_err());
        }
        assert!(founders(RoomKind::Group, None, vec![], 256).is_err());
        let many = (0..5).map(|n| user(&format!("u{n}"))).collect();
        assert!(founders(RoomKind::Group, Some(&ana), many, 5).is_err());
    }

    #[test]
    fn members_need_the_role_for_what_they_do() {
        assert!(need(MemberRole::Member, MemberRole::Admin).is_err());
        assert!(need(MemberRole::Admin, MemberRole::Owner).is_err());
        assert!(need(MemberRole::Owner, MemberRole::Admin).is_ok());
    }
}
