//! A room finds that it has missed something: another node wrote, or the store's answer was lost. It is loaded again, then the
//! log behind what was delivered is read, and nothing goes out ahead of that.

use std::time::Instant;

use super::room::{Room, Then, Turn};
use crate::message::ServerMessage;
use crate::message::chat::{MessageDeleted, MessageEdited, MessageView, RoomUpdated};
use crate::store::StoreError;
use crate::store::chat::{ChatOk, ChatOp, LogEvent};

/// How far a room is in finding out what it has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Catching {
    /// It knows of nothing.
    Up,
    /// The room is being loaded.
    Loading,
    /// Its log is being read.
    Reading,
    /// The store has failed, or what is missing is still on its way.
    Waiting(Instant),
}

impl Catching {
    /// When to try again.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Waiting(at) => Some(at),
            Self::Up | Self::Loading | Self::Reading => None,
        }
    }
}

impl Room {
    /// What was said at `seq` may not have been delivered here.
    pub(super) fn note(&mut self, seq: u64) {
        self.known_seq = self.known_seq.max(seq);
        self.feed.note(seq);
    }

    /// The store is there again: what was to be read later is read now.
    pub(super) fn hurry(&mut self) {
        if let Catching::Waiting(_) = self.catching {
            self.catching = Catching::Up;
        }
    }

    /// A write has failed: whether it was stored is not known for sure.
    pub(super) fn suspect(&mut self) {
        self.is_suspect = true;
    }

    /// Finds out what was missed, when something was.
    pub(super) fn catch_up(&mut self, turn: &mut Turn<'_>) {
        if self.catching == Catching::Up && self.is_behind() {
            turn.context.stats.chat_gaps += 1;
            self.reload(turn);
        }
    }

    pub(super) fn is_behind(&self) -> bool {
        self.is_suspect || self.known_seq > self.state_seq || self.feed.has_gap()
    }

    fn reload(&mut self, turn: &mut Turn<'_>) {
        self.is_suspect = false;
        self.catching = Catching::Loading;
        let op = Self::load(&self.id, &turn.context.config.rooms);
        self.ask_store(turn.context, op, Then::Reload);
    }

    /// The room was loaded again.
    pub(super) fn handle_reloaded(
        &mut self,
        turn: &mut Turn<'_>,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::Room(state)) = result else {
            self.is_suspect = true;
            return self.wait(turn);
        };
        // What was read before a write of this node that has been answered since is older than what is here.
        if state.last_seq >= self.state_seq {
            let has_news = state.last_seq > self.state_seq;
            self.restore(state);
            if has_news {
                self.tell_lists(turn, true);
            }
        }
        self.read_log(turn);
    }

    fn read_log(&mut self, turn: &mut Turn<'_>) {
        if self.feed.last_seq() >= self.known_seq && !self.feed.has_gap() {
            return self.rest(turn);
        }
        self.catching = Catching::Reading;
        let op = ChatOp::ReadLog {
            room: self.id.clone(),
            after_seq: self.feed.last_seq(),
            limit: turn.context.config.rooms.recovery_messages,
        };
        self.ask_store(turn.context, op, Then::Log);
    }

    /// The log behind what was delivered is there.
    pub(super) fn handle_log(&mut self, turn: &mut Turn<'_>, result: Result<ChatOk, StoreError>) {
        let Ok(ChatOk::Log {
            entries,
            is_complete,
        }) = result
        else {
            return self.wait(turn);
        };
        let before = self.feed.last_seq();
        for entry in entries {
            if entry.seq == self.feed.last_seq() + 1 {
                let message = self.logged(turn, entry.event, entry.at_ms);
                self.deliver(turn, entry.at_ms, &message);
            }
        }
        while let Some((_, publication)) = self.feed.next_held() {
            self.deliver(turn, publication.at_ms, &publication.message);
        }
        if !is_complete && self.feed.last_seq() > before {
            return self.read_log(turn);
        }
        self.rest(turn);
    }

    /// A round of catching up is over.
    fn rest(&mut self, turn: &Turn<'_>) {
        if self.is_behind() {
            return self.wait(turn);
        }
        self.failures = 0;
        self.catching = Catching::Up;
    }

    fn wait(&mut self, turn: &Turn<'_>) {
        let limits = &turn.context.config.rooms;
        let delay = limits.retry_delay * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.catching = Catching::Waiting(turn.now.mono + delay.min(limits.retry_delay_max));
    }

    /// A log entry as subscribers are told of it.
    pub(super) fn logged(&self, turn: &Turn<'_>, event: LogEvent, at_ms: u64) -> ServerMessage {
        let room = self.id.clone();
        match event {
            LogEvent::Message(message) => ServerMessage::ChatMessage(MessageView::from(message)),
            LogEvent::Edited { id, text } => ServerMessage::MessageEdited(MessageEdited {
                id,
                room,
                text,
                edited_at: at_ms,
            }),
            LogEvent::Deleted { id, by } => {
                ServerMessage::MessageDeleted(MessageDeleted { id, room, by })
            }
            LogEvent::Changed { by, change } => ServerMessage::RoomUpdated(RoomUpdated {
                room,
                by,
                change,
                title: self.title.clone(),
                members: self.members_for_all(turn),
            }),
        }
    }

    /// Tries again when it is time to.
    pub(super) fn retry(&mut self, turn: &mut Turn<'_>) {
        if let Catching::Waiting(at) = self.catching
            && at <= turn.now.mono
        {
            self.catching = Catching::Up;
            if self.is_behind() {
                self.reload(turn);
            }
        }
    }
}
