//! Chat: rooms, their members, messages and positions, and who is here.

use std::time::Instant;

use crate::api;
use crate::broker::Publication;
use crate::context::Context;
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{Channel, RequestId, RoomId};
use crate::message::ClientMessage;
use crate::message::connection::Position;
use crate::session::Key;
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

/// What follows when the store has answered.
#[derive(Debug)]
pub(crate) enum Then {}

/// Rooms in memory and who follows them.
#[derive(Debug)]
pub(crate) struct Chat {
    /// The moment its timer is set to.
    pub(crate) scheduled: Option<Instant>,
}

impl Chat {
    pub(crate) fn new() -> Self {
        Self { scheduled: None }
    }

    /// Subscribes a session to a room. `id` is none for the channel of the path.
    pub(crate) fn subscribe(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        _room: &RoomId,
        _since: Option<Position>,
    ) {
        context.refuse(now, key, id, Error::unavailable("chat is not there"));
    }

    /// Subscribes a session to the list of its own rooms.
    pub(crate) fn subscribe_list(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
    ) {
        context.refuse(now, key, id, Error::unavailable("chat is not there"));
    }

    /// Ends a subscription to a room or to the list.
    pub(crate) fn unsubscribe(&mut self, _context: &mut Context, _key: Key, _channel: &Channel) {}

    /// A message about a room.
    pub(crate) fn message(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        _room: &RoomId,
        _message: ClientMessage,
    ) {
        context.refuse(now, key, id, Error::unavailable("chat is not there"));
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
        context.reply(request, Err(Error::unavailable("chat is not there")));
    }

    /// A session has a socket.
    pub(crate) fn handle_attached(&mut self, _context: &mut Context, _now: Now, _key: Key) {}

    /// A session has none any more.
    pub(crate) fn handle_detached(&mut self, _context: &mut Context, _now: Now, _key: Key) {}

    /// A session has new grants: what they no longer allow ends here.
    pub(crate) fn handle_new_grants(&mut self, _context: &mut Context, _now: Now, _key: Key) {}

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

    /// What was said to a room or a list comes back from the broker.
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
