//! Messages about the connection itself (protocol section 4.2).

use serde::{Deserialize, Serialize};

use serde_json::{Map, Value};

use super::chat::{ChatState, ChatsState};
use super::live::{LiveState, StreamsUpdate};
use super::notifications::NotificationsState;
use crate::id::{Channel, UserId};

/// No fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Empty {}

/// `subscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subscribe {
    /// `live:<stream>`, `chat:<room>`, `streams`, `chats` or `notifications`; checked where it is used, so that an unknown kind is `not_found`.
    pub channel: String,
    /// The last position the client has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Position>,
}

/// A position in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// Of which life of the channel.
    pub epoch: String,
    /// The last message seen.
    pub seq: u64,
}

/// `unsubscribe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unsubscribe {
    /// Which.
    pub channel: String,
}

/// `refresh_token`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RefreshToken {
    /// A JWT of the same user.
    pub token: String,
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(..)")
    }
}

/// `connection_established`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConnectionEstablished {
    /// The server's word on who this is.
    pub user_id: UserId,
    /// Stays the same when the session is resumed.
    pub session_id: String,
    /// Display name.
    pub name: String,
    /// How long a session may be silent before it is pinged.
    pub heartbeat_ms: u64,
    /// For clients that show countdowns.
    #[serde(with = "crate::time::wire")]
    pub server_time: u64,
    /// Presented as `?resume=` within the resume window, it gives this session back.
    pub resume_token: String,
    /// Whether an earlier session was taken up.
    pub resumed: bool,
}

impl std::fmt::Debug for ConnectionEstablished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionEstablished(..)")
    }
}

/// `subscribed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Subscribed {
    /// Which channel.
    pub channel: Channel,
    /// The life of the channel in which `seq` counts.
    pub epoch: String,
    /// The next persistent message of the channel carries `seq + 1`.
    pub seq: u64,
    /// Whether everything since the position in `subscribe` follows without a gap.
    pub recovered: bool,
    /// How things stand.
    pub state: ChannelState,
}

/// How things stand in a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum ChannelState {
    /// A live stream.
    Live(Box<LiveState>),
    /// A chat room.
    Chat(Box<ChatState>),
    /// One's rooms.
    Chats(ChatsState),
    /// One's notifications.
    Notifications(NotificationsState),
    /// The directory.
    Streams(StreamsUpdate),
}

/// `draining`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Draining {
    /// When to come back; different for every session.
    pub reconnect_after_ms: u64,
}

/// `app_message`: what an application published to a channel over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AppMessage {
    /// What the application calls it, 1 to 64 of `a-z0-9_.-`.
    pub kind: String,
    /// Up to 16 KiB of JSON.
    pub payload: Map<String, Value>,
}
