//! What joins nodes: everything said to a channel goes out as a [`Publication`] and comes back as one, to this hub as to
//! every other. On one node the shell hands it straight back.

use crate::id::{Channel, UserId};
use crate::message::ServerMessage;
use crate::message::connection::Position;

/// Something said to a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Where.
    pub channel: Channel,
    /// Who of its subscribers hears it.
    pub audience: Audience,
    /// Its position, when it is one of those that nobody may miss.
    pub position: Option<Position>,
    /// What.
    pub message: ServerMessage,
    /// Its timestamp, unix milliseconds.
    pub at_ms: u64,
}

/// Who hears a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every subscriber.
    All,
    /// The streamer and moderators of a live stream.
    Staff,
    /// Every subscriber but the sessions of some users.
    Except(Vec<UserId>),
    /// The sessions of one user.
    User(UserId),
    /// The sessions of some users. Personal channels have no other audience than these two.
    Users(Vec<UserId>),
    /// The sessions of one user but one, which said it and was answered.
    Elsewhere {
        /// Whose.
        user: UserId,
        /// `session_id` of the one.
        session: String,
    },
}
