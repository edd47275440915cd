//! A session comes to a room, and is given what it missed: from memory, from the log, or the truth that it is not all.

use super::feed::Missed;
use super::room::{Room, Then, Turn};
use super::view;
use crate::context::object;
use crate::id::UserId;
use crate::message::chat::ChatState;
use crate::message::connection::Position;
use crate::outbox::Frame;
use crate::session::Key;
use crate::store::StoreError;
use crate::store::chat::{ChatOk, ChatOp};

impl Room {
    /// Subscribes a session, which is a member.
    pub(super) fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        id: Option<String>,
        since: Option<Position>,
    ) {
        let Some(since) = since else {
            return self.finish_subscribing(turn, key, id, None);
        };
        match self.feed.missed(&since, &turn.context.config.rooms) {
            Missed::Here(frames) => {
                turn.context.stats.recoveries += 1;
                self.finish_subscribing(turn, key, id, Some((since.seq, frames)));
            }
            Missed::TooMuch => {
                turn.context.stats.recovery_failures += 1;
                self.finish_subscribing(turn, key, id, None);
            }
            Missed::InLog => {
                let ticket = self.feed.begin_recovery(turn.context, key);
                let channel = self.feed.channel().clone();
                if let Some(session) = turn.context.sessions.get_mut(key) {
                    session.subscriptions.insert(channel);
                }
                let op = ChatOp::ReadLog {
                    room: self.id.clone(),
                    after_seq: since.seq,
                    limit: turn.context.config.rooms.recovery_messages,
                };
                let since = since.seq;
                let then = Then::Recover {
                    key,
                    id,
                    ticket,
                    since,
                };
                self.ask_store(turn.context, op, then);
            }
        }
    }

    /// The log behind what a session has seen is there, or is not.
    pub(super) fn handle_recovered(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        id: Option<String>,
        (ticket, since): (u64, u64),
        result: Result<ChatOk, StoreError>,
    ) {
        // Who has left or come back meanwhile waits for another reading, or for none.
        if !self.feed.end_recovery(key, ticket) || !turn.context.sessions.is_attached(key) {
            return;
        }
        let missed = self.missed_from_log(turn, since, result);
        let stats = &mut turn.context.stats;
        match &missed {
            Some(_) => {
                stats.recoveries += 1;
                stats.chat_log_recoveries += 1;
            }
            None => stats.recovery_failures += 1,
        }
        self.finish_subscribing(turn, key, id, missed);
    }

    /// What was delivered behind `since`, from the log and from what was delivered while it was read; none when the store
    /// has failed, or it is too much.
    fn missed_from_log(
        &self,
        turn: &Turn<'_>,
        since: u64,
        result: Result<ChatOk, StoreError>,
    ) -> Option<(u64, Vec<Frame>)> {
        let Ok(ChatOk::Log { entries, .. }) = result else {
            return None;
        };
        let mut frames = Vec::new();
        let mut reached = since;
        for entry in entries {
            if entry.seq > self.feed.last_seq() {
                // Stored, and not published yet: it comes live.
                break;
            }
            if entry.seq != reached + 1 {
                return None;
            }
            reached = entry.seq;
            let message = self.logged(turn, entry.event, entry.at_ms);
            frames.push(self.feed.encode(reached, entry.at_ms, &message));
        }
        frames.extend(self.feed.since(reached)?);
        let bytes: usize = frames.iter().map(|frame| frame.bytes.len()).sum();
        (bytes <= turn.context.config.rooms.recovery_bytes).then_some((since, frames))
    }

    fn finish_subscribing(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        id: Option<String>,
        missed: Option<(u64, Vec<Frame>)>,
    ) {
        let Some(session) = turn.context.sessions.get(key) else {
            return;
        };
        let viewer = session.caller.user.id.clone();
        let state = self.chat_state(turn, &viewer);
        self.feed
            .subscribe(turn.context, turn.now, key, missed, state);
        turn.context.ack(turn.now, key, id, object([]));
    }

    /// Ends a session's subscription, and what it was typing.
    pub(super) fn unsubscribe(&mut self, turn: &mut Turn<'_>, key: Key) {
        self.feed.unsubscribe(turn.context, key);
        let typed = self.typing.iter().find(|(_, typing)| typing.key == key);
        if let Some(user) = typed.map(|(user, _)| user.clone()) {
            self.end_typing(turn, &user);
        }
    }

    fn chat_state(&self, turn: &Turn<'_>, viewer: &UserId) -> ChatState {
        let limits = &turn.context.config.rooms;
        let reached = self.feed.last_seq();
        let told = self.recent.iter().filter(|message| message.seq <= reached);
        let (messages, was_cut) = view::page(told.cloned().collect(), true, limits.state_bytes_max);
        ChatState {
            room: self.view(turn, viewer),
            messages,
            has_more: self.has_older || was_cut,
            unread: self.members.get(viewer).map_or(0, |member| member.unread),
        }
    }
}
