//! What a session may publish, watch, say and moderate.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Channel, RoomId, StreamName, UserId};

/// Who somebody is: the `sub` and `name` claims of a verified token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct User {
    /// Stable identity; bans and roles are kept under it.
    pub id: UserId,
    /// Display name, 1 to 64 characters.
    pub name: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User(..)")
    }
}

/// Somebody who connects or asks, with what the token grants. Only the shell's verification makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub user: User,
    /// What the token allows.
    pub grants: Grants,
    /// When the token ends, unix milliseconds.
    pub expires_at_ms: u64,
}

/// The `grants` claim of a token. Absent fields have the contract's defaults: watch and chat everything, publish and
/// moderate nothing. Unknown fields are ignored, as JWT claims are (RFC 7519 section 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    /// Streams this user owns: may start, publish, end, and moderate.
    pub publish: Scope,
    /// Streams this user may watch and listen to.
    pub watch: Scope,
    /// Streams this user may moderate.
    pub moderate: Scope,
    /// Streams and rooms this user may write in.
    pub chat: Scope,
    /// Everything, everywhere.
    pub admin: bool,
}

impl Default for Grants {
    fn default() -> Self {
        Self {
            publish: Scope::none(),
            watch: Scope::all(),
            moderate: Scope::none(),
            chat: Scope::all(),
            admin: false,
        }
    }
}

impl Grants {
    /// Whether the stream is the caller's own.
    #[must_use]
    pub fn may_publish(&self, stream: &StreamName) -> bool {
        self.admin || self.publish.contains(stream.as_str())
    }

    /// Whether the caller may watch the stream. Who may publish or moderate it may also see it.
    #[must_use]
    pub fn may_watch(&self, stream: &StreamName) -> bool {
        self.watch.contains(stream.as_str()) || self.may_moderate(stream)
    }

    /// Whether the token makes the caller a moderator of the stream.
    #[must_use]
    pub fn may_moderate(&self, stream: &StreamName) -> bool {
        self.moderate.contains(stream.as_str()) || self.may_publish(stream)
    }

    /// Whether the caller may comment and react on the stream.
    #[must_use]
    pub fn may_chat(&self, stream: &StreamName) -> bool {
        self.chat.contains(stream.as_str()) || self.may_moderate(stream)
    }

    /// Whether the token lets the caller into the chat room, if it is a member.
    #[must_use]
    pub fn may_enter(&self, room: &RoomId) -> bool {
        self.admin || self.chat.contains(room.as_str())
    }

    /// Whether the caller may subscribe to the channel.
    #[must_use]
    pub fn may_subscribe(&self, channel: &Channel) -> bool {
        match channel {
            Channel::Live(stream) => self.may_watch(stream),
            Channel::Chat(room) => self.may_enter(room),
            Channel::Streams | Channel::Chats | Channel::Notifications => true,
        }
    }
}

/// A list of ids, or everything (`"*"`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Scope {
    all: bool,
    names: BTreeSet<String>,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            all: true,
            names: BTreeSet::new(),
        }
    }

    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether everything is in it.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.all
    }

    /// Whether `name` is in it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

impl From<Vec<String>> for Scope {
    fn from(list: Vec<String>) -> Self {
        list.into_iter().collect()
    }
}

impl<S: Into<String>> FromIterator<S> for Scope {
    fn from_iter<I: IntoIterator<Item = S>>(list: I) -> Self {
        let mut scope = Self::none();
        for name in list {
            let name = name.into();
            if name == "*" {
                scope.all = true;
            } else {
                scope.names.insert(name);
            }
        }
        scope
    }
}

impl From<Scope> for Vec<String> {
    fn from(scope: Scope) -> Self {
        let all = scope.all.then(|| "*".to_owned());
        all.into_iter().chain(scope.names).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::new(name).expect("a valid name")
    }

    #[test]
    fn absent_grants_watch_and_chat_everywhere_and_nothing_else() {
        let grants: Grants = serde_json::from_str("{}").expect("an object");
        assert_eq!(grants, Grants::default());
        let ana = stream("ana");
        assert!(grants.may_watch(&ana) && grants.may_chat(&ana));
        assert!(!grants.may_publish(&ana) && !grants.may_moderate(&ana) && !grants.admin);
    }

    #[test]
    fn a_scope_reaches_exactly_what_it_names() {
        let grants: Grants =
            serde_json::from_str(r#"{"publish":["ana"],"watch":[],"chat":[],"new_claim":1}"#)
                .expect("an object");
        let (ana, bo) = (stream("ana"), stream("bo"));
        assert!(grants.may_publish(&ana) && grants.may_watch(&ana) && grants.may_chat(&ana));
        assert!(!grants.may_publish(&bo) && !grants.may_watch(&bo) && !grants.may_chat(&bo));
        assert!(!grants.may_subscribe(&Channel::Live(bo)));
    }

    #[test]
    fn an_admin_may_everything() {
        let grants: Grants =
            serde_json::from_str(r#"{"admin":true,"watch":[],"chat":[]}"#).expect("an object");
        let ana = stream("ana");
        assert!(grants.may_publish(&ana) && grants.may_moderate(&ana) && grants.may_chat(&ana));
    }
}
