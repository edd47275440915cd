//! What is asked of a room, by whom, and how they are answered: over a WebSocket or over HTTP.

use serde_json::Value;

use super::positions::Mark;
use super::room::{self, Room, Turn};
use crate::api;
use crate::close::CloseCode;
use crate::context::{Context, object};
use crate::error::{Error, ErrorCode};
use crate::grants::Caller;
use crate::id::{Channel, RoomId, UserId};
use crate::message::ClientMessage;
use crate::message::chat::{History, MessageView, RoomView, WriteMessage};
use crate::message::connection::{Empty, Position};
use crate::peers::Requester;
use crate::session::Fate;
use crate::store::StoreError;
use crate::store::chat::{ChatOk, RoomChange};
use crate::time::{Now, rfc3339};

/// Who asks, and is answered.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(super) requester: Requester,
    pub(super) caller: Caller,
}

impl Asker {
    /// Whether it is an application or an operator, over HTTP: they need not be members.
    pub(super) fn is_platform_admin(&self) -> bool {
        self.caller.grants.admin && matches!(self.requester, Requester::Http(_))
    }

    pub(super) fn fail(&self, context: &mut Context, now: Now, error: Error) {
        context.fail(now, self.requester.clone(), error);
    }

    pub(super) fn reply(&self, context: &mut Context, result: Result<api::Reply, Error>) {
        if let Requester::Http(request) = self.requester {
            context.reply(request, result);
        }
    }
}

/// What is asked of one room.
#[derive(Debug)]
pub(super) enum Ask {
    Subscribe(Option<Position>),
    Admit,
    Get,
    Write(WriteMessage, Option<UserId>),
    Edit { id: String, text: String },
    Delete { id: String },
    Typing(bool),
    Mark(Mark, u64),
    History(History),
    Change(RoomChange),
}

/// What came of it.
pub(super) enum Answer {
    Done,
    Posted {
        message: MessageView,
        is_new: bool,
    },
    Changed {
        id: String,
        seq: u64,
    },
    Marked {
        up_to_seq: u64,
        unread: u64,
    },
    Messages {
        messages: Vec<MessageView>,
        has_more: bool,
    },
    Room(RoomView),
}

/// What a message asks of a room.
pub(super) fn ask_of(message: ClientMessage, user: &UserId) -> Result<Ask, Error> {
    Ok(match message {
        ClientMessage::ChatMessage(write) => Ask::Write(write, None),
        ClientMessage::EditMessage(edit) => Ask::Edit {
            id: edit.id.into_string(),
            text: edit.text.into_string(),
        },
        ClientMessage::DeleteMessage(delete) => Ask::Delete {
            id: delete.id.into_string(),
        },
        ClientMessage::Typing(typing) => Ask::Typing(typing.active),
        ClientMessage::MarkDelivered(mark) => Ask::Mark(Mark::Delivered, mark.up_to_seq),
        ClientMessage::MarkRead(mark) => Ask::Mark(Mark::Read, mark.up_to_seq),
        ClientMessage::History(history) => Ask::History(history),
        ClientMessage::AddMembers(add) => Ask::Change(RoomChange::MembersAdded {
            users: add.user_ids,
        }),
        ClientMessage::RemoveMember(remove) => Ask::Change(RoomChange::MemberRemoved {
            user: remove.user_id,
            new_owner: None,
        }),
        ClientMessage::LeaveRoom(Empty {}) => Ask::Change(RoomChange::MemberRemoved {
            user: user.clone(),
            new_owner: None,
        }),
        ClientMessage::RenameRoom(rename) => Ask::Change(RoomChange::Renamed {
            title: rename.title.into_string(),
        }),
        ClientMessage::SetMemberRole(set) => Ask::Change(RoomChange::RoleChanged {
            user: set.user_id,
            role: set.role,
        }),
        ClientMessage::Subscribe(_)
        | ClientMessage::Unsubscribe(_)
        | ClientMessage::Ping(_)
        | ClientMessage::Pong(_)
        | ClientMessage::RefreshToken(_)
        | ClientMessage::StartStream(_)
        | ClientMessage::EndStream(_)
        | ClientMessage::WebrtcOffer(_)
        | ClientMessage::WebrtcAnswer(_)
        | ClientMessage::IceCandidate(_)
        | ClientMessage::Watch(_)
        | ClientMessage::StopWatching(_)
        | ClientMessage::SetQuality(_)
        | ClientMessage::Comment(_)
        | ClientMessage::DeleteComment(_)
        | ClientMessage::Kick(_)
        | ClientMessage::Ban(_)
        | ClientMessage::Unban(_)
        | ClientMessage::Timeout(_)
        | ClientMessage::SlowMode(_)
        | ClientMessage::PinComment(_)
        | ClientMessage::SetRole(_)
        | ClientMessage::Reaction(_)
        | ClientMessage::NotificationRead(_)
        | ClientMessage::MarkAllRead(_) => {
            let what = "this type is not about a room";
            return Err(Error::new(ErrorCode::UnknownType, what));
        }
    })
}

/// Does what is asked of a room that is there.
pub(super) fn carry_out(
    room: &mut Room,
    turn: &mut Turn<'_>,
    asker: Asker,
    ask: Ask,
) -> Result<(), Error> {
    match ask {
        Ask::Subscribe(since) => {
            let Requester::Session { key, id } = asker.requester.clone() else {
                return Ok(());
            };
            room.member(&asker)?;
            room.subscribe(turn, key, id, since);
            Ok(())
        }
        Ask::Admit => {
            if !room.members.contains_key(&asker.caller.user.id) {
                return Err(room::not_a_member());
            }
            answer(turn.context, turn.now, asker.requester, Answer::Done);
            Ok(())
        }
        Ask::Get => {
            room.member(&asker)?;
            room.answer_view(turn, &asker);
            Ok(())
        }
        Ask::Write(write, sender) => room.write(turn, asker, write, sender),
        Ask::Edit { id, text } => room.edit(turn, asker, id, text),
        Ask::Delete { id } => room.delete(turn, asker, id),
        Ask::Typing(active) => {
            let Requester::Session { key, id } = asker.requester.clone() else {
                return Ok(());
            };
            room.set_typing(turn, key, id, &asker, active)
        }
        Ask::Mark(mark, up_to_seq) => room.mark(turn, asker, up_to_seq, mark),
        Ask::History(history) => room.history(turn, asker, history),
        Ask::Change(change) => room.change(turn, asker, change),
    }
}

/// The store has answered a room.
pub(super) fn handle_stored(
    room: &mut Room,
    turn: &mut Turn<'_>,
    then: room::Then,
    result: Result<ChatOk, StoreError>,
) {
    room.close_request();
    match then {
        room::Then::Reload => room.handle_reloaded(turn, result),
        room::Then::Log => room.handle_log(turn, result),
        room::Then::Recover {
            key,
            id,
            ticket,
            since,
        } => room.handle_recovered(turn, key, id, (ticket, since), result),
        room::Then::Message {
            requesters,
            sender,
            client_id,
        } => room.handle_message(turn, requesters, &sender, client_id, result),
        room::Then::Edit { requester } => room.handle_edited(turn, requester, result),
        room::Then::Delete { requester, by } => room.handle_deleted(turn, requester, by, result),
        room::Then::Position {
            requester,
            user,
            mark,
        } => room.handle_position(turn, requester, &user, mark, result),
        room::Then::Page { requester, newest } => room.handle_page(turn, requester, newest, result),
        room::Then::Change { asker, change } => room.handle_changed(turn, asker, change, result),
    }
}

/// Answers whoever asked: a session by `ack`, HTTP by a reply.
pub(super) fn answer(context: &mut Context, now: Now, requester: Requester, answer: Answer) {
    match requester {
        Requester::Session { key, id } => {
            let data = match answer {
                Answer::Done => object([]),
                Answer::Posted { message, .. } => object([
                    ("id", Value::from(message.id)),
                    ("room", Value::from(message.room.as_str())),
                    ("seq", Value::from(message.seq)),
                    ("created_at", Value::from(rfc3339(message.created_at))),
                    ("client_id", Value::from(message.client_id)),
                ]),
                Answer::Changed { id, seq } => {
                    object([("id", Value::from(id)), ("seq", Value::from(seq))])
                }
                Answer::Marked { up_to_seq, unread } => object([
                    ("up_to_seq", Value::from(up_to_seq)),
                    ("unread", Value::from(unread)),
                ]),
                Answer::Messages { messages, has_more } => object([
                    ("messages", json_of(&messages)),
                    ("has_more", Value::from(has_more)),
                ]),
                Answer::Room(view) => object([("room", json_of(&view))]),
            };
            context.ack(now, key, id, data);
        }
        Requester::Http(request) => {
            let reply = match answer {
                Answer::Done | Answer::Changed { .. } | Answer::Marked { .. } => api::Reply::Done,
                Answer::Posted { message, is_new } => api::Reply::Posted { message, is_new },
                Answer::Messages { messages, has_more } => {
                    api::Reply::Messages { messages, has_more }
                }
                Answer::Room(room) => api::Reply::Room {
                    room,
                    is_new: false,
                },
            };
            context.reply(request, Ok(reply));
        }
    }
}

fn json_of<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("our own views are always JSON")
}

/// Whether it is the subscription of the path, without which the socket is of no use.
pub(super) fn is_path(context: &Context, asker: &Asker, ask: &Ask, room: &RoomId) -> bool {
    let Requester::Session { key, id: None } = &asker.requester else {
        return false;
    };
    let session = context.sessions.get(*key);
    let channel = session.and_then(|session| session.default_channel.as_ref());
    matches!(ask, Ask::Subscribe(_)) && channel == Some(&Channel::Chat(room.clone()))
}

pub(super) fn refuse(
    context: &mut Context,
    now: Now,
    asker: &Asker,
    ask: &Ask,
    id: &RoomId,
    error: Error,
) {
    if is_path(context, asker, ask, id) {
        return refuse_path(context, now, asker, error);
    }
    asker.fail(context, now, error);
}

/// Refuses the channel of the path. A store that fails is no reason to stay away.
pub(super) fn refuse_path(context: &mut Context, now: Now, asker: &Asker, error: Error) {
    let is_final = !error.code.is_retryable();
    let reason = error.message.clone();
    asker.fail(context, now, error);
    if let Requester::Session { key, .. } = asker.requester
        && is_final
    {
        context
            .sessions
            .end(key, CloseCode::Unauthorised, reason, Fate::Destroyed);
    }
}
