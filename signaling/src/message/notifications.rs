//! Messages of the channel `notifications` (protocol section 4.4).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::Text;
use crate::grants::User;
use crate::store::notifications::{Notification, Preferences, Priority};

/// `notification_read`, both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationRead {
    /// Which.
    pub id: Text<1, 64>,
}

/// `unread_count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadCount {
    /// How many are not read; a folded one counts once.
    pub count: u64,
}

/// `new_notification`, and one in a batch or list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationView {
    /// Unique; a folded one keeps the id of its first.
    pub id: String,
    /// Its position among one's notifications.
    pub seq: u64,
    /// One of the contract's kinds or another.
    pub kind: String,
    /// How urgent.
    pub priority: Priority,
    /// Of the newest event in it.
    pub message: String,
    /// Who did it.
    pub actor: Option<User>,
    /// What it is about.
    pub target: Option<Map<String, Value>>,
    /// What it folds by.
    pub group_key: Option<String>,
    /// How many events are in it.
    pub count: u64,
    /// When the newest event in it happened.
    #[serde(with = "crate::time::wire")]
    pub created_at: u64,
    /// Whether it was read.
    pub read: bool,
}

impl From<Notification> for NotificationView {
    fn from(stored: Notification) -> Self {
        Self {
            id: stored.id,
            seq: stored.seq,
            kind: stored.kind,
            priority: stored.priority,
            message: stored.message,
            actor: stored.actor,
            target: stored.target,
            group_key: stored.group_key,
            count: stored.count,
            created_at: stored.created_at_ms,
            read: stored.read_at_ms.is_some(),
        }
    }
}

/// `notification_batch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationBatch {
    /// Oldest first.
    pub notifications: Vec<NotificationView>,
}

/// `subscribed.state` of `notifications`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NotificationsState {
    /// How many are not read.
    pub unread: u64,
    /// What the user wants to hear.
    pub preferences: Preferences,
}
