//! Notifications in the store: folded rows, unread counts, preferences, followers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::grants::User;
use crate::id::{StreamName, UserId};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum NotificationOp {
    /// Stores a notification for each recipient. One who has muted its kind or blocks its actor gets none; one who has an
    /// unread one of the same kind and `group_key` gets that one with a higher `count`, a new `seq` and the new message,
    /// actor and target. Answered by [`NotificationOk::Added`].
    Add(NewNotification),
    /// What a subscription needs. Answered by [`NotificationOk::Loaded`].
    Load {
        /// Whose.
        user: UserId,
        /// Also everything with a larger `seq`, when that is at most `limit`.
        since: Option<u64>,
        /// How many at most.
        limit: usize,
    },
    /// A page of a user's notifications, newest first. Answered by [`NotificationOk::Listed`].
    List {
        /// Whose.
        user: UserId,
        /// Only those that are not read.
        unread_only: bool,
        /// Only those with a smaller `seq`.
        before: Option<u64>,
        /// How many at most.
        limit: usize,
    },
    /// Marks one as read. Done also when it was. Answered by [`NotificationOk::Read`];
    /// [`super::StoreError::NotFound`] when the user has no such notification.
    MarkRead {
        /// Whose.
        user: UserId,
        /// Which.
        id: String,
        /// When.
        at_ms: u64,
    },
    /// Marks all as read. Answered by [`NotificationOk::Read`].
    MarkAllRead {
        /// Whose.
        user: UserId,
        /// When.
        at_ms: u64,
    },
    /// Marks the unread ones of a group as read, of whatever kind. Answered by [`NotificationOk::GroupRead`], also when there
    /// were none.
    MarkGroupRead {
        /// Whose.
        user: UserId,
        /// Which.
        group_key: String,
        /// When.
        at_ms: u64,
    },
    /// Answered by [`NotificationOk::Preferences`]; a user who never set any has the default.
    LoadPreferences {
        /// Whose.
        user: UserId,
    },
    /// Answered by [`NotificationOk::Preferences`].
    SavePreferences {
        /// Whose.
        user: UserId,
        /// All of them.
        preferences: Preferences,
    },
    /// Changes who follows a stream. Answered by [`NotificationOk::Followers`] without names, or by
    /// [`NotificationOk::FollowersFull`].
    ChangeFollowers {
        /// Which.
        stream: StreamName,
        /// How.
        change: FollowerChange,
        /// No follower is added to so many.
        limit: usize,
        /// When.
        at_ms: u64,
    },
    /// A page of a stream's followers, by user id. Answered by [`NotificationOk::Followers`].
    ListFollowers {
        /// Which.
        stream: StreamName,
        /// Only those behind this one.
        after: Option<UserId>,
        /// How many at most.
        limit: usize,
    },
    /// Deletes some of what is older than the retention, and idempotency keys that have expired. Answered by
    /// [`NotificationOk::Purged`].
    Purge {
        /// Notifications created before this moment go.
        created_before_ms: u64,
        /// Idempotency keys stored before this moment go.
        keys_before_ms: u64,
        /// How many rows at most.
        limit: usize,
    },
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq)]
pub enum NotificationOk {
    /// Stored.
    Added {
        /// One for each recipient who got it.
        stored: Vec<Delivered>,
        /// How many got it. For a repeat, how many did the first time.
        accepted: u64,
        /// True when the idempotency key was there already: nothing was stored, `stored` is empty.
        is_repeat: bool,
    },
    /// For a subscription.
    Loaded {
        /// Epoch of `seq`, the same for all users of a database.
        epoch: String,
        /// The user's newest `seq`; 0 before the first.
        last_seq: u64,
        /// How many are not read.
        unread: u64,
        /// What the user wants to hear.
        preferences: Preferences,
        /// Everything after `since`, oldest first; none when that is more than asked for, or `since` was never reached.
        missed: Option<Vec<Notification>>,
    },
    /// A page.
    Listed {
        /// Newest first.
        notifications: Vec<Notification>,
        /// Whether there are older ones.
        has_more: bool,
        /// How many are not read.
        unread: u64,
    },
    /// Something was marked as read.
    Read {
        /// How many are not read now.
        unread: u64,
        /// Whether anything changed.
        has_changed: bool,
    },
    /// The unread ones of a group were marked as read.
    GroupRead {
        /// Those that were not read before.
        ids: Vec<String>,
        /// How many are not read now.
        unread: u64,
    },
    /// What a user wants to hear.
    Preferences(Preferences),
    /// Followers.
    Followers {
        /// A page of them.
        users: Vec<UserId>,
        /// How many there are in all.
        count: u64,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// Nothing was changed: the stream has as many followers as it may.
    FollowersFull,
    /// What was purged.
    Purged {
        /// How many rows went.
        rows: u64,
    },
}

/// High is sent at once, medium in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Collected for the batching window.
    Medium,
    /// Sent at once.
    High,
}

/// A notification for any number of users.
#[derive(Debug, Clone, PartialEq)]
pub struct NewNotification {
    /// Who gets it, without repeats, each with the id their row gets when it is new.
    pub recipients: Vec<(UserId, String)>,
    /// One of the contract's kinds or another, 1 to 64 of `a-z0-9_.-`.
    pub kind: String,
    /// How urgent.
    pub priority: Priority,
    /// 1 to 500 characters.
    pub message: String,
    /// Who did it.
    pub actor: Option<User>,
    /// What it is about: any object, up to 4 KiB of JSON.
    pub target: Option<Map<String, Value>>,
    /// What it folds by, 1 to 128 characters.
    pub group_key: Option<String>,
    /// When.
    pub at_ms: u64,
    /// Up to 200 characters. Kept with how many got it, in the transaction that stores them; a repeat with the same key is not
    /// stored again.
    pub idempotency_key: Option<String>,
}

/// A notification that somebody got.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// Who.
    pub user: UserId,
    /// The row as it is now.
    pub notification: Notification,
    /// How many the user has not read now.
    pub unread: u64,
}

/// A stored notification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// 32 hex digits.
    pub id: String,
    /// Its position among the user's notifications; a folded one moves to the front.
    pub seq: u64,
    /// One of the contract's kinds or another.
    pub kind: String,
    /// How urgent.
    pub priority: Priority,
    /// Of the newest event in it.
    pub message: String,
    /// Of the newest event in it.
    pub actor: Option<User>,
    /// Of the newest event in it.
    pub target: Option<Map<String, Value>>,
    /// What it folds by.
    pub group_key: Option<String>,
    /// How many events are in it, 1 and more.
    pub count: u64,
    /// When the newest event in it happened.
    pub created_at_ms: u64,
    /// When it was read.
    pub read_at_ms: Option<u64>,
}

/// What a user wants to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// Kinds that are not even stored.
    pub muted_kinds: Vec<String>,
    /// When nothing is pushed; the list and the unread count go on.
    pub quiet_hours: Option<QuietHours>,
}

/// A daily span of silence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// Begins at this minute of the user's day, 0 to 1439.
    pub from_minute: u16,
    /// Ends before this minute; earlier than `from_minute` when it spans midnight.
    pub to_minute: u16,
    /// The user's time zone, minutes east of UTC, -720 to 840.
    pub utc_offset_minutes: i16,
}

/// How the followers of a stream change.
#[derive(Debug, Clone, PartialEq)]
pub enum FollowerChange {
    /// These and no others.
    Replace(Vec<UserId>),
    /// One more.
    Add(UserId),
    /// One less.
    Remove(UserId),
}
