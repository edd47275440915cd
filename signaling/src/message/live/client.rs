//! What clients send on a channel `live:<stream>`.

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::UserId;
use crate::media::Quality;
use crate::message::text::Text;

/// `start_stream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StartStream {
    /// What the stream is called.
    pub title: Text<1, 140>,
    /// Up to 10 tags.
    #[serde(default, deserialize_with = "up_to_10")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10)))]
    pub tags: Vec<Text<1, 32>>,
}

fn up_to_10<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Text<1, 32>>, D::Error> {
    let tags = Vec::<Text<1, 32>>::deserialize(d)?;
    if tags.len() > 10 {
        return Err(serde::de::Error::custom("expected at most 10 tags"));
    }
    Ok(tags)
}

/// `watch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Watch {
    /// Which layer.
    pub quality: Quality,
    /// Nothing but audio.
    pub audio_only: bool,
}

/// `stop_watching`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct StopWatching {
    /// The WebRTC connection; without it, the one that watches the stream of the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// `set_quality`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetQuality {
    /// Which layer.
    pub quality: Quality,
    /// Nothing but audio; without it, as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_only: Option<bool>,
}

/// `comment`, from a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WriteComment {
    /// What is said.
    pub text: Text<1, 500>,
    /// Chosen by the client: a repeat is acknowledged with the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text<1, 64>>,
}

/// `delete_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ById {
    /// Of the comment.
    pub id: Text<1, 64>,
}

/// `kick`, `ban`, `unban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Moderate {
    /// Whom.
    pub user_id: UserId,
    /// Why; the user reads it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text<0, 200>>,
}

/// `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SlowMode {
    /// Between two comments of one viewer; 0 is off.
    pub seconds: u32,
}

/// `pin_comment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PinComment {
    /// Of a recent comment; `null` unpins.
    pub id: Option<Text<1, 64>>,
}

/// `set_role`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetRole {
    /// Whose.
    pub user_id: UserId,
    /// `viewer` takes a role away.
    pub role: GivenRole,
}

/// A role that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

#[cfg(test)]
mod tests {
    use super::*;

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
