//! What HTTP asks of the hub: WHIP and WHEP, the directory of streams, who may open a WebSocket on a channel, rooms,
//! notifications, people.
//!
//! The shell maps requests and replies one to one. Refusals are [`crate::Error`] with these HTTP meanings:
//! `invalid_field` 400, `forbidden` 403, `not_found` 404, `unsupported` 406, `conflict` 409, `precondition_failed` 412,
//! `too_large` 413, `precondition_required` 428, `rate_limited` 429, `unavailable` 503.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use serde_json::{Map, Value};

use crate::grants::User;
use crate::id::{Channel, RoomId, StreamName, UserId};
use crate::media::Track;
use crate::message::chat::{MessageView, PresenceView, RoomListing, RoomView, WriteMessage};
use crate::message::notifications::NotificationView;
use crate::store::chat::{RoomChange, RoomCursor, RoomKind};
use crate::store::notifications::{FollowerChange, Preferences};

/// One request over HTTP.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request {
    /// Whether the caller may open a WebSocket on a channel, asked before the upgrade so that a refusal is a status.
    /// Answered by [`Reply::Done`]. It reserves nothing: the session that follows is checked again.
    Admit {
        /// The channel of the path.
        channel: Channel,
    },
    /// POST of a WHIP offer (RFC 9725). Answered by [`Reply::Created`].
    WhipPublish {
        /// The stream to publish.
        stream: StreamName,
        /// SDP.
        offer: String,
    },
    /// POST of a WHEP offer (draft-ietf-wish-whep). Answered by [`Reply::Created`].
    WhepWatch {
        /// The stream to watch.
        stream: StreamName,
        /// SDP.
        offer: String,
        /// `Prefer: wait=N` (RFC 7240): how long to wait for a stream that is not live yet. Capped by the hub.
        wait: Option<Duration>,
    },
    /// PATCH of a resource: trickled candidates or an ICE restart. Answered by [`Reply::Patched`].
    Patch {
        /// The last segment of the Location.
        resource: String,
        /// Which endpoint it came to.
        kind: ResourceKind,
        /// The value of `If-Match`: an entity tag with or without quotes, or `*`.
        if_match: Option<String>,
        /// `application/trickle-ice-sdpfrag` (RFC 8840).
        fragment: String,
    },
    /// DELETE of a resource. A WHIP resource ends the stream. Answered by [`Reply::Done`].
    Delete {
        /// The last segment of the Location.
        resource: String,
        /// Which endpoint it came to.
        kind: ResourceKind,
    },
    /// Who is live, of the streams that the caller may watch. Answered by [`Reply::Streams`].
    ListStreams,
    /// One live stream. Answered by [`Reply::Stream`].
    GetStream {
        /// Which.
        stream: StreamName,
    },
    /// Ends a live stream; its streamer and admins may. Answered by [`Reply::Done`].
    EndStream {
        /// Which.
        stream: StreamName,
    },
    /// Creates a room with the caller in it, or finds the direct room that the pair has. Admins may create rooms of others:
    /// then the first member owns it. Answered by [`Reply::Room`].
    CreateRoom {
        /// Direct or group.
        kind: RoomKind,
        /// Who; the caller need not be named.
        members: Vec<UserId>,
        /// Groups only, 1 to 100 characters.
        title: Option<String>,
    },
    /// The caller's rooms. Answered by [`Reply::Rooms`].
    ListRooms {
        /// Only rooms behind this one.
        before: Option<RoomCursor>,
        /// 1 to 200.
        limit: usize,
    },
    /// A room of the caller's. Answered by [`Reply::Room`].
    GetRoom {
        /// Which.
        room: RoomId,
    },
    /// Changes a group, by the caller's role in it. Answered by [`Reply::Room`], or [`Reply::Done`] for who left.
    ChangeRoom {
        /// Which.
        room: RoomId,
        /// What.
        change: RoomChange,
    },
    /// Messages of a room of the caller's. Answered by [`Reply::Messages`].
    RoomMessages {
        /// Which.
        room: RoomId,
        /// Only messages with a smaller `seq`.
        before_seq: Option<u64>,
        /// Only messages with a larger `seq`; not together with `before_seq`.
        after_seq: Option<u64>,
        /// 1 to 200.
        limit: usize,
    },
    /// Writes into a room. Answered by [`Reply::Posted`].
    PostMessage {
        /// Which.
        room: RoomId,
        /// In whose name, for admins; the caller otherwise.
        sender: Option<UserId>,
        /// What.
        message: WriteMessage,
    },
    /// Searches the caller's rooms, newest first. Answered by [`Reply::Messages`].
    SearchMessages {
        /// 1 to 200 characters.
        text: String,
        /// Only this room.
        room: Option<RoomId>,
        /// Only messages created before, unix milliseconds.
        before_ms: Option<u64>,
        /// 1 to 100.
        limit: usize,
    },
    /// The caller wants to hear nothing of a user. Answered by [`Reply::Done`].
    Block {
        /// Whom.
        user: UserId,
    },
    /// Lifts it. Answered by [`Reply::Done`].
    Unblock {
        /// Whom.
        user: UserId,
    },
    /// Whom the caller blocks. Answered by [`Reply::Users`].
    ListBlocks,
    /// Notifies users; admins may. Answered by [`Reply::Accepted`].
    Notify(Box<Notify>),
    /// The caller's notifications, newest first. Answered by [`Reply::Notifications`].
    ListNotifications {
        /// Only those that are not read.
        unread_only: bool,
        /// Only those with a smaller `seq`.
        before: Option<u64>,
        /// 1 to 200.
        limit: usize,
    },
    /// Marks one of the caller's as read. Answered by [`Reply::Unread`].
    MarkNotificationRead {
        /// Which.
        id: String,
    },
    /// Marks all of the caller's as read. Answered by [`Reply::Unread`].
    MarkAllNotificationsRead,
    /// What the caller wants to hear. Answered by [`Reply::Preferences`].
    GetPreferences,
    /// Changes it. Answered by [`Reply::Preferences`].
    SetPreferences(Preferences),
    /// Changes who follows a stream: admins, its streamer; everybody may add and remove themselves. Answered by
    /// [`Reply::Followers`].
    ChangeFollowers {
        /// Which.
        stream: StreamName,
        /// How.
        change: FollowerChange,
    },
    /// Who follows a stream; admins and its streamer may ask. Answered by [`Reply::Followers`].
    ListFollowers {
        /// Which.
        stream: StreamName,
        /// Only those behind this one.
        after: Option<UserId>,
        /// 1 to 1000.
        limit: usize,
    },
    /// Whether somebody is connected: admins, and members of a room with them. Answered by [`Reply::Presence`].
    GetPresence {
        /// Who.
        user: UserId,
    },
    /// Closes every connection of a user, media included; admins may. Answered by [`Reply::Disconnected`].
    DisconnectUser {
        /// Who.
        user: UserId,
        /// For the close frame, up to 100 characters.
        reason: Option<String>,
    },
    /// Sends a message of the application's own to a channel; admins may. Answered by [`Reply::Done`].
    Publish {
        /// `live:…`, `chat:…` or `streams`; for `chats` and `notifications`, those of `user`.
        channel: Channel,
        /// Whose channel, where that is personal.
        user: Option<UserId>,
        /// What the application calls it, 1 to 64 of `a-z0-9_.-`.
        kind: String,
        /// Up to 16 KiB of JSON.
        payload: Map<String, Value>,
    },
}

/// A notification that an application asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Notify {
    /// Up to 10 000, without repeats.
    pub users: Vec<UserId>,
    /// One of the contract's kinds or another, 1 to 64 of `a-z0-9_.-`.
    pub kind: String,
    /// 1 to 500 characters.
    pub message: String,
    /// Who did it.
    pub actor: Option<User>,
    /// What it is about: up to 4 KiB of JSON.
    pub target: Option<Map<String, Value>>,
    /// What it folds by, 1 to 128 characters.
    pub group_key: Option<String>,
    /// A repeat with the same key is not stored again, 1 to 128 characters.
    pub idempotency_key: Option<String>,
}

/// Which endpoint a resource belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// `/whip/…`
    Whip,
    /// `/whep/…`
    Whep,
}

/// What HTTP is answered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// 201.
    Created {
        /// 32 hex digits, the last segment of the Location.
        resource: String,
        /// The SDP answer.
        answer: String,
        /// The entity tag of the ICE session, without quotes.
        etag: String,
    },
    /// 204 without a fragment; 200 with the fragment and the new entity tag when ICE restarted.
    Patched {
        /// Our side of an ICE restart.
        fragment: Option<String>,
        /// The entity tag of the ICE session, without quotes.
        etag: String,
    },
    /// 200 or 204 with nothing to say.
    Done,
    /// Who is live, longest running first.
    Streams(Vec<StreamSummary>),
    /// One stream.
    Stream(StreamSummary),
    /// A room.
    Room {
        /// How it is now.
        room: RoomView,
        /// True when this request created it: 201.
        is_new: bool,
    },
    /// Rooms.
    Rooms {
        /// The one that changed last first.
        rooms: Vec<RoomListing>,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// Messages.
    Messages {
        /// In the order asked for.
        messages: Vec<MessageView>,
        /// Whether there are more in that direction.
        has_more: bool,
    },
    /// A message was written.
    Posted {
        /// As stored.
        message: MessageView,
        /// False for a repeat of a `client_id`: 200 instead of 201.
        is_new: bool,
    },
    /// Users.
    Users(Vec<User>),
    /// Notifications were stored.
    Accepted {
        /// For how many users; who muted the kind or blocks the actor is not among them.
        accepted: usize,
    },
    /// A page of notifications.
    Notifications {
        /// Newest first.
        notifications: Vec<NotificationView>,
        /// Whether there are older ones.
        has_more: bool,
        /// How many are not read.
        unread: u64,
    },
    /// How many notifications are not read now.
    Unread(u64),
    /// What a user wants to hear.
    Preferences(Preferences),
    /// Followers of a stream.
    Followers {
        /// A page of them; empty in the answer to a change.
        users: Vec<UserId>,
        /// How many there are in all.
        count: u64,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// Whether somebody is connected.
    Presence(PresenceView),
    /// How many connections were closed.
    Disconnected {
        /// Sessions, resumable ones included.
        sessions: usize,
    },
}

/// A live stream, as the directory and `subscribed.state` show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamSummary {
    /// Name of the stream.
    pub id: StreamName,
    /// What the streamer calls it.
    pub title: String,
    /// Up to 10.
    pub tags: Vec<String>,
    /// When media first flowed, RFC 3339 on the wire.
    #[serde(with = "crate::time::wire")]
    pub started_at: u64,
    /// Connections that watch.
    pub viewers: u64,
    /// What is published right now; empty while the publisher is away.
    pub tracks: Vec<Track>,
    /// Whose stream it is.
    pub streamer: User,
}
