//! What HTTP asks about rooms, messages and people.

use super::{Answer, Ask, Asker, Chat, Then, answer, groups, room, view};
use crate::api::{Reply, Request};
use crate::broker::{Audience, Publication};
use crate::context::{Context, Waiting};
use crate::error::Error;
use crate::grants::{Caller, User};
use crate::id::{Channel, RequestId, RoomId, UserId};
use crate::live::unavailable_store;
use crate::message::ServerMessage;
use crate::message::chat::{ChatUpdate, History};
use crate::message::text::Text;
use crate::peers::Requester;
use crate::people;
use crate::store::chat::{ChatOk, ChatOp, NewRoom, RoomKind};
use crate::store::{StoreError, StoreOp};
use crate::time::Now;

/// Rooms of one page, at most.
const ROOMS_MAX: usize = 200;

/// Messages that one search finds, at most.
const FOUND_MAX: usize = 100;

impl Chat {
    /// A request over HTTP.
    pub(crate) fn request(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: Caller,
        ask: Request,
    ) {
        let result = self.carry_out_request(context, now, request, caller, ask);
        if let Err(error) = result {
            context.reply(request, Err(error));
        }
    }

    fn carry_out_request(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: Caller,
        ask: Request,
    ) -> Result<(), Error> {
        let asker = Asker {
            requester: Requester::Http(request),
            caller,
        };
        let (room, ask) = match ask {
            Request::Admit {
                channel: Channel::Chat(room),
            } => (room, Ask::Admit),
            Request::GetRoom { room } => (room, Ask::Get),
            Request::ChangeRoom { room, change } => (room, Ask::Change(change)),
            Request::RoomMessages {
                room,
                before_seq,
                after_seq,
                limit,
            } => {
                let limit = Some(u16::try_from(limit).unwrap_or(u16::MAX));
                let history = History {
                    before_seq,
                    after_seq,
                    limit,
                };
                (room, Ask::History(history))
            }
            Request::PostMessage {
                room,
                sender,
                message,
            } => (room, Ask::Write(message, sender)),
            Request::CreateRoom {
                kind,
                members,
                title,
            } => return self.create(context, now, asker, kind, members, title),
            Request::ListRooms { before, limit } => {
                in_range("limit", limit, ROOMS_MAX)?;
                let user = asker.caller.user.id.clone();
                let op = ChatOp::ListRooms {
                    user,
                    before,
                    limit,
                };
                return self.read(context, op, Then::Rooms(asker));
            }
            Request::SearchMessages {
                text,
                room,
                before_ms,
                limit,
            } => {
                in_range("limit", limit, FOUND_MAX)?;
                let text = Text::<1, 200>::new(&text);
                let text = text.map_err(|expected| Error::invalid_field("q", expected))?;
                let user = asker.caller.user.id.clone();
                let op = ChatOp::Search {
                    user,
                    text: text.into_string(),
                    room,
                    before_ms,
                    limit,
                };
                return self.read(context, op, Then::Found(asker));
            }
            Request::ListBlocks => {
                let user = asker.caller.user.id.clone();
                return self.read(context, ChatOp::ListBlocks { user }, Then::Blocks(asker));
            }
            Request::Block { user } => {
                if user == asker.caller.user.id {
                    let expected = "expected somebody else";
                    return Err(Error::invalid_field("user", expected));
                }
                let op = ChatOp::ListBlocks {
                    user: asker.caller.user.id.clone(),
                };
                return self.read(context, op, Then::MayBlock { asker, user });
            }
            Request::Unblock { user } => {
                let op = ChatOp::Unblock {
                    user: asker.caller.user.id.clone(),
                    blocked: user.clone(),
                };
                let on = false;
                ask_store(context, op, Then::Block { asker, user, on });
                return Ok(());
            }
            Request::GetPresence { user } => {
                let op = ChatOp::LoadUser {
                    user: user.clone(),
                    asker: asker.caller.user.id.clone(),
                };
                return self.read(context, op, Then::Presence { asker, user });
            }
            // These were answered without rooms.
            Request::Admit { .. }
            | Request::WhipPublish { .. }
            | Request::WhepWatch { .. }
            | Request::Patch { .. }
            | Request::Delete { .. }
            | Request::ListStreams
            | Request::GetStream { .. }
            | Request::EndStream { .. }
            | Request::Notify(_)
            | Request::ListNotifications { .. }
            | Request::MarkNotificationRead { .. }
            | Request::MarkAllNotificationsRead
            | Request::GetPreferences
            | Request::SetPreferences(_)
            | Request::ChangeFollowers { .. }
            | Request::ListFollowers { .. }
            | Request::DisconnectUser { .. }
            | Request::Publish { .. } => {
                return Err(Error::not_found("there is no such request about rooms"));
            }
        };
        self.ask(context, now, asker, &room, ask);
        Ok(())
    }

    /// Reads something that is not about one room.
    fn read(&mut self, context: &mut Context, op: ChatOp, then: Then) -> Result<(), Error> {
        self.quota
            .open_read(&context.config.rooms, &mut context.stats)?;
        ask_store(context, op, then);
        Ok(())
    }

    fn create(
        &mut self,
        context: &mut Context,
        now: Now,
        asker: Asker,
        kind: RoomKind,
        members: Vec<UserId>,
        title: Option<String>,
    ) -> Result<(), Error> {
        let caller = &asker.caller;
        let is_admin = caller.grants.admin;
        if !caller.grants.chat.is_all() && !is_admin {
            let what = "the token grants chat in some rooms only";
            return Err(Error::forbidden(what));
        }
        let title = match (kind, title) {
            (RoomKind::Direct, Some(_)) => {
                return Err(Error::invalid_field("title", "direct rooms have none"));
            }
            (_, None) => None,
            (RoomKind::Group, Some(title)) => {
                let title = Text::<1, 100>::new(&title);
                let title = title.map_err(|expected| Error::invalid_field("title", expected))?;
                Some(title.into_string())
            }
        };
        let creator = (!is_admin).then_some(&caller.user.id);
        let limit = context.config.rooms.max_group_members;
        let members = groups::founders(kind, creator, members, limit)?;
        if !is_admin {
            let limits = &context.config.rooms;
            self.quota
                .pace(now.mono, &caller.user.id, limits, &mut context.stats)?;
        }
        let id = RoomId::new(context.random_id()).expect("hex digits are a name");
        let op = ChatOp::CreateRoom(NewRoom {
            id,
            epoch: context.random_epoch(),
            kind,
            title,
            members,
            by: creator.cloned(),
            at_ms: now.wall_ms,
        });
        ask_store(context, op, Then::Created(asker));
        Ok(())
    }

    pub(super) fn handle_created(
        &self,
        context: &mut Context,
        now: Now,
        asker: Asker,
        result: Result<ChatOk, StoreError>,
    ) {
        let (state, is_new) = match result {
            Ok(ChatOk::Created { room, is_new }) => (room, is_new),
            Err(StoreError::Forbidden) => return asker.fail(context, now, room::blocked()),
            Ok(_) | Err(_) => return asker.fail(context, now, unavailable_store()),
        };
        let view = view::room(&self.people, now, &state, &asker.caller.user.id);
        if is_new {
            // Whoever blocks another member is shown to nobody until somebody looks.
            let hides = |one: &UserId| state.blocks.iter().any(|(who, _)| who == one);
            let members = state.members.iter();
            let members = members
                .map(|one| view::member(&self.people, now, one, hides(&one.user.id)))
                .collect();
            let users = state.members.iter().map(|one| one.user.id.clone());
            context.publish(Publication {
                channel: Channel::Chats,
                audience: Audience::Users(users.collect()),
                position: None,
                message: ServerMessage::ChatUpdate(ChatUpdate {
                    room: state.id,
                    kind: state.kind,
                    title: state.title,
                    members: Some(members),
                    last_message: None,
                    unread: 0,
                    updated_at: state.updated_at_ms,
                    removed: false,
                }),
                at_ms: now.wall_ms,
            });
        }
        let reply = Reply::Room { room: view, is_new };
        asker.reply(context, Ok(reply));
    }

    pub(super) fn handle_rooms(
        &self,
        context: &mut Context,
        now: Now,
        asker: &Asker,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::Rooms { rooms, has_more }) = result else {
            return asker.fail(context, now, unavailable_store());
        };
        let grants = &asker.caller.grants;
        let rooms = rooms
            .into_iter()
            .filter(|entry| grants.may_enter(&entry.id));
        let mut rooms = rooms
            .map(|entry| view::listing(&self.people, now, entry))
            .collect();
        let was_cut = view::fit(&mut rooms, context.config.rooms.page_bytes_max);
        let has_more = has_more || was_cut;
        asker.reply(context, Ok(Reply::Rooms { rooms, has_more }));
    }

    pub(super) fn handle_found(
        context: &mut Context,
        now: Now,
        asker: &Asker,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::Messages {
            mut messages,
            has_more,
        }) = result
        else {
            return asker.fail(context, now, unavailable_store());
        };
        messages.retain(|message| asker.caller.grants.may_enter(&message.room));
        let bytes_max = context.config.rooms.page_bytes_max;
        let (messages, was_cut) = view::page(messages, false, bytes_max);
        let found = Answer::Messages {
            messages,
            has_more: has_more || was_cut,
        };
        answer(context, now, asker.requester.clone(), found);
    }

    pub(super) fn handle_may_block(
        context: &mut Context,
        now: Now,
        asker: Asker,
        user: UserId,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::Users(blocked)) = result else {
            return asker.fail(context, now, unavailable_store());
        };
        let limit = context.config.rooms.blocks_max;
        let is_known = blocked.iter().any(|one| one.id == user);
        if blocked.len() >= limit && !is_known {
            context.stats.limits_hit += 1;
            let error = Error::conflict(format!("at most {limit} users can be blocked"));
            return asker.fail(context, now, error);
        }
        let op = ChatOp::Block {
            user: asker.caller.user.id.clone(),
            blocked: user.clone(),
            at_ms: now.wall_ms,
        };
        let on = true;
        ask_store(context, op, Then::Block { asker, user, on });
    }

    pub(super) fn handle_block(
        &mut self,
        context: &mut Context,
        now: Now,
        asker: &Asker,
        blocked: &UserId,
        on: bool,
        result: Result<ChatOk, StoreError>,
    ) {
        if result.is_err() {
            return asker.fail(context, now, unavailable_store());
        }
        let user = asker.caller.user.id.clone();
        self.set_block(context, now, &user, blocked, on);
        asker.reply(context, Ok(Reply::Done));
    }

    pub(super) fn handle_blocks(
        context: &mut Context,
        now: Now,
        asker: &Asker,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::Users(users)) = result else {
            return asker.fail(context, now, unavailable_store());
        };
        asker.reply(context, Ok(Reply::Users(users)));
    }

    pub(super) fn handle_presence(
        &self,
        context: &mut Context,
        now: Now,
        asker: &Asker,
        user: &UserId,
        result: Result<ChatOk, StoreError>,
    ) {
        let Ok(ChatOk::User(known)) = result else {
            return asker.fail(context, now, unavailable_store());
        };
        let caller = &asker.caller;
        let presence = if caller.grants.admin || caller.user.id == *user {
            self.people.view(now, user, known.last_seen_ms)
        } else if !known.shares_room {
            let what = "you are in no room with them";
            return asker.fail(context, now, Error::forbidden(what));
        } else if known.blocks_asker {
            people::hidden(user)
        } else {
            self.people.view(now, user, known.last_seen_ms)
        };
        asker.reply(context, Ok(Reply::Presence(presence)));
    }
}

fn in_range(field: &str, value: usize, most: usize) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_field(field, format!("expected 1 to {most}")))
}

/// Asks the store something that is not about one room in memory.
pub(super) fn ask_store(context: &mut Context, op: ChatOp, then: Then) {
    context.ask_store(StoreOp::Chat(op), Waiting::Chat(then));
}

/// Keeps when somebody was last here, under which name.
pub(super) fn see(context: &mut Context, user: &User, at_ms: u64) {
    let user = user.clone();
    ask_store(context, ChatOp::SeeUser { user, at_ms }, Then::Seen);
}
