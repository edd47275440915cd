//! Every message of the wire, typed. One table for each direction, by channel; whatever lists types derives from them, and
//! the golden files hold one example of each.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, ErrorCode, Rule};
use crate::store::notifications::Preferences;

pub mod chat;
pub mod connection;
pub mod live;
pub mod notifications;
mod table;
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
use table::messages;

messages! {
    [typed, decoded]
    {
        /// What a session may send.
        ClientMessage {
            connection {
                /// Subscribe to a channel.
                Subscribe(Subscribe) = "subscribe",
                /// Leave a channel.
                Unsubscribe(Unsubscribe) = "unsubscribe",
                /// Answered by `pong`.
                Ping(Empty) = "ping",
                /// Answers `ping`.
                Pong(Empty) = "pong",
                /// Go on with a new token.
                RefreshToken(RefreshToken) = "refresh_token",
            }
            live {
                /// Go live, or change the title.
                StartStream(StartStream) = "start_stream",
                /// End the stream.
                EndStream(Empty) = "end_stream",
                /// A streamer offers.
                WebrtcOffer(Sdp) = "webrtc_offer",
                /// A viewer answers.
                WebrtcAnswer(Sdp) = "webrtc_answer",
                /// A trickled candidate.
                IceCandidate(IceCandidate) = "ice_candidate",
                /// Watch the stream.
                Watch(Watch) = "watch",
                /// Watch no more.
                StopWatching(StopWatching) = "stop_watching",
                /// Choose a layer.
                SetQuality(SetQuality) = "set_quality",
                /// Write a comment.
                Comment(WriteComment) = "comment",
                /// Delete somebody's comment.
                DeleteComment(ById) = "delete_comment",
                /// Send a user away.
                Kick(Moderate) = "kick",
                /// Keep a user out.
                Ban(Moderate) = "ban",
                /// Let a user in again, and write again.
                Unban(Moderate) = "unban",
                /// Keep a user from writing for a while.
                Timeout(Timeout) = "timeout",
                /// Seconds between two comments of one viewer.
                SlowMode(SlowMode) = "slow_mode",
                /// Pin a comment, or none.
                PinComment(PinComment) = "pin_comment",
                /// Make a user a moderator, VIP or viewer.
                SetRole(SetRole) = "set_role",
                /// An emoji.
                Reaction(Reaction) = "reaction",
            }
            chat {
                /// Write into a room.
                ChatMessage(WriteMessage) = "chat_message",
                /// Change one's own message.
                EditMessage(EditMessage) = "edit_message",
                /// Delete a message.
                DeleteMessage(DeleteMessage) = "delete_message",
                /// Typing, or no more.
                Typing(Typing) = "typing",
                /// Messages have arrived.
                MarkDelivered(MarkUpTo) = "mark_delivered",
                /// Messages have been read.
                MarkRead(MarkUpTo) = "mark_read",
                /// A page of messages.
                History(History) = "history",
                /// Bring users into a group.
                AddMembers(AddMembers) = "add_members",
                /// Remove a user from a group.
                RemoveMember(RemoveMember) = "remove_member",
                /// Leave a group.
                LeaveRoom(Empty) = "leave_room",
                /// Rename a group.
                RenameRoom(RenameRoom) = "rename_room",
                /// Give a member of a group a role.
                SetMemberRole(SetMemberRole) = "set_member_role",
            }
            notifications {
                /// A notification was read.
                NotificationRead(NotificationRead) = "notification_read",
                /// All notifications were read.
                MarkAllRead(Empty) = "mark_all_read",
            }
        }
    }
}

messages! {
    [typed]
    {
        /// What the server may send.
        ServerMessage {
            connection {
                /// The first message.
                ConnectionEstablished(ConnectionEstablished) = "connection_established",
                /// A subscription begins.
                Subscribed(Box<Subscribed>) = "subscribed",
                /// A request succeeded; the fields are those of its result.
                Ack(Map<String, Value>) = "ack",
                /// A request, or a message that was none, was refused.
                Error(ErrorBody) = "error",
                /// Are you there?
                Ping(Empty) = "ping",
                /// Here.
                Pong(Empty) = "pong",
                /// The server will be replaced.
                Draining(Draining) = "draining",
                /// An application's own message, published over HTTP.
                AppMessage(AppMessage) = "app_message",
            }
            streams {
                /// Who is live.
                StreamsUpdate(StreamsUpdate) = "streams_update",
            }
            live {
                /// Media flows.
                StreamStarted(StreamStarted) = "stream_started",
                /// Title or tags changed.
                StreamUpdated(StreamUpdated) = "stream_updated",
                /// Tracks came, went, or were muted; none while the publisher is away.
                TracksChanged(TracksChanged) = "tracks_changed",
                /// The stream is over.
                StreamEnded(StreamEnded) = "stream_ended",
                /// The server offers to a viewer.
                WebrtcOffer(Sdp) = "webrtc_offer",
                /// The server answers a streamer.
                WebrtcAnswer(Sdp) = "webrtc_answer",
                /// A WebRTC connection of this session is gone.
                MediaClosed(MediaClosed) = "media_closed",
                /// This viewer cannot decode a track.
                WatchUnavailable(WatchUnavailable) = "watch_unavailable",
                /// This viewer's layer changed.
                QualityChanged(QualityChanged) = "quality_changed",
                /// How many watch.
                ViewersUpdate(ViewersUpdate) = "viewers_update",
                /// Somebody came.
                UserJoined(JoinLeave) = "user_joined",
                /// Somebody left.
                UserLeft(JoinLeave) = "user_left",
                /// A comment.
                Comment(CommentView) = "comment",
                /// A comment was deleted.
                CommentDeleted(CommentDeleted) = "comment_deleted",
                /// A user was kicked, banned, unbanned or timed out.
                UserModerated(UserModerated) = "user_moderated",
                /// Slow mode or the pinned comment changed.
                RoomSettings(RoomSettings) = "room_settings",
                /// Somebody's role changed.
                RoleChanged(RoleChanged) = "role_changed",
                /// Reactions of the last interval.
                ReactionsUpdate(ReactionsUpdate) = "reactions_update",
                /// How the publisher fares.
                StreamStats(StreamStats) = "stream_stats",
            }
            chat {
                /// A message in a room.
                ChatMessage(MessageView) = "chat_message",
                /// A message was edited.
                MessageEdited(MessageEdited) = "message_edited",
                /// A message was deleted.
                MessageDeleted(MessageDeleted) = "message_deleted",
                /// Somebody types, or no more.
                Typing(TypingView) = "typing",
                /// Messages have arrived at a member.
                MessageDelivered(PositionView) = "message_delivered",
                /// A member has read.
                MessageRead(PositionView) = "message_read",
                /// A member came or went.
                Presence(PresenceView) = "presence",
                /// A group changed.
                RoomUpdated(RoomUpdated) = "room_updated",
            }
            chats {
                /// A room in one's list changed.
                ChatUpdate(ChatUpdate) = "chat_update",
            }
            notifications {
                /// How many notifications are not read.
                UnreadCount(UnreadCount) = "unread_count",
                /// A notification.
                NewNotification(NotificationView) = "new_notification",
                /// Notifications of one window.
                NotificationBatch(NotificationBatch) = "notification_batch",
                /// A notification was read on another device.
                NotificationRead(NotificationRead) = "notification_read",
                /// All notifications were read on another device.
                MarkAllRead(Empty) = "mark_all_read",
                /// What one wants to hear changed.
                PreferencesUpdated(Preferences) = "preferences_updated",
            }
        }
    }
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

/// The refusal of a type that clients do not send.
fn unknown_type(kind: &str) -> Error {
    // What a client made up is not repeated at length.
    let shown: String = kind.chars().take(40).collect();
    Error::new(
        ErrorCode::UnknownType,
        format!("type: {shown:?} is not one that clients send"),
    )
}

impl ServerMessage {
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
