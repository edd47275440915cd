//! What is of the moment in a room: who types, and up to where messages were delivered and read.

use std::collections::BTreeSet;
use std::time::Instant;

use super::room::{Room, Then, Turn, not_a_member, tell_list};
use super::{Answer, Asker};
use crate::broker::{Audience, Publication};
use crate::context::object;
use crate::error::Error;
use crate::id::{Channel, UserId};
use crate::message::ServerMessage;
use crate::message::chat::{PositionView, TypingView};
use crate::peers::Requester;
use crate::session::Key;
use crate::store::StoreError;
use crate::store::chat::{ChatOk, ChatOp, RoomKind};

/// Somebody who types.
#[derive(Debug)]
pub(super) struct Typing {
    /// On which device.
    pub(super) key: Key,
    /// Unless it is said again.
    pub(super) until: Instant,
    /// When others were told last.
    told_at: Instant,
}

/// Which of a member's positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Delivered,
    Read,
}

impl Room {
    /// `typing` of a session. Others are told when it begins, at most twice in the time it holds while it goes on, and when
    /// it ends.
    pub(super) fn set_typing(
        &mut self,
        turn: &mut Turn<'_>,
        key: Key,
        id: Option<String>,
        asker: &Asker,
        active: bool,
    ) -> Result<(), Error> {
        self.member(asker)?;
        if !self.feed.is_subscribed(key) {
            let channel = self.feed.channel();
            return Err(Error::forbidden(format!("subscribe to {channel} first")));
        }
        let user = &asker.caller.user.id;
        if active {
            let now = turn.now.mono;
            let timeout = turn.context.config.rooms.typing_timeout;
            let before = self.typing.get(user).map(|typing| typing.told_at);
            let is_news = before.is_none_or(|told_at| told_at + timeout / 2 <= now);
            let typing = Typing {
                key,
                until: now + timeout,
                told_at: before.filter(|_| !is_news).unwrap_or(now),
            };
            self.typing.insert(user.clone(), typing);
            if is_news {
                self.tell_typing(turn, user, true);
            }
        } else {
            self.end_typing(turn, user);
        }
        turn.context.ack(turn.now, key, id, object([]));
        Ok(())
    }

    /// Somebody types no more.
    pub(super) fn end_typing(&mut self, turn: &mut Turn<'_>, user: &UserId) {
        if self.typing.remove(user).is_some() {
            self.tell_typing(turn, user, false);
        }
    }

    /// Ends what was not said again in time.
    pub(super) fn expire_typing(&mut self, turn: &mut Turn<'_>) {
        let typing = self.typing.iter();
        let due = typing.filter(|(_, typing)| typing.until <= turn.now.mono);
        let due: Vec<UserId> = due.map(|(user, _)| user.clone()).collect();
        for user in due {
            self.end_typing(turn, &user);
        }
    }

    fn tell_typing(&self, turn: &mut Turn<'_>, user: &UserId, active: bool) {
        let Some(member) = self.members.get(user) else {
            return;
        };
        let typing = ServerMessage::Typing(TypingView {
            room: self.id.clone(),
            user: member.user.clone(),
            active,
        });
        self.say(turn, Audience::Except(self.deaf_to(user)), typing);
    }

    /// `mark_delivered` and `mark_read`: only forward, and no further than there are messages.
    pub(super) fn mark(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        up_to_seq: u64,
        mark: Mark,
    ) -> Result<(), Error> {
        let user = asker.caller.user.id;
        let member = self.members.get(&user).ok_or_else(not_a_member)?;
        let up_to_seq = up_to_seq.min(self.state_seq);
        let reached = match mark {
            Mark::Delivered => member.delivered_seq,
            Mark::Read => member.read_seq,
        };
        if up_to_seq <= reached {
            let answer = Answer::Marked {
                up_to_seq: reached,
                unread: member.unread,
            };
            super::answer(turn.context, turn.now, asker.requester, answer);
            return Ok(());
        }
        self.check_writes(turn.context)?;
        let op = ChatOp::SetPosition {
            room: self.id.clone(),
            user: user.clone(),
            // What was read was delivered.
            delivered: Some(up_to_seq),
            read: (mark == Mark::Read).then_some(up_to_seq),
        };
        let then = Then::Position {
            requester: asker.requester,
            user,
            mark,
        };
        self.ask_store(turn.context, op, then);
        Ok(())
    }

    /// A member's positions are stored.
    pub(super) fn handle_position(
        &mut self,
        turn: &mut Turn<'_>,
        requester: Requester,
        user: &UserId,
        mark: Mark,
        result: Result<ChatOk, StoreError>,
    ) {
        let (delivered_seq, read_seq, unread) = match result {
            Ok(ChatOk::Position {
                delivered_seq,
                read_seq,
                unread,
            }) => (delivered_seq, read_seq, unread),
            Ok(_) => return,
            Err(error) => {
                return self.fail(turn, requester, &error, "no such room", not_a_member());
            }
        };
        let up_to_seq = match mark {
            Mark::Delivered => delivered_seq,
            Mark::Read => read_seq,
        };
        let answer = Answer::Marked { up_to_seq, unread };
        super::answer(turn.context, turn.now, requester, answer);
        let Some(member) = self.members.get_mut(user) else {
            return;
        };
        let before = member.clone();
        member.delivered_seq = delivered_seq.max(before.delivered_seq);
        member.read_seq = read_seq.max(before.read_seq);
        member.unread = unread;
        let position = PositionView {
            room: self.id.clone(),
            user_id: user.clone(),
            up_to_seq,
            at: turn.now.wall_ms,
        };
        match mark {
            Mark::Delivered if delivered_seq > before.delivered_seq => {
                let senders = self.senders(user, before.delivered_seq, delivered_seq);
                if !senders.is_empty() {
                    let message = ServerMessage::MessageDelivered(position);
                    self.tell_list_of_pair(turn, user, message.clone());
                    self.say(turn, Audience::Users(senders), message);
                }
            }
            Mark::Read if read_seq > before.read_seq => {
                let message = ServerMessage::MessageRead(position);
                self.tell_list_of_pair(turn, user, message.clone());
                self.say(turn, Audience::Except(vec![user.clone()]), message);
                let last = self.recent.back();
                if last.is_none_or(|last| last.seq <= read_seq) {
                    self.notice_read(turn, user);
                }
            }
            Mark::Delivered | Mark::Read => {}
        }
        if unread != before.unread {
            let update = self.chat_update(None, unread);
            tell_list(turn, Audience::User(user.clone()), update);
        }
    }

    /// In a direct room the list of the other one shows ticks as well.
    pub(super) fn tell_list_of_pair(
        &self,
        turn: &mut Turn<'_>,
        user: &UserId,
        message: ServerMessage,
    ) {
        if self.kind != RoomKind::Direct {
            return;
        }
        let others = self.members.keys().filter(|member| *member != user);
        turn.context.publish(Publication {
            channel: Channel::Chats,
            audience: Audience::Users(others.cloned().collect()),
            position: None,
            message,
            at_ms: turn.now.wall_ms,
        });
    }

    /// Who wrote the messages behind `after` up to `up_to`, but one. When memory does not reach back that far: everybody.
    fn senders(&self, but: &UserId, after: u64, up_to: u64) -> Vec<UserId> {
        let first = self.recent.front().map(|message| message.seq);
        let is_here = !self.has_older || first.is_some_and(|first| first <= after + 1);
        let senders: BTreeSet<&UserId> = if is_here {
            let covered = self.recent.iter();
            covered
                .filter(|message| message.seq > after && message.seq <= up_to)
                .map(|message| &message.sender.id)
                .collect()
        } else {
            self.members.keys().collect()
        };
        senders
            .into_iter()
            .filter(|user| *user != but)
            .cloned()
            .collect()
    }
}
