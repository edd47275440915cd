//! Every message of the wire, typed. One enum for each direction; the golden files hold one example of each.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorCode, Rule};
use crate::store::notifications::Preferences;

pub mod chat;
pub mod connection;
pub mod live;
pub mod notifications;
pub mod text;

use chat::{
    AddMembers, ChatUpdate, DeleteMessage, EditMessage, History, MarkUpTo, MessageDeleted,
    MessageEdited, MessageView, PositionView, PresenceView, RemoveMember, RenameRoom, RoomUpdated,
    SetMemberRole, Typing, TypingView, WriteMessage,
};
use connection::{
    AppMessage, ConnectionEstablished, Draining, Empty, RefreshToken, Subscribe, Subscribed,
    Unsubscribe,
};
use live::{
    ById, CommentDeleted, CommentView, IceCandidate, JoinLeave, MediaClosed, Moderate, PinComment,
    QualityChanged, Reaction, ReactionsUpdate, RoleChanged, RoomSettings, Sdp, SetQuality, SetRole,
    SlowMode, StartStream, StopWatching, StreamEnded, StreamStarted, StreamStats, StreamUpdated,
    StreamsUpdate, Timeout, TracksChanged, UserModerated, ViewersUpdate, Watch, WatchUnavailable,
    WriteComment,
};
use notifications::{NotificationBatch, NotificationRead, NotificationView, UnreadCount};

/// What a session may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ClientMessage {
    /// Subscribe to a channel.
    Subscribe(Subscribe),
    /// Leave a channel.
    Unsubscribe(Unsubscribe),
    /// Answered by `pong`.
    Ping(Empty),
    /// Answers `ping`.
    Pong(Empty),
    /// Go on with a new token.
    RefreshToken(RefreshToken),
    /// Go live, or change the title.
    StartStream(StartStream),
    /// End the stream.
    EndStream(Empty),
    /// A streamer offers.
    WebrtcOffer(Sdp),
    /// A viewer answers.
    WebrtcAnswer(Sdp),
    /// A trickled candidate.
    IceCandidate(IceCandidate),
    /// Watch the stream.
    Watch(Watch),
    /// Watch no more.
    StopWatching(StopWatching),
    /// Choose a layer.
    SetQuality(SetQuality),
    /// Write a comment.
    Comment(WriteComment),
    /// Delete somebody's comment.
    DeleteComment(ById),
    /// Send a user away.
    Kick(Moderate),
    /// Keep a user out.
    Ban(Moderate),
    /// Let a user in again, and write again.
    Unban(Moderate),
    /// Keep a user from writing for a while.
    Timeout(Timeout),
    /// Seconds between two comments of one viewer.
    SlowMode(SlowMode),
    /// Pin a comment, or none.
    PinComment(PinComment),
    /// Make a user a moderator, VIP or viewer.
    SetRole(SetRole),
    /// An emoji.
    Reaction(Reaction),
    /// Write into a room.
    ChatMessage(WriteMessage),
    /// Change one's own message.
    EditMessage(EditMessage),
    /// Delete a message.
    DeleteMessage(DeleteMessage),
    /// Typing, or no more.
    Typing(Typing),
    /// Messages have arrived.
    MarkDelivered(MarkUpTo),
    /// Messages have been read.
    MarkRead(MarkUpTo),
    /// A page of messages.
    History(History),
    /// Bring users into a group.
    AddMembers(AddMembers),
    /// Remove a user from a group.
    RemoveMember(RemoveMember),
    /// Leave a group.
    LeaveRoom(Empty),
    /// Rename a group.
    RenameRoom(RenameRoom),
    /// Give a member of a group a role.
    SetMemberRole(SetMemberRole),
    /// A notification was read.
    NotificationRead(NotificationRead),
    /// All notifications were read.
    MarkAllRead(Empty),
}

/// What the server may send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message.
    ConnectionEstablished(ConnectionEstablished),
    /// A subscription begins.
    Subscribed(Box<Subscribed>),
    /// A request succeeded; the fields are those of its result.
    Ack(Map<String, Value>),
    /// A request, or a message that was none, was refused.
    Error(ErrorBody),
    /// Are you there?
    Ping(Empty),
    /// Here.
    Pong(Empty),
    /// The server will be replaced.
    Draining(Draining),
    /// Media flows.
    StreamStarted(StreamStarted),
    /// Title or tags changed.
    StreamUpdated(StreamUpdated),
    /// Tracks came, went, or were muted; none while the publisher is away.
    TracksChanged(TracksChanged),
    /// The stream is over.
    StreamEnded(StreamEnded),
    /// The server offers to a viewer.
    WebrtcOffer(Sdp),
    /// The server answers a streamer.
    WebrtcAnswer(Sdp),
    /// A WebRTC connection of this session is gone.
    MediaClosed(MediaClosed),
    /// This viewer cannot decode a track.
    WatchUnavailable(WatchUnavailable),
    /// This viewer's layer changed.
    QualityChanged(QualityChanged),
    /// How many watch.
    ViewersUpdate(ViewersUpdate),
    /// Somebody came.
    UserJoined(JoinLeave),
    /// Somebody left.
    UserLeft(JoinLeave),
    /// A comment.
    Comment(CommentView),
    /// A comment was deleted.
    CommentDeleted(CommentDeleted),
    /// A user was kicked, banned, unbanned or timed out.
    UserModerated(UserModerated),
    /// Slow mode or the pinned comment changed.
    RoomSettings(RoomSettings),
    /// Somebody's role changed.
    RoleChanged(RoleChanged),
    /// Reactions of the last interval.
    ReactionsUpdate(ReactionsUpdate),
    /// How the publisher fares.
    StreamStats(StreamStats),
    /// Who is live.
    StreamsUpdate(StreamsUpdate),
    /// A message in a room.
    ChatMessage(MessageView),
    /// A message was edited.
    MessageEdited(MessageEdited),
    /// A message was deleted.
    MessageDeleted(MessageDeleted),
    /// Somebody types, or no more.
    Typing(TypingView),
    /// Messages have arrived at a member.
    MessageDelivered(PositionView),
    /// A member has read.
    MessageRead(PositionView),
    /// A member came or went.
    Presence(PresenceView),
    /// A room in one's list changed.
    ChatUpdate(ChatUpdate),
    /// A group changed.
    RoomUpdated(RoomUpdated),
    /// How many notifications are not read.
    UnreadCount(UnreadCount),
    /// A notification.
    NewNotification(NotificationView),
    /// Notifications of one window.
    NotificationBatch(NotificationBatch),
    /// A notification was read on another device.
    NotificationRead(NotificationRead),
    /// All notifications were read on another device.
    MarkAllRead(Empty),
    /// What one wants to hear changed.
    PreferencesUpdated(Preferences),
    /// An application's own message, published over HTTP.
    AppMessage(AppMessage),
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// What clients decide by.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
    /// Which rule it was, where an app words it differently.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Rule>,
}

impl From<Error> for ErrorBody {
    fn from(error: Error) -> Self {
        Self {
            code: error.code,
            retryable: error.code.is_retryable() || error.retry_after_ms.is_some(),
            message: error.message,
            retry_after_ms: error.retry_after_ms,
            reason: error.rule,
        }
    }
}

impl ClientMessage {
    /// Types that clients send.
    pub const TYPES: [&str; 37] = [
        "subscribe",
        "unsubscribe",
        "ping",
        "pong",
        "refresh_token",
        "start_stream",
        "end_stream",
        "webrtc_offer",
        "webrtc_answer",
        "ice_candidate",
        "watch",
        "stop_watching",
        "set_quality",
        "comment",
        "delete_comment",
        "kick",
        "ban",
        "unban",
        "timeout",
        "slow_mode",
        "pin_comment",
        "set_role",
        "reaction",
        "chat_message",
        "edit_message",
        "delete_message",
        "typing",
        "mark_delivered",
        "mark_read",
        "history",
        "add_members",
        "remove_member",
        "leave_room",
        "rename_room",
        "set_member_role",
        "notification_read",
        "mark_all_read",
    ];

    /// Reads the `data` of a message of type `kind`. Fields that are not known are ignored.
    ///
    /// # Errors
    /// `unknown_type`, or `invalid_field` naming the field and what was expected.
    pub fn decode(kind: &str, data: Value) -> Result<Self, Error> {
        Ok(match kind {
            "subscribe" => Self::Subscribe(fields(data)?),
            "unsubscribe" => Self::Unsubscribe(fields(data)?),
            "ping" => Self::Ping(fields(data)?),
            "pong" => Self::Pong(fields(data)?),
            "refresh_token" => Self::RefreshToken(fields(data)?),
            "start_stream" => Self::StartStream(fields(data)?),
            "end_stream" => Self::EndStream(fields(data)?),
            "webrtc_offer" => Self::WebrtcOffer(fields(data)?),
            "webrtc_answer" => Self::WebrtcAnswer(fields(data)?),
            "ice_candidate" => Self::IceCandidate(fields(data)?),
            "watch" => Self::Watch(fields(data)?),
            "stop_watching" => Self::StopWatching(fields(data)?),
            "set_quality" => Self::SetQuality(fields(data)?),
            "comment" => Self::Comment(fields(data)?),
            "delete_comment" => Self::DeleteComment(fields(data)?),
            "kick" => Self::Kick(fields(data)?),
            "ban" => Self::Ban(fields(data)?),
            "unban" => Self::Unban(fields(data)?),
            "timeout" => Self::Timeout(fields(data)?),
            "slow_mode" => Self::SlowMode(fields(data)?),
            "pin_comment" => Self::PinComment(fields(data)?),
            "set_role" => Self::SetRole(fields(data)?),
            "reaction" => Self::Reaction(fields(data)?),
            "chat_message" => Self::ChatMessage(fields(data)?),
            "edit_message" => Self::EditMessage(fields(data)?),
            "delete_message" => Self::DeleteMessage(fields(data)?),
            "typing" => Self::Typing(fields(data)?),
            "mark_delivered" => Self::MarkDelivered(fields(data)?),
            "mark_read" => Self::MarkRead(fields(data)?),
            "history" => Self::History(fields(data)?),
            "add_members" => Self::AddMembers(fields(data)?),
            "remove_member" => Self::RemoveMember(fields(data)?),
            "leave_room" => Self::LeaveRoom(fields(data)?),
            "rename_room" => Self::RenameRoom(fields(data)?),
            "set_member_role" => Self::SetMemberRole(fields(data)?),
            "notification_read" => Self::NotificationRead(fields(data)?),
            "mark_all_read" => Self::MarkAllRead(fields(data)?),
            _ => {
                // What a client made up is not repeated at length.
                let shown: String = kind.chars().take(40).collect();
                return Err(Error::new(
                    ErrorCode::UnknownType,
                    format!("type: {shown:?} is not one that clients send"),
                ));
            }
        })
    }
}

impl ServerMessage {
    /// The wire type.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ConnectionEstablished(_) => "connection_established",
            Self::Subscribed(_) => "subscribed",
            Self::Ack(_) => "ack",
            Self::Error(_) => "error",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Draining(_) => "draining",
            Self::StreamStarted(_) => "stream_started",
            Self::StreamUpdated(_) => "stream_updated",
            Self::TracksChanged(_) => "tracks_changed",
            Self::StreamEnded(_) => "stream_ended",
            Self::WebrtcOffer(_) => "webrtc_offer",
            Self::WebrtcAnswer(_) => "webrtc_answer",
            Self::MediaClosed(_) => "media_closed",
            Self::WatchUnavailable(_) => "watch_unavailable",
            Self::QualityChanged(_) => "quality_changed",
            Self::ViewersUpdate(_) => "viewers_update",
            Self::UserJoined(_) => "user_joined",
            Self::UserLeft(_) => "user_left",
            Self::Comment(_) => "comment",
            Self::CommentDeleted(_) => "comment_deleted",
            Self::UserModerated(_) => "user_moderated",
            Self::RoomSettings(_) => "room_settings",
            Self::RoleChanged(_) => "role_changed",
            Self::ReactionsUpdate(_) => "reactions_update",
            Self::StreamStats(_) => "stream_stats",
            Self::StreamsUpdate(_) => "streams_update",
            Self::ChatMessage(_) => "chat_message",
            Self::MessageEdited(_) => "message_edited",
            Self::MessageDeleted(_) => "message_deleted",
            Self::Typing(_) => "typing",
            Self::MessageDelivered(_) => "message_delivered",
            Self::MessageRead(_) => "message_read",
            Self::Presence(_) => "presence",
            Self::ChatUpdate(_) => "chat_update",
            Self::RoomUpdated(_) => "room_updated",
            Self::UnreadCount(_) => "unread_count",
            Self::NewNotification(_) => "new_notification",
            Self::NotificationBatch(_) => "notification_batch",
            Self::NotificationRead(_) => "notification_read",
            Self::MarkAllRead(_) => "mark_all_read",
            Self::PreferencesUpdated(_) => "preferences_updated",
            Self::AppMessage(_) => "app_message",
        }
    }

    /// Types that the server sends.
    pub const TYPES: [&str; 43] = [
        "connection_established",
        "subscribed",
        "ack",
        "error",
        "ping",
        "pong",
        "draining",
        "stream_started",
        "stream_updated",
        "tracks_changed",
        "stream_ended",
        "webrtc_offer",
        "webrtc_answer",
        "media_closed",
        "watch_unavailable",
        "quality_changed",
        "viewers_update",
        "user_joined",
        "user_left",
        "comment",
        "comment_deleted",
        "user_moderated",
        "room_settings",
        "role_changed",
        "reactions_update",
        "stream_stats",
        "streams_update",
        "chat_message",
        "message_edited",
        "message_deleted",
        "typing",
        "message_delivered",
        "message_read",
        "presence",
        "chat_update",
        "room_updated",
        "unread_count",
        "new_notification",
        "notification_batch",
        "notification_read",
        "mark_all_read",
        "preferences_updated",
        "app_message",
    ];

    /// What a full outbox may do with it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::ViewersUpdate(_)
            | Self::StreamStats(_)
            | Self::StreamsUpdate(_)
            | Self::UnreadCount(_) => Class::Latest,
            Self::ReactionsUpdate(_)
            | Self::UserJoined(_)
            | Self::UserLeft(_)
            | Self::Typing(_) => Class::Droppable,
            Self::ConnectionEstablished(_)
            | Self::Subscribed(_)
            | Self::Ack(_)
            | Self::Error(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Draining(_)
            | Self::StreamStarted(_)
            | Self::StreamUpdated(_)
            | Self::TracksChanged(_)
            | Self::StreamEnded(_)
            | Self::WebrtcOffer(_)
            | Self::WebrtcAnswer(_)
            | Self::MediaClosed(_)
            | Self::WatchUnavailable(_)
            | Self::QualityChanged(_)
            | Self::Comment(_)
            | Self::CommentDeleted(_)
            | Self::UserModerated(_)
            | Self::RoomSettings(_)
            | Self::RoleChanged(_)
            | Self::ChatMessage(_)
            | Self::MessageEdited(_)
            | Self::MessageDeleted(_)
            | Self::MessageDelivered(_)
            | Self::MessageRead(_)
            | Self::Presence(_)
            | Self::ChatUpdate(_)
            | Self::RoomUpdated(_)
            | Self::NewNotification(_)
            | Self::NotificationBatch(_)
            | Self::NotificationRead(_)
            | Self::MarkAllRead(_)
            | Self::PreferencesUpdated(_)
            | Self::AppMessage(_) => Class::Kept,
        }
    }
}

/// What a full outbox may do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Never dropped: rather is the session closed, and recovers.
    Kept,
    /// Dropped when there is no room.
    Droppable,
    /// Dropped when there is no room, and replaced by the next of its kind and channel while it still waits.
    Latest,
}

/// Reads the fields of one message; a failure names the field.
fn fields<T: for<'de> Deserialize<'de>>(data: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "data".to_owned()
        } else {
            format!("data.{path}")
        };
        let mut expected = error.into_inner().to_string();
        // A serde message repeats what the client sent; it is bounded here.
        if expected.len() > 300 {
            expected = expected.chars().take(300).collect();
        }
        Error::invalid_field(&field, expected)
    })
}
