//! Names of people, streams, sessions and channels, validated once at the edge.
//!
//! What identifies a person has no readable `Debug`, so that it cannot slip into a log line.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name of a user, stream or room, in characters.
pub const NAME_CHARACTERS_MAX: usize = 64;

/// Why a name was refused; the text says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected 1 to 64 of A-Z a-z 0-9 _ . -")]
pub struct InvalidName {
    what: &'static str,
}

fn is_name(text: &str) -> bool {
    (1..=NAME_CHARACTERS_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// A user, 1 to 64 of `A-Za-z0-9_.-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// Checks and takes a user id.
    ///
    /// # Errors
    /// When it is not 1 to 64 of `A-Za-z0-9_.-`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(InvalidName { what: "user id" })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(..)")
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0
    }
}

/// A live stream, 1 to 64 of `A-Za-z0-9_.-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// Checks and takes a stream name.
    ///
    /// # Errors
    /// When it is not 1 to 64 of `A-Za-z0-9_.-`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(InvalidName { what: "stream" })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for StreamName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

/// A chat room, 1 to 64 of `A-Za-z0-9_.-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoomId(String);

impl RoomId {
    /// Checks and takes a room id.
    ///
    /// # Errors
    /// When it is not 1 to 64 of `A-Za-z0-9_.-`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
        let text = text.into();
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(InvalidName { what: "room" })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RoomId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> Self {
        id.0
    }
}

/// One WebSocket; the shell counts these up and never uses a number twice.
///
/// A session that resumes on a new socket keeps its wire identity and gets the new socket's number here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One request that came over HTTP; the shell counts these up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A named, ordered stream of messages that sessions subscribe to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Channel {
    /// `live:<stream>`: one live stream with its comments.
    Live(StreamName),
    /// `streams`: who is live, for everybody.
    Streams,
    /// `chat:<room>`: one chat room, for its members.
    Chat(RoomId),
    /// `chats`: the list of one's own rooms.
    Chats,
    /// `notifications`: one's own notifications.
    Notifications,
}

/// Why a channel name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannel {
    /// There is no such kind of channel.
    #[error("channel: expected live:<stream>, chat:<room>, streams, chats or notifications")]
    UnknownKind,
    /// The kind is known, the name behind the colon is not one.
    #[error("channel: {0}")]
    Name(#[from] InvalidName),
}

impl Channel {
    /// Reads a channel name.
    ///
    /// # Errors
    /// When the kind is unknown or the name behind it is not a name.
    pub fn parse(text: &str) -> Result<Self, InvalidChannel> {
        match text.split_once(':') {
            Some(("live", stream)) => Ok(Self::Live(StreamName::new(stream)?)),
            Some(("chat", room)) => Ok(Self::Chat(RoomId::new(room)?)),
            None if text == "streams" => Ok(Self::Streams),
            None if text == "chats" => Ok(Self::Chats),
            None if text == "notifications" => Ok(Self::Notifications),
            _ => Err(InvalidChannel::UnknownKind),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Live(stream) => write!(f, "live:{stream}"),
            Self::Streams => f.write_str("streams"),
            Self::Chat(room) => write!(f, "chat:{room}"),
            Self::Chats => f.write_str("chats"),
            Self::Notifications => f.write_str("notifications"),
        }
    }
}

impl TryFrom<String> for Channel {
    type Error = InvalidChannel;

    fn try_from(text: String) -> Result<Self, InvalidChannel> {
        Self::parse(&text)
    }
}

impl From<Channel> for String {
    fn from(channel: Channel) -> Self {
        channel.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_alphabet_or_length_are_refused() {
        let longest = "a".repeat(64);
        let too_long = "a".repeat(65);
        for good in ["a", "Ana_1.x-y", longest.as_str()] {
            assert!(StreamName::new(good).is_ok(), "{good}");
            assert!(UserId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "ä", "a/b", "a\0", too_long.as_str()] {
            assert!(StreamName::new(bad).is_err(), "{bad}");
            assert!(UserId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_are_read_as_they_are_written() {
        for text in ["live:ana", "streams", "chat:7", "chats", "notifications"] {
            assert_eq!(
                Channel::parse(text).map(|c| c.to_string()).as_deref(),
                Ok(text)
            );
        }
        for bad in [
            "",
            "live",
            "live:",
            "live:a b",
            "chat:",
            "streams:x",
            "LIVE:ana",
        ] {
            assert!(Channel::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_do_not_show_in_debug_output() {
        let user = UserId::new("ana-secret").expect("a valid name");
        assert!(!format!("{user:?}").contains("ana"));
    }
}
