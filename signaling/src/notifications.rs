//! Notifications: stored first, high ones told at once, medium ones in batches, folded by group key.

use std::time::Instant;

use crate::api;
use crate::broker::Publication;
use crate::context::Context;
use crate::error::Error;
use crate::grants::{Caller, User};
use crate::id::{RequestId, RoomId, StreamName, UserId};
use crate::message::ClientMessage;
use crate::message::connection::Position;
use crate::session::Key;
use crate::store::chat::RoomKind;
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

/// What the server notifies of by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A message was written while some members were not looking at the room.
    Message {
        room: RoomId,
        kind: RoomKind,
        title: Option<String>,
        sender: User,
        text: String,
        /// Who was not looking.
        recipients: Vec<UserId>,
    },
    /// A member has read a room up to its newest message.
    RoomRead { room: RoomId, user: UserId },
    /// A stream went live.
    StreamLive {
        stream: StreamName,
        streamer: User,
        title: String,
    },
}

/// What follows when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {}

/// Everybody's notifications.
#[derive(Debug)]
pub(crate) struct Notifications {
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self { scheduled: None }
    }

    /// Subscribes a session to its own notifications. `id` is none for the channel of the path.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        _since: Option<Position>,
    ) {
        context.refuse(
            now,
            key,
            id,
            Error::unavailable("notifications are not there"),
        );
    }

    /// Ends a subscription.
    pub(crate) fn unsubscribe(&mut self, _context: &mut Context, _key: Key) {}

    /// `notification_read` or `mark_all_read` of a session.
    pub(crate) fn message(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        _message: ClientMessage,
    ) {
        context.refuse(
            now,
            key,
            id,
            Error::unavailable("notifications are not there"),
        );
    }

    /// A request over HTTP.
    pub(crate) fn request(
        &mut self,
        context: &mut Context,
        _now: Now,
        request: RequestId,
        _caller: Caller,
        _ask: api::Request,
    ) {
        context.reply(
            request,
            Err(Error::unavailable("notifications are not there")),
        );
    }

    /// Something happened that people are to be notified of.
    pub(crate) fn handle_notice(&mut self, _context: &mut Context, _now: Now, _notice: Notice) {}

    /// The store has answered.
    pub(crate) fn handle_stored(
        &mut self,
        _context: &mut Context,
        _now: Now,
        then: Then,
        _result: Result<StoreOk, StoreError>,
    ) {
        match then {}
    }

    /// What was said to somebody comes back from the broker.
    pub(crate) fn handle_published(
        &mut self,
        _context: &mut Context,
        _now: Now,
        _publication: Publication,
    ) {
    }

    /// When something is next due.
    pub(crate) fn deadline(&self, _context: &Context) -> Option<Instant> {
        None
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, _context: &mut Context, _now: Now) {}
}
