//! Notifications as a store keeps them.

use super::chat::Chats;
use crate::store::StoreError;
use crate::store::notifications::{NotificationOk, NotificationOp};

/// Everybody's notifications.
#[derive(Debug, Default)]
pub struct Notifications {}

impl Notifications {
    /// Carries out a request.
    ///
    /// # Errors
    /// As the request says.
    pub fn carry_out(
        &mut self,
        _op: &NotificationOp,
        _chat: &Chats,
    ) -> Result<NotificationOk, StoreError> {
        Err(StoreError::Unavailable("not simulated".to_owned()))
    }
}
