//! Messages: checked in memory, paced, stored, then acknowledged, then published.

use super::room::{Room, Then, Turn, blocked, not_a_member};
use super::{Answer, Asker, attachment, view};
use crate::broker::Audience;
use crate::context::Waiting;
use crate::error::Error;
use crate::grants::User;
use crate::id::UserId;
use crate::live::unavailable_store;
use crate::message::ServerMessage;
use crate::message::chat::{
    History, MessageDeleted, MessageEdited, MessageView, PositionView, WriteMessage,
};
use crate::notifications::Notice;
use crate::peers::Requester;
use crate::store::chat::{ChatOk, ChatOp, MemberRole, Message, NewMessage, RoomKind};
use crate::store::{StoreError, StoreId};

/// Repeats of one message that may wait for its store reply; a client that sends more than this is not retrying.
const WAITING_REPEATS_MAX: usize = 8;

/// Messages of one page, at most.
const PAGE_MAX: usize = 200;

impl Room {
    /// `chat_message`.
    pub(super) fn write(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        write: WriteMessage,
        sender: Option<UserId>,
    ) -> Result<(), Error> {
        let sender = self.sender(&asker, sender)?;
        if self.kind == RoomKind::Direct && self.blocks.iter().any(|(_, whom)| *whom == sender.id) {
            return Err(blocked());
        }
        let text = write.text.into_string();
        if text.is_empty() && write.attachments.is_empty() {
            let expected = "expected 1 to 4000 characters, or attachments";
            return Err(Error::invalid_field("data.text", expected));
        }
        attachment::check(&write.attachments)?;
        let client_id = write.client_id.map(|id| id.into_string());
        let name = client_id.clone().map(|id| (sender.id.clone(), id));
        if let Some(open) = name.as_ref().and_then(|name| self.storing.get(name)) {
            return wait_for(turn, *open, asker.requester);
        }
        self.check_writes(turn.context)?;
        self.pace(turn, &asker)?;
        let op = ChatOp::AddMessage(NewMessage {
            id: turn.context.stored_id(turn.now.wall_ms),
            room: self.id.clone(),
            sender: sender.clone(),
            text,
            client_id: client_id.clone(),
            reply_to_id: write.reply_to_id.map(|id| id.into_string()),
            attachments: write.attachments,
            at_ms: turn.now.wall_ms,
        });
        let then = Then::Message {
            requesters: vec![asker.requester],
            sender: sender.id,
            client_id,
        };
        let open = self.ask_store(turn.context, op, then);
        if let Some(name) = name {
            self.storing.insert(name, open);
        }
        Ok(())
    }

    /// In whose name a message is written: the server's own stamp.
    fn sender(&self, asker: &Asker, sender: Option<UserId>) -> Result<User, Error> {
        match sender.filter(|sender| *sender != asker.caller.user.id) {
            None => {
                self.member(asker)?;
                Ok(asker.caller.user.clone())
            }
            Some(_) if !asker.is_platform_admin() => {
                Err(Error::forbidden("sender: only admins write for others"))
            }
            Some(sender) => {
                let member = self.members.get(&sender);
                let missing = || Error::invalid_field("sender", "expected a member of the room");
                Ok(member.ok_or_else(missing)?.user.clone())
            }
        }
    }

    /// Whether the caller may write now. An application's own writes are paced by itself.
    pub(super) fn pace(&self, turn: &mut Turn<'_>, asker: &Asker) -> Result<(), Error> {
        if asker.is_platform_admin() {
            return Ok(());
        }
        let context = &mut *turn.context;
        turn.quota.pace(
            turn.now.mono,
            &asker.caller.user.id,
            &context.config.rooms,
            &mut context.stats,
        )
    }

    /// The store has answered about a message.
    pub(super) fn handle_message(
        &mut self,
        turn: &mut Turn<'_>,
        requesters: Vec<Requester>,
        sender: &UserId,
        client_id: Option<String>,
        result: Result<ChatOk, StoreError>,
    ) {
        if let Some(client_id) = client_id {
            self.storing.remove(&(sender.clone(), client_id));
        }
        let (message, is_new) = match result {
            Ok(ChatOk::Message { message, is_new }) => (message, is_new),
            Ok(_) => return,
            Err(error) => {
                for requester in requesters {
                    let what = "reply_to_id: there is no such message in this room";
                    self.fail(turn, requester, &error, what, not_a_member());
                }
                return;
            }
        };
        for (index, requester) in requesters.into_iter().enumerate() {
            let answer = Answer::Posted {
                message: MessageView::from(message.clone()),
                is_new: is_new && index == 0,
            };
            super::answer(turn.context, turn.now, requester, answer);
        }
        if is_new {
            self.tell_message(turn, message);
        } else {
            turn.context.stats.chat_repeats += 1;
            // The first answer may have been lost on its way here: then nobody was told.
            self.note(message.seq);
            self.hurry();
        }
        self.catch_up(turn);
    }

    /// A message is stored: everybody is told.
    fn tell_message(&mut self, turn: &mut Turn<'_>, message: Message) {
        turn.context.stats.chat_messages += 1;
        let sender = message.sender.clone();
        self.end_typing(turn, &sender.id);
        let unread = self.members.get(&sender.id).map_or(0, |one| one.unread);
        let is_whole = self.add_stored(message.clone());
        let (seq, text) = (message.seq, message.text.clone());
        let view = ServerMessage::ChatMessage(MessageView::from(message));
        self.publish(turn, seq, view);
        if unread > 0 {
            // Who writes has read what came before.
            let read = ServerMessage::MessageRead(PositionView {
                room: self.id.clone(),
                user_id: sender.id.clone(),
                up_to_seq: seq,
                at: turn.now.wall_ms,
            });
            self.tell_list_of_pair(turn, &sender.id, read.clone());
            self.say(turn, Audience::Except(vec![sender.id.clone()]), read);
            self.notice_read(turn, &sender.id);
        }
        if is_whole {
            self.tell_lists(turn, false);
        }
        let is_away = |user: &&UserId| **user != sender.id && !self.feed.is_present(user);
        let recipients: Vec<UserId> = self.members.keys().filter(is_away).cloned().collect();
        if !recipients.is_empty() {
            turn.context.notices.push_back(Notice::Message {
                room: self.id.clone(),
                kind: self.kind,
                title: self.title.clone(),
                sender,
                text,
                recipients,
            });
        }
    }

    /// Somebody has read the room to its end.
    pub(super) fn notice_read(&self, turn: &mut Turn<'_>, user: &UserId) {
        turn.context.notices.push_back(Notice::RoomRead {
            room: self.id.clone(),
            user: user.clone(),
        });
    }

    /// `edit_message`.
    pub(super) fn edit(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        id: String,
        text: String,
    ) -> Result<(), Error> {
        self.member(&asker)?;
        self.check_writes(turn.context)?;
        self.pace(turn, &asker)?;
        let op = ChatOp::EditMessage {
            room: self.id.clone(),
            id,
            by: asker.caller.user.id,
            text,
            at_ms: turn.now.wall_ms,
        };
        let requester = asker.requester;
        self.ask_store(turn.context, op, Then::Edit { requester });
        Ok(())
    }

    /// The store has answered about an edit.
    pub(super) fn handle_edited(
        &mut self,
        turn: &mut Turn<'_>,
        requester: Requester,
        result: Result<ChatOk, StoreError>,
    ) {
        let (seq, message) = match result {
            Ok(ChatOk::Changed { seq, message }) => (seq, message),
            Ok(_) => return,
            Err(error) => return self.refuse_change(turn, requester, &error),
        };
        let is_whole = self.advance(seq, |room| {
            room.updated_at_ms = turn.now.wall_ms;
            let mut recent = room.recent.iter_mut();
            if let Some(known) = recent.find(|known| known.id == message.id) {
                known.clone_from(&message);
            }
        });
        let id = message.id.clone();
        let answer = Answer::Changed { id, seq };
        super::answer(turn.context, turn.now, requester, answer);
        let edited = ServerMessage::MessageEdited(MessageEdited {
            id: message.id.clone(),
            room: self.id.clone(),
            text: message.text,
            edited_at: message.edited_at_ms.unwrap_or(turn.now.wall_ms),
        });
        self.publish(turn, seq, edited);
        self.tell_lists_of(turn, &message.id, is_whole);
        self.catch_up(turn);
    }

    /// `delete_message`: one's own, or anybody's for admins of a group.
    pub(super) fn delete(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        id: String,
    ) -> Result<(), Error> {
        let role = self.role(&asker)?;
        self.check_writes(turn.context)?;
        self.pace(turn, &asker)?;
        let by = asker.caller.user.id;
        let op = ChatOp::DeleteMessage {
            room: self.id.clone(),
            id,
            by: by.clone(),
            any: self.kind == RoomKind::Group && role >= MemberRole::Admin,
            at_ms: turn.now.wall_ms,
        };
        let requester = asker.requester;
        self.ask_store(turn.context, op, Then::Delete { requester, by });
        Ok(())
    }

    /// The store has answered about a deletion.
    pub(super) fn handle_deleted(
        &mut self,
        turn: &mut Turn<'_>,
        requester: Requester,
        by: UserId,
        result: Result<ChatOk, StoreError>,
    ) {
        let (seq, message) = match result {
            Ok(ChatOk::Changed { seq, message }) => (seq, message),
            Ok(_) => return,
            Err(error) => return self.refuse_change(turn, requester, &error),
        };
        let before: Vec<u64> = self.members.values().map(|one| one.unread).collect();
        let is_whole = self.advance(seq, |room| {
            room.updated_at_ms = turn.now.wall_ms;
            room.erase(&message);
        });
        let after: Vec<u64> = self.members.values().map(|one| one.unread).collect();
        let id = message.id.clone();
        let answer = Answer::Changed {
            id: id.clone(),
            seq,
        };
        super::answer(turn.context, turn.now, requester, answer);
        let deleted = ServerMessage::MessageDeleted(MessageDeleted {
            id: id.clone(),
            room: self.id.clone(),
            by,
        });
        self.publish(turn, seq, deleted);
        if before == after {
            self.tell_lists_of(turn, &id, is_whole);
        } else if is_whole {
            self.tell_lists(turn, false);
        }
        self.catch_up(turn);
    }

    /// Tells the lists when it was the last message that changed.
    fn tell_lists_of(&self, turn: &mut Turn<'_>, id: &str, is_whole: bool) {
        if is_whole && self.recent.back().is_some_and(|last| last.id == id) {
            self.tell_lists(turn, false);
        }
    }

    fn refuse_change(&mut self, turn: &mut Turn<'_>, requester: Requester, error: &StoreError) {
        let forbidden = Error::forbidden("the message is somebody else's");
        self.fail(
            turn,
            requester,
            error,
            "id: there is no such message",
            forbidden,
        );
    }

    /// `history`.
    pub(super) fn history(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Asker,
        history: History,
    ) -> Result<(), Error> {
        self.member(&asker)?;
        let (before_seq, after_seq) = (history.before_seq, history.after_seq);
        if before_seq.is_some() && after_seq.is_some() {
            let expected = "expected without before_seq";
            return Err(Error::invalid_field("data.after_seq", expected));
        }
        let limit = usize::from(history.limit.unwrap_or(50));
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Error::invalid_field("data.limit", "expected 1 to 200"));
        }
        let context = &mut *turn.context;
        turn.quota
            .open_read(&context.config.rooms, &mut context.stats)?;
        let op = ChatOp::History {
            room: self.id.clone(),
            before_seq,
            after_seq,
            limit,
        };
        let then = Then::Page {
            requester: asker.requester,
            newest: after_seq.is_none(),
        };
        self.ask_store(turn.context, op, then);
        Ok(())
    }

    /// A page of messages is there.
    pub(super) fn handle_page(
        &self,
        turn: &mut Turn<'_>,
        requester: Requester,
        newest: bool,
        result: Result<ChatOk, StoreError>,
    ) {
        turn.quota.close_read();
        let Ok(ChatOk::Messages { messages, has_more }) = result else {
            return turn.context.fail(turn.now, requester, unavailable_store());
        };
        let bytes_max = turn.context.config.rooms.page_bytes_max;
        let (messages, was_cut) = view::page(messages, newest, bytes_max);
        let answer = Answer::Messages {
            messages,
            has_more: has_more || was_cut,
        };
        super::answer(turn.context, turn.now, requester, answer);
    }
}

/// One more who wants to know what becomes of a message that is being stored.
fn wait_for(turn: &mut Turn<'_>, open: StoreId, requester: Requester) -> Result<(), Error> {
    if let Some(Waiting::Chat(super::Then::Room(_, Then::Message { requesters, .. }))) =
        turn.context.writes.get_mut(&open)
    {
        if requesters.len() >= WAITING_REPEATS_MAX {
            let wait = std::time::Duration::from_secs(1);
            return Err(Error::rate_limited("the message is being stored", wait));
        }
        requesters.push(requester);
    }
    Ok(())
}
