//! What the hub asks of *some* store, and what it hears back.
//!
//! Every request is answered exactly once, requests about one stream, room or user in the order they were made. Times are unix
//! milliseconds. The structs are plain, so that the shell can map them onto rows.

use serde::{Deserialize, Serialize};

use crate::grants::User;
use crate::id::{StreamName, UserId};

pub mod chat;
pub mod notifications;

use chat::{ChatOk, ChatOp};
use notifications::{NotificationOk, NotificationOp};

/// Number of a request; the hub counts these up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreId(pub u64);

/// Something to read or write durably.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRequest {
    /// Comes back in the reply.
    pub id: StoreId,
    /// What to do.
    pub op: StoreOp,
}

/// The answer to a [`StoreRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoreReply {
    /// Of the request.
    pub id: StoreId,
    /// What came of it.
    pub result: Result<StoreOk, StoreError>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// Reads what is known about a stream; an unknown one is empty. Answered by [`StoreOk::Loaded`].
    LoadStream {
        /// Which stream.
        stream: StreamName,
        /// How many of the last comments that are not deleted.
        comments: usize,
    },
    /// Appends a comment. When the same user already has one with the same `client_id` on this stream, nothing is
    /// written and that first one is answered. Answered by [`StoreOk::Comment`].
    AddComment(Comment),
    /// Marks a comment as deleted. [`StoreError::NotFound`] when there is none (or no more).
    DeleteComment {
        /// Which stream.
        stream: StreamName,
        /// Which comment.
        id: String,
        /// Who deleted it.
        by: UserId,
        /// When.
        at_ms: u64,
    },
    /// Bans a user from a stream; a ban that exists is replaced, a timeout too.
    Ban(Ban),
    /// Lifts a ban and a timeout. Done also when there was none.
    Unban {
        /// Which stream.
        stream: StreamName,
        /// Who may come back.
        user: UserId,
        /// Who allowed it.
        by: UserId,
        /// When.
        at_ms: u64,
    },
    /// Keeps a user from writing until a moment; replaces an earlier timeout.
    Timeout(Timeout),
    /// Gives a user a role; `None` takes it away.
    SetRole {
        /// Which stream.
        stream: StreamName,
        /// Whose role.
        user: UserId,
        /// The role, or none.
        role: Option<StoredRole>,
        /// Who gave it.
        by: UserId,
        /// When.
        at_ms: u64,
    },
    /// Keeps the settings of a stream's comments.
    SaveSettings {
        /// Which stream.
        stream: StreamName,
        /// All of them.
        settings: Settings,
    },
    /// Records that a stream went live.
    StreamStarted(StreamStarted),
    /// Records that it ended.
    StreamEnded(StreamEnded),
    /// Rooms and their messages. Answered by [`StoreOk::Chat`].
    Chat(ChatOp),
    /// Notifications. Answered by [`StoreOk::Notifications`].
    Notifications(NotificationOp),
}

/// What a store answers.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreOk {
    /// What is known about a stream.
    Loaded(StreamState),
    /// The comment as stored: the one handed in, or the first with that `client_id`.
    Comment(Comment),
    /// Written.
    Done,
    /// To [`StoreOp::Chat`].
    Chat(ChatOk),
    /// To [`StoreOp::Notifications`].
    Notifications(NotificationOk),
}

/// Why a store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing there to change.
    #[error("not found")]
    NotFound,
    /// There, but not of whoever wants to change it.
    #[error("forbidden")]
    Forbidden,
    /// Full, locked or lost; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// The durable state of a stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// Who is banned.
    pub bans: Vec<Ban>,
    /// Who may not write, and until when. Those in the past may be left out.
    pub timeouts: Vec<Timeout>,
    /// Who has a role.
    pub roles: Vec<RoleEntry>,
    /// Settings of the comments.
    pub settings: Settings,
    /// The pinned comment, when `settings` names one.
    pub pinned: Option<Comment>,
    /// The last comments, oldest first.
    pub comments: Vec<Comment>,
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Which stream.
    pub stream: StreamName,
    /// Who must stay away.
    pub user: UserId,
    /// Who said so.
    pub by: UserId,
    /// Why, up to 200 characters.
    pub reason: Option<String>,
    /// When.
    pub at_ms: u64,
}

/// A timeout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// Which stream.
    pub stream: StreamName,
    /// Who may not write.
    pub user: UserId,
    /// Who said so.
    pub by: UserId,
    /// Why, up to 200 characters.
    pub reason: Option<String>,
    /// When it was said.
    pub at_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// A role that is given and kept; the others come from tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredRole {
    /// Free of slow mode, marked in comments.
    Vip,
    /// May moderate.
    Moderator,
}

/// One user's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleEntry {
    /// Who.
    pub user: UserId,
    /// What.
    pub role: StoredRole,
}

/// Settings of a stream's comments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Seconds between two comments of one viewer; 0 is off.
    pub slow_mode_seconds: u32,
    /// Id of the pinned comment.
    pub pinned_comment: Option<String>,
}

/// A role as comments carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Anyone.
    Viewer,
    /// Set by the streamer or a moderator.
    Vip,
    /// By token, or set by the streamer.
    Moderator,
    /// Owner of the stream, by token.
    Streamer,
}

/// A stored comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// 32 hex digits.
    pub id: String,
    /// Which stream.
    pub stream: StreamName,
    /// Who wrote it.
    pub user: User,
    /// Role of the writer when it was written.
    pub role: Role,
    /// 1 to 500 characters.
    pub text: String,
    /// True for those of the streamer.
    pub highlighted: bool,
    /// What the client called it; unique per user and stream.
    pub client_id: Option<String>,
    /// When.
    pub created_at_ms: u64,
}

/// A stream went live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStarted {
    /// Which stream.
    pub stream: StreamName,
    /// This run of it, 32 hex digits, unique.
    pub run: String,
    /// Who publishes.
    pub publisher: UserId,
    /// Up to 140 characters.
    pub title: String,
    /// Up to 10.
    pub tags: Vec<String>,
    /// When.
    pub at_ms: u64,
}

/// A stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnded {
    /// Which stream.
    pub stream: StreamName,
    /// The run that ended.
    pub run: String,
    /// Why, as in `stream_ended`.
    pub reason: String,
    /// How long it was live.
    pub duration_ms: u64,
    /// Most viewers at one time.
    pub peak_viewers: u64,
    /// When.
    pub at_ms: u64,
}
