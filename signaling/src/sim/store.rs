//! A store in memory that keeps what a real one keeps, by the same rules.

use crate::store::{StoreError, StoreOk, StoreOp};

pub mod chat;
mod live;
pub mod notifications;

use chat::Chats;
use live::Streams;
use notifications::Notifications;

/// Everything that is stored.
#[derive(Debug, Default)]
pub struct Store {
    streams: Streams,
    /// Rooms, messages, users and blocks.
    pub chat: Chats,
    /// Notifications, preferences and followers.
    pub notifications: Notifications,
}

impl Store {
    /// Carries out a request. Tests call it to write behind the back of the hub, as another node would.
    ///
    /// # Errors
    /// As the request says.
    pub fn carry_out(&mut self, op: &StoreOp) -> Result<StoreOk, StoreError> {
        match op {
            StoreOp::Chat(op) => self.chat.carry_out(op).map(StoreOk::Chat),
            StoreOp::Notifications(op) => self
                .notifications
                .carry_out(op, &self.chat)
                .map(StoreOk::Notifications),
            StoreOp::LoadStream { .. }
            | StoreOp::AddComment(_)
            | StoreOp::DeleteComment { .. }
            | StoreOp::Ban(_)
            | StoreOp::Unban { .. }
            | StoreOp::Timeout(_)
            | StoreOp::SetRole { .. }
            | StoreOp::SaveSettings { .. }
            | StoreOp::StreamStarted(_)
            | StoreOp::StreamEnded(_) => self.streams.carry_out(op),
        }
    }
}
