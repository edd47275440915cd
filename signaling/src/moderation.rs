//! Who may be on a stream, who may write, and who says so: roles, kicks, bans and timeouts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::Audience;
use crate::context::{Context, object};
use crate::error::{Error, Rule};
use crate::grants::Caller;
use crate::id::{StreamName, UserId};
use crate::live::{Live, Then, unavailable_store};
use crate::message::ServerMessage;
use crate::message::live::{
    Action, CommentView, GivenRole, RoleChanged, SettingsView, UserModerated,
};
use crate::peers::Requester;
use crate::session::Key;
use crate::store::{
    Ban, Comment, Role, RoleEntry, Settings, StoreError, StoreOk, StoreOp, StoredRole, Timeout,
};
use crate::time::{Now, millis};

/// The house rules of a stream: everything about people that outlives their sessions.
#[derive(Debug, Default)]
pub(crate) struct House {
    bans: BTreeMap<UserId, Ban>,
    timeouts: BTreeMap<UserId, Timeout>,
    roles: BTreeMap<UserId, StoredRole>,
    /// Until when a kicked user stays out; not stored.
    kicked: BTreeMap<UserId, Instant>,
    pub(crate) settings: Settings,
    pub(crate) pinned: Option<Comment>,
}

/// A decision about somebody.
#[derive(Debug, Clone)]
pub(crate) struct Moderation {
    pub(crate) user: UserId,
    pub(crate) by: UserId,
    pub(crate) action: Decision,
    pub(crate) reason: Option<String>,
}

/// What was decided.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    Kick,
    Ban(Ban),
    Unban,
    Timeout(Timeout),
}

impl House {
    pub(crate) fn restore(
        &mut self,
        now: Now,
        bans: Vec<Ban>,
        timeouts: Vec<Timeout>,
        roles: Vec<RoleEntry>,
        settings: Settings,
        pinned: Option<Comment>,
    ) {
        let still = |timeout: &Timeout| timeout.until_ms > now.wall_ms;
        self.bans = bans.into_iter().map(|b| (b.user.clone(), b)).collect();
        self.timeouts = timeouts
            .into_iter()
            .filter(still)
            .map(|t| (t.user.clone(), t))
            .collect();
        self.roles = roles.into_iter().map(|r| (r.user, r.role)).collect();
        self.settings = settings;
        self.pinned = pinned;
    }

    /// What a caller is on the stream: by token first, then by what was given.
    pub(crate) fn role(&self, stream: &StreamName, caller: &Caller) -> Role {
        let grants = &caller.grants;
        let given = self.roles.get(&caller.user.id);
        if grants.publish.contains(stream.as_str()) {
            Role::Streamer
        } else if grants.may_moderate(stream) || given == Some(&StoredRole::Moderator) {
            Role::Moderator
        } else if given == Some(&StoredRole::Vip) {
            Role::Vip
        } else {
            Role::Viewer
        }
    }

    /// Whether somebody may be here. The owner of the stream and admins cannot be kept out.
    pub(crate) fn admit(
        &self,
        now: Now,
        stream: &StreamName,
        caller: &Caller,
    ) -> Result<(), Error> {
        if caller.grants.may_publish(stream) {
            return Ok(());
        }
        let user = &caller.user.id;
        if self.bans.contains_key(user) {
            return Err(Error::forbidden("banned from this stream").by_rule(Rule::Banned));
        }
        match self.kicked.get(user) {
            Some(until) if *until > now.mono => Err(Error::forbidden("kicked a moment ago")
                .by_rule(Rule::Kicked)
                .retry_after(*until - now.mono)),
            _ => Ok(()),
        }
    }

    /// Whether somebody who is here may write.
    pub(crate) fn admit_writing(
        &self,
        now: Now,
        stream: &StreamName,
        caller: &Caller,
    ) -> Result<(), Error> {
        if caller.grants.may_publish(stream) {
            return Ok(());
        }
        match self.timed_out_until(now, &caller.user.id) {
            Some(until_ms) => Err(Error::forbidden("timed out")
                .by_rule(Rule::Timeout)
                .retry_after(Duration::from_millis(until_ms - now.wall_ms))),
            None => Ok(()),
        }
    }

    pub(crate) fn timed_out_until(&self, now: Now, user: &UserId) -> Option<u64> {
        let until_ms = self.timeouts.get(user)?.until_ms;
        (until_ms > now.wall_ms).then_some(until_ms)
    }

    pub(crate) fn has_kicks(&self, now: Now) -> bool {
        self.kicked.values().any(|until| *until > now.mono)
    }

    pub(crate) fn settings_view(&self) -> SettingsView {
        SettingsView {
            slow_mode_seconds: self.settings.slow_mode_seconds,
            pinned: self.pinned.as_ref().map(CommentView::from),
        }
    }

    fn restricted(&self) -> usize {
        self.bans.len() + self.timeouts.len()
    }

    /// Forgets what is over.
    fn sweep(&mut self, now: Now) {
        self.timeouts.retain(|_, t| t.until_ms > now.wall_ms);
        self.kicked.retain(|_, until| *until > now.mono);
    }
}

impl Live {
    /// The caller behind a session, when it may moderate here.
    pub(crate) fn moderator(&self, context: &Context, key: Key) -> Result<Caller, Error> {
        let Some(session) = context.sessions.get(key) else {
            return Err(Error::not_found("the session is gone"));
        };
        if !self.is_staff(&session.caller) {
            return Err(Error::forbidden("only moderators may do this"));
        }
        Ok(session.caller.clone())
    }

    /// What somebody is here, as far as it is known: by what was given, and by the tokens of their sessions.
    fn rank_of(&self, context: &Context, user: &UserId) -> Role {
        let given = match self.house.roles.get(user) {
            Some(StoredRole::Moderator) => Role::Moderator,
            Some(StoredRole::Vip) => Role::Vip,
            None => Role::Viewer,
        };
        let by_token = context.sessions.of_user(user).filter_map(|key| {
            let caller = &context.sessions.get(key)?.caller;
            Some(rank(&self.stream, caller, self.role(caller)))
        });
        by_token.fold(given, Role::max)
    }

    /// `kick`, `ban`, `unban` and `timeout` of a moderator.
    pub(crate) fn moderate(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        user: UserId,
        reason: Option<String>,
        decide: impl FnOnce(&Live, &Caller) -> Decision,
    ) -> Result<(), Error> {
        let by = self.moderator(context, key)?;
        if by.user.id == user {
            return Err(Error::forbidden("nobody moderates themselves"));
        }
        let actor = rank(&self.stream, &by, self.role(&by));
        if self.rank_of(context, &user) >= actor {
            return Err(Error::forbidden("only somebody of higher rank may do this"));
        }
        self.check_writes(context)?;
        self.house.sweep(now);
        let action = decide(self, &by);
        let is_more = matches!(action, Decision::Ban(_) | Decision::Timeout(_));
        if is_more && self.house.restricted() >= context.config.chat.bans_max {
            context.stats.limits_hit += 1;
            return Err(Error::conflict("the stream has as many bans as it may"));
        }
        let op = match &action {
            Decision::Kick => None,
            Decision::Ban(ban) => Some(StoreOp::Ban(ban.clone())),
            Decision::Timeout(timeout) => Some(StoreOp::Timeout(timeout.clone())),
            Decision::Unban => Some(StoreOp::Unban {
                stream: self.stream.clone(),
                user: user.clone(),
                by: by.user.id.clone(),
                at_ms: now.wall_ms,
            }),
        };
        let moderation = Moderation {
            user,
            by: by.user.id,
            action,
            reason,
        };
        let requester = Requester::Session { key, id };
        match op {
            Some(op) => {
                let then = Then::Moderate {
                    moderation,
                    requester,
                };
                self.ask_store(context, op, then);
            }
            None => self.carry_out(context, now, moderation, requester),
        }
        Ok(())
    }

    /// The store has answered about a ban, unban or timeout.
    pub(crate) fn moderated(
        &mut self,
        context: &mut Context,
        now: Now,
        moderation: Moderation,
        requester: Requester,
        result: Result<StoreOk, StoreError>,
    ) {
        if result.is_err() {
            return context.fail(now, requester, unavailable_store());
        }
        self.carry_out(context, now, moderation, requester);
    }

    fn carry_out(
        &mut self,
        context: &mut Context,
        now: Now,
        moderation: Moderation,
        requester: Requester,
    ) {
        let Moderation {
            user,
            by,
            action,
            reason,
        } = moderation;
        context.stats.moderations += 1;
        let mut told = UserModerated {
            user_id: user.clone(),
            action: Action::Unban,
            by,
            seconds: None,
            until: None,
            reason,
        };
        let mut is_cut = false;
        match action {
            Decision::Kick => {
                let cooldown = context.config.chat.kick_cooldown;
                self.house.kicked.insert(user.clone(), now.mono + cooldown);
                told.action = Action::Kick;
                told.seconds = Some(cooldown.as_secs());
                told.until = Some(now.wall_ms + millis(cooldown));
                is_cut = true;
            }
            Decision::Ban(ban) => {
                self.house.timeouts.remove(&user);
                self.house.bans.insert(user.clone(), ban);
                told.action = Action::Ban;
                is_cut = true;
            }
            Decision::Unban => {
                self.house.bans.remove(&user);
                self.house.timeouts.remove(&user);
                self.house.kicked.remove(&user);
            }
            Decision::Timeout(timeout) => {
                told.action = Action::Timeout;
                told.seconds = Some(timeout.until_ms.saturating_sub(timeout.at_ms) / 1000);
                told.until = Some(timeout.until_ms);
                self.house.timeouts.insert(user.clone(), timeout);
            }
        }
        if let Requester::Session { key, id } = requester {
            let data = object([("user_id", Value::from(user.as_str()))]);
            context.ack(now, key, id, data);
        }
        let present = self.sessions_here(context, &user);
        let action = told.action;
        let message = ServerMessage::UserModerated(told);
        // Who is sent away must hear why before that, and not a second time as a moderator who stays.
        let apart: BTreeSet<Key> = present
            .iter()
            .copied()
            .filter(|key| is_cut || !self.staff.contains(key))
            .collect();
        self.room.send_to(context, now, &message, &apart);
        self.room.broadcast(context, now, Audience::Staff, &message);
        if is_cut {
            self.cut(context, now, &user, present, action);
        }
    }

    /// The sessions of a user that have anything to do with this stream.
    fn sessions_here(&self, context: &Context, user: &UserId) -> Vec<Key> {
        let channel = self.channel();
        let is_here = |key: &Key| {
            context.sessions.get(*key).is_some_and(|session| {
                session.subscriptions.contains(&channel)
                    || session.watches.contains_key(&self.stream)
                    || session.default_channel.as_ref() == Some(&channel)
            })
        };
        context.sessions.of_user(user).filter(is_here).collect()
    }

    /// Takes media and chat from a user at once.
    fn cut(
        &mut self,
        context: &mut Context,
        now: Now,
        user: &UserId,
        sessions: Vec<Key>,
        action: Action,
    ) {
        let reason = match action {
            Action::Kick => "kicked",
            Action::Ban | Action::Unban | Action::Timeout => "banned",
        };
        for media in self.watched_by_user(user) {
            self.close_viewer(context, now, media, reason);
        }
        for key in sessions {
            self.unsubscribe(context, key);
            context.send_away(key, reason);
        }
    }

    /// `set_role` of a moderator or the streamer.
    pub(crate) fn set_role(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        user: UserId,
        role: GivenRole,
    ) -> Result<(), Error> {
        let by = self.moderator(context, key)?;
        let actor = rank(&self.stream, &by, self.role(&by));
        let given = match role {
            GivenRole::Viewer => None,
            GivenRole::Vip => Some(StoredRole::Vip),
            GivenRole::Moderator => Some(StoredRole::Moderator),
        };
        let touches_moderators =
            role == GivenRole::Moderator || self.rank_of(context, &user) >= Role::Moderator;
        if touches_moderators && actor < Role::Streamer {
            return Err(Error::forbidden("only the streamer makes moderators"));
        }
        self.check_writes(context)?;
        let is_new = given.is_some() && !self.house.roles.contains_key(&user);
        if is_new && self.house.roles.len() >= context.config.chat.roles_max {
            context.stats.limits_hit += 1;
            return Err(Error::conflict("the stream has as many roles as it may"));
        }
        let op = StoreOp::SetRole {
            stream: self.stream.clone(),
            user: user.clone(),
            role: given,
            by: by.user.id.clone(),
            at_ms: now.wall_ms,
        };
        let then = Then::Role {
            user,
            role: given,
            by,
            requester: Requester::Session { key, id },
        };
        self.ask_store(context, op, then);
        Ok(())
    }

    /// The store has answered about a role.
    pub(crate) fn role_set(
        &mut self,
        context: &mut Context,
        now: Now,
        user: UserId,
        role: Option<StoredRole>,
        by: &Caller,
        requester: Requester,
        result: Result<StoreOk, StoreError>,
    ) {
        if result.is_err() {
            return context.fail(now, requester, unavailable_store());
        }
        let shown = match role {
            None => GivenRole::Viewer,
            Some(StoredRole::Vip) => GivenRole::Vip,
            Some(StoredRole::Moderator) => GivenRole::Moderator,
        };
        match role {
            Some(role) => self.house.roles.insert(user.clone(), role),
            None => self.house.roles.remove(&user),
        };
        let keys: Vec<Key> = context.sessions.of_user(&user).collect();
        for key in keys {
            if let Some(session) = context.sessions.get(key) {
                self.refresh_staff(key, &session.caller);
            }
        }
        if let Requester::Session { key, id } = requester {
            let data = object([("user_id", Value::from(user.as_str()))]);
            context.ack(now, key, id, data);
        }
        let message = ServerMessage::RoleChanged(RoleChanged {
            user_id: user,
            role: shown,
            by: by.user.id.clone(),
        });
        self.room.publish(context, now, &message);
    }

    /// The ban of a user from now on.
    pub(crate) fn new_ban(
        &self,
        now: Now,
        user: UserId,
        by: &Caller,
        reason: Option<String>,
    ) -> Decision {
        Decision::Ban(Ban {
            stream: self.stream.clone(),
            user,
            by: by.user.id.clone(),
            reason,
            at_ms: now.wall_ms,
        })
    }

    /// The timeout of a user from now on.
    pub(crate) fn new_timeout(
        &self,
        now: Now,
        user: UserId,
        by: &Caller,
        reason: Option<String>,
        seconds: u64,
    ) -> Decision {
        Decision::Timeout(Timeout {
            stream: self.stream.clone(),
            user,
            by: by.user.id.clone(),
            reason,
            at_ms: now.wall_ms,
            until_ms: now.wall_ms + seconds * 1000,
        })
    }
}

/// A caller's rank when it comes to moderating others: admins rank with the streamer.
fn rank(stream: &StreamName, caller: &Caller, role: Role) -> Role {
    if caller.grants.may_publish(stream) {
        Role::Streamer
    } else {
        role
    }
}
