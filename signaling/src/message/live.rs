//! Messages of the channels `live:<stream>` and `streams` (protocol section 4.5).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::api::StreamSummary;
use crate::grants::User;
use crate::id::{StreamName, UserId};
use crate::media::{Kind, Layer, LayerReason, Quality, Track};
use crate::store::{Comment, Role};

/// Text of `MIN` to `MAX` characters, without control characters other than line breaks and tabs, and not only space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Checks and takes a text; space around it is removed.
    ///
    /// # Errors
    /// What was expected.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // A character is at least one byte, so what is longer in bytes need not be counted further than that.
        if text.len() > MAX * 4 || !(MIN..=MAX).contains(&text.chars().count()) {
            return Err(format!("expected {MIN} to {MAX} characters"));
        }
        if text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
        {
            return Err("expected text without control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, taken.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// `start_stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartStream {
    /// What the stream is called.
    pub title: Text<1, 140>,
    /// Up to 10 tags.
    #[serde(default, deserialize_with = "up_to_10")]
    pub tags: Vec<Text<1, 32>>,
}

fn up_to_10<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Text<1, 32>>, D::Error> {
    let tags = Vec::<Text<1, 32>>::deserialize(d)?;
    if tags.len() > 10 {
        return Err(serde::de::Error::custom("expected at most 10 tags"));
    }
    Ok(tags)
}

/// `webrtc_offer` and `webrtc_answer`, both directions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// `watch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// Which layer.
    pub quality: Quality,
    /// Nothing but audio.
    pub audio_only: bool,
}

/// `stop_watching`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopWatching {
    /// The WebRTC connection; without it, the one that watches the stream of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// `set_quality`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetQuality {
    /// Which layer.
    pub quality: Quality,
    /// Nothing but audio; without it, as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_only: Option<bool>,
}

/// `comment`, from a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteComment {
    /// What is said.
    pub text: Text<1, 500>,
    /// Chosen by the client: a repeat is acknowledged with the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text<1, 64>>,
}

/// `delete_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ById {
    /// Of the comment.
    pub id: Text<1, 64>,
}

/// `kick`, `ban`, `unban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moderate {
    /// Whom.
    pub user_id: UserId,
    /// Why; the user reads it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<0, 200>>,
}

/// `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// Whom.
    pub user_id: UserId,
    /// For how long.
    pub seconds: u64,
    /// Why; the user reads it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<0, 200>>,
}

/// `slow_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowMode {
    /// Between two comments of one viewer; 0 is off.
    pub seconds: u32,
}

/// `pin_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinComment {
    /// Of a recent comment; `null` unpins.
    pub id: Option<Text<1, 64>>,
}

/// `set_role`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetRole {
    /// Whose.
    pub user_id: UserId,
    /// `viewer` takes a role away.
    pub role: GivenRole,
}

/// A role that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GivenRole {
    /// None.
    Viewer,
    /// Free of slow mode.
    Vip,
    /// May moderate.
    Moderator,
}

/// `reaction`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// One emoji, at most 16 bytes.
    #[serde(deserialize_with = "emoji")]
    pub emoji: String,
}

fn emoji<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if is_emoji(&text) {
        Ok(text)
    } else {
        Err(serde::de::Error::custom(
            "expected one emoji of at most 16 bytes",
        ))
    }
}

/// Whether a text looks like emoji: symbols of the blocks that hold them, with joiners, variation selectors, skin tones
/// and flags. Letters, digits and space are none, so counts cannot be used to write.
fn is_emoji(text: &str) -> bool {
    let is_symbol = |c: char| {
        matches!(u32::from(c),
            0x00A9 | 0x00AE | 0x203C | 0x2049 | 0x2122 | 0x2139 | 0x2190..=0x21FF | 0x2300..=0x27BF
            | 0x2934 | 0x2935 | 0x2B00..=0x2BFF | 0x3030 | 0x303D | 0x3297 | 0x3299
            | 0x1F000..=0x1FAFF)
    };
    let is_modifier = |c: char| matches!(u32::from(c), 0x200D | 0x20E3 | 0xFE0E | 0xFE0F);
    (1..=16).contains(&text.len())
        && text.chars().next().is_some_and(is_symbol)
        && text.chars().all(|c| is_symbol(c) || is_modifier(c))
}

/// Somebody as others see them on a stream.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct SettingsView {
    /// 0 is off.
    pub slow_mode_seconds: u32,
    /// The pinned comment.
    pub pinned: Option<CommentView>,
}

/// `stream_started`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
pub struct TracksChanged {
    /// Name of the stream.
    pub stream_id: StreamName,
    /// All tracks; none while the publisher is away.
    pub tracks: Vec<Track>,
}

/// `stream_ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct MediaClosed {
    /// The WebRTC connection that is gone.
    pub session: String,
    /// `replaced`, `stream_ended`, `refused`, `forbidden`, or what the media plane said.
    pub reason: String,
}

/// `watch_unavailable`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct ViewersUpdate {
    /// Connections that watch.
    pub count: u64,
}

/// `user_joined` and `user_left`: one `user`, or several `users` at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct CommentDeleted {
    /// Which.
    pub id: String,
    /// Who deleted it.
    pub by: UserId,
}

/// `user_moderated`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct RoomSettings {
    /// All of them.
    #[serde(flatten)]
    pub settings: SettingsView,
    /// Who changed them.
    pub by: UserId,
}

/// `role_changed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct ReactionsUpdate {
    /// How often each emoji came in the last interval.
    pub counts: BTreeMap<String, u32>,
}

/// `stream_stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
pub struct StreamsUpdate {
    /// Who is live, longest running first, as many as one message holds.
    pub streams: Vec<StreamSummary>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_in_characters_and_trimmed() {
        assert_eq!(
            Text::<1, 5>::new("  héllo ").map(Text::into_string),
            Ok("héllo".to_owned())
        );
        assert!(Text::<1, 5>::new("hello!").is_err());
        assert!(Text::<1, 5>::new("   ").is_err());
        assert!(Text::<1, 5>::new("a\0b").is_err());
        assert!(Text::<1, 5>::new("a\nb").is_ok());
    }

    #[test]
    fn reactions_are_emoji_and_nothing_else() {
        for good in ["❤️", "🔥", "👏🏽", "🇪🇸", "👩‍💻", "☕"] {
            assert!(is_emoji(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "1",
            " ",
            "🔥a",
            "hello",
            "\u{FE0F}",
            "🔥🔥🔥🔥🔥",
            "<b>",
        ] {
            assert!(!is_emoji(bad), "{bad}");
        }
    }
}
