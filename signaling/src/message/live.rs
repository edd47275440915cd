//! Messages of the channels `live:<stream>` and `streams` (protocol section 4.5): what the server sends, and what goes both
//! ways. What clients alone send is in `live/client.rs`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::StreamSummary;
use crate::grants::User;
use crate::id::{StreamName, UserId};
use crate::media::{Kind, Layer, LayerReason, Track};
use crate::store::{Comment, Role};

mod client;

pub use client::{
    ById, GivenRole, Moderate, PinComment, Reaction, SetQuality, SetRole, SlowMode, StartStream,
    StopWatching, Timeout, Watch, WriteComment,
};

/// `webrtc_offer` and `webrtc_answer`, both directions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sdp {
    /// The WebRTC connection, as the `ack` of `start_stream` or `watch` named it.
    pub session: String,
    /// Session description.
    pub sdp: String,
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Descriptions hold addresses and credentials.
        f.write_str("Sdp(..)")
    }
}

/// `ice_candidate`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IceCandidate {
    /// The WebRTC connection.
    pub session: String,
    /// `RTCIceCandidate.candidate`; `null` or empty ends candidates.
    pub candidate: Option<String>,
    /// `RTCIceCandidate.sdpMid`; everything is bundled, so it decides nothing.
    #[serde(default)]
    pub sdp_mid: Option<String>,
}

impl fmt::Debug for IceCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceCandidate(..)")
    }
}

/// Somebody as others see them on a stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Display name.
    pub name: String,
    /// On this stream.
    pub role: Role,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person(.., {:?})", self.role)
    }
}

/// `state` of `live:<stream>` in `subscribed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LiveState {
    /// Whether media has been announced and the stream has not ended.
    pub live: bool,
    /// Name of the stream, when it is live.
    pub stream_id: Option<StreamName>,
    /// What it is called; empty when it is not live.
    pub title: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Since when.
    #[serde(with = "crate::time::wire_option")]
    pub started_at: Option<u64>,
    /// Whose it is, when it is live.
    pub streamer: Option<User>,
    /// Connections that watch.
    pub viewers: u64,
    /// What is published right now.
    pub tracks: Vec<Track>,
    /// What the subscriber is here.
    pub role: Role,
    /// What the subscriber may do here.
    pub permissions: Permissions,
    /// Slow mode and pinned comment.
    pub settings: SettingsView,
    /// The last comments, oldest first.
    pub comments: Vec<CommentView>,
    /// Until when the subscriber may not write.
    #[serde(with = "crate::time::wire_option")]
    pub timed_out_until: Option<u64>,
}

/// What a subscriber may do on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Permissions {
    /// Start, publish and end it.
    pub publish: bool,
    /// Delete comments; kick, ban, time out.
    pub moderate: bool,
    /// Comment and react.
    pub chat: bool,
}

/// Settings of a stream's comments, as clients see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingsView {
    /// 0 is off.
    pub slow_mode_seconds: u32,
    /// The pinned comment.
    pub pinned: Option<CommentView>,
}

/// `stream_started`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamStarted {
    /// Name of the stream.
    pub stream_id: StreamName,
    /// What it is called.
    pub title: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// When media first flowed.
    #[serde(with = "crate::time::wire")]
    pub started_at: u64,
    /// Whose it is.
    pub streamer: User,
    /// What is published.
    pub tracks: Vec<Track>,
}

/// `stream_updated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamUpdated {
    /// Name of the stream.
    pub stream_id: StreamName,
    /// What it is called now.
    pub title: String,
    /// Its tags now.
    pub tags: Vec<String>,
}

/// `tracks_changed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TracksChanged {
    /// Name of the stream.
    pub stream_id: StreamName,
    /// All tracks; none while the publisher is away.
    pub tracks: Vec<Track>,
}

/// `stream_ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamEnded {
    /// Name of the stream.
    pub stream_id: StreamName,
    /// Why.
    pub reason: EndReason,
    /// How long it was live.
    pub duration_ms: u64,
    /// Most viewers at one time.
    pub peak_viewers: u64,
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The streamer ended it.
    Ended,
    /// The publisher did not come back in time.
    PublisherLost,
    /// No media came after `start_stream`.
    NeverStarted,
    /// Ended over HTTP by its streamer or an admin.
    EndedByApi,
}

impl EndReason {
    /// The reason as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::PublisherLost => "publisher_lost",
            Self::NeverStarted => "never_started",
            Self::EndedByApi => "ended_by_api",
        }
    }
}

/// `media_closed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MediaClosed {
    /// The WebRTC connection that is gone.
    pub session: String,
    /// `replaced`, `stream_ended`, `refused`, `forbidden`, or what the media plane said.
    pub reason: String,
}

/// `watch_unavailable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WatchUnavailable {
    /// The WebRTC connection.
    pub session: String,
    /// Of the track that cannot be shown.
    pub kind: Kind,
    /// What it is encoded with.
    pub codec: String,
}

/// `quality_changed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QualityChanged {
    /// The WebRTC connection.
    pub session: String,
    /// What is received from here on.
    pub layer: Layer,
    /// Why.
    pub reason: LayerReason,
}

/// `viewers_update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ViewersUpdate {
    /// Connections that watch.
    pub count: u64,
}

/// `user_joined` and `user_left`: one `user`, or several `users` at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JoinLeave {
    /// The one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Person>,
    /// Some of the several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<Person>>,
    /// Connections that watch now.
    pub count: u64,
}

/// `comment`, from the server, and wherever else a comment is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommentView {
    /// For deleting and pinning, and for dropping repeats.
    pub id: String,
    /// Who wrote it: the server's word.
    pub user: Person,
    /// What is said.
    pub text: String,
    /// True for those of the streamer.
    pub highlighted: bool,
    /// When it was accepted.
    #[serde(with = "crate::time::wire")]
    pub created_at: u64,
    /// What the writer's client called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
}

impl From<&Comment> for CommentView {
    fn from(comment: &Comment) -> Self {
        Self {
            id: comment.id.clone(),
            user: Person {
                id: comment.user.id.clone(),
                name: comment.user.name.clone(),
                role: comment.role,
            },
            text: comment.text.clone(),
            highlighted: comment.highlighted,
            created_at: comment.created_at_ms,
            client_id: comment.client_id.clone(),
        }
    }
}

/// `comment_deleted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CommentDeleted {
    /// Which.
    pub id: String,
    /// Who deleted it.
    pub by: UserId,
}

/// `user_moderated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UserModerated {
    /// Who.
    pub user_id: UserId,
    /// What happened.
    pub action: Action,
    /// Who did it.
    pub by: UserId,
    /// For how long: timeouts and kicks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Until when, likewise.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::time::wire_option"
    )]
    pub until: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a moderator did to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sent away for a moment.
    Kick,
    /// Kept out.
    Ban,
    /// Let in, and let write, again.
    Unban,
    /// Kept from writing.
    Timeout,
}

/// `room_settings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomSettings {
    /// All of them.
    #[serde(flatten)]
    pub settings: SettingsView,
    /// Who changed them.
    pub by: UserId,
}

/// `role_changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoleChanged {
    /// Whose.
    pub user_id: UserId,
    /// What they are now.
    pub role: GivenRole,
    /// Who changed it.
    pub by: UserId,
}

/// `reactions_update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReactionsUpdate {
    /// How often each emoji came in the last interval.
    pub counts: BTreeMap<String, u32>,
}

/// `stream_stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamStats {
    /// Bits a second received, all layers.
    pub bitrate: u64,
    /// Of the best video layer.
    pub fps: u16,
    /// Round trip, when known.
    pub rtt_ms: Option<f64>,
    /// 0 to 1, before repair.
    pub loss: f32,
    /// Of the video track, lowest first.
    pub layers: Vec<Layer>,
    /// Connections that watch.
    pub viewers: u64,
}

/// `streams_update`, and `state` of `streams`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StreamsUpdate {
    /// Who is live, longest running first, as many as one message holds.
    pub streams: Vec<StreamSummary>,
}
