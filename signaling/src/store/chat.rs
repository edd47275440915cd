//! Chat in the store: rooms, members, messages, the log that recovery reads, positions, search, blocks.
//!
//! A room's log numbers everything that members must not miss: messages, edits, deletions and changes of the room each
//! take the next `seq` of the room, in the transaction that stores them.

use serde::{Deserialize, Serialize};

use crate::grants::User;
use crate::id::{RoomId, UserId};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatOp {
    /// Keeps a user's display name and when they were last here. Answered by [`ChatOk::Done`].
    SeeUser {
        /// Who.
        user: User,
        /// When.
        at_ms: u64,
    },
    /// Reads what is known about a user. Answered by [`ChatOk::User`]; an unknown one is empty.
    LoadUser {
        /// Who.
        user: UserId,
        /// Who wants to know.
        asker: UserId,
    },
    /// Creates a room. A direct room that the pair already has is answered instead, whoever blocks whom. Answered by
    /// [`ChatOk::Created`]; [`super::StoreError::Forbidden`] when one of the members blocks [`NewRoom::by`].
    CreateRoom(NewRoom),
    /// Reads a room. Answered by [`ChatOk::Room`]; [`super::StoreError::NotFound`] when there is none.
    LoadRoom {
        /// Which.
        room: RoomId,
        /// How many of the last messages.
        messages: usize,
    },
    /// The rooms of a user, the one that changed last first. Answered by [`ChatOk::Rooms`].
    ListRooms {
        /// Whose.
        user: UserId,
        /// Only rooms behind this one in the list.
        before: Option<RoomCursor>,
        /// How many at most.
        limit: usize,
    },
    /// Appends a message. When the same sender already has one with the same `client_id` in this room, nothing is written
    /// and that first one is answered. A sender who is a member has read up to it. Answered by [`ChatOk::Message`];
    /// [`super::StoreError::NotFound`] when `reply_to_id` is no message of this room. Does not check that the sender is a
    /// member.
    AddMessage(NewMessage),
    /// Replaces the text of a message. Answered by [`ChatOk::Changed`].
    EditMessage {
        /// Where.
        room: RoomId,
        /// Which. [`super::StoreError::NotFound`] when there is none or it is deleted.
        id: String,
        /// Must be its sender, else [`super::StoreError::Forbidden`].
        by: UserId,
        /// 1 to 4000 characters.
        text: String,
        /// When.
        at_ms: u64,
    },
    /// Leaves a tombstone where a message was: its text and attachments are erased. Answered by [`ChatOk::Changed`].
    DeleteMessage {
        /// Where.
        room: RoomId,
        /// Which. [`super::StoreError::NotFound`] when there is none or it is deleted.
        id: String,
        /// Who deletes it. Must be its sender unless `any`, else [`super::StoreError::Forbidden`].
        by: UserId,
        /// Whether `by` may delete messages of others.
        any: bool,
        /// When.
        at_ms: u64,
    },
    /// Changes a room's title, members or their roles, and logs it. Answered by [`ChatOk::RoomChanged`];
    /// [`super::StoreError::Forbidden`] when somebody to be added blocks `by`. Rights and limits are checked by the rules of
    /// the room.
    ChangeRoom {
        /// Which.
        room: RoomId,
        /// Who changed it.
        by: User,
        /// What.
        change: RoomChange,
        /// When.
        at_ms: u64,
    },
    /// Moves a member's positions, never backwards. Answered by [`ChatOk::Position`].
    SetPosition {
        /// Where.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// Delivered up to and including this `seq`.
        delivered: Option<u64>,
        /// Read up to and including this `seq`.
        read: Option<u64>,
    },
    /// Messages of a room, oldest first: those before `before_seq` (the newest of them), or those after `after_seq` (the
    /// oldest of them); without either, the newest. Tombstones included. Answered by [`ChatOk::Messages`].
    History {
        /// Which.
        room: RoomId,
        /// Only messages with a smaller `seq`.
        before_seq: Option<u64>,
        /// Only messages with a larger `seq`.
        after_seq: Option<u64>,
        /// How many at most.
        limit: usize,
    },
    /// The log of a room after a position, in order. Answered by [`ChatOk::Log`].
    ReadLog {
        /// Which.
        room: RoomId,
        /// Only entries with a larger `seq`.
        after_seq: u64,
        /// How many at most.
        limit: usize,
    },
    /// Messages of the rooms of a user that match all words, newest first, deleted ones excepted; the last word may be the
    /// beginning of one. Answered by [`ChatOk::Messages`].
    Search {
        /// Who searches, and must be a member of the room.
        user: UserId,
        /// 1 to 200 characters.
        text: String,
        /// Only in this room.
        room: Option<RoomId>,
        /// Only messages created before.
        before_ms: Option<u64>,
        /// How many at most.
        limit: usize,
    },
    /// `user` wants to hear nothing of `blocked`. Answered by [`ChatOk::Done`].
    Block {
        /// Who blocks.
        user: UserId,
        /// Whom.
        blocked: UserId,
        /// When.
        at_ms: u64,
    },
    /// Lifts it. Done also when there was none.
    Unblock {
        /// Who blocked.
        user: UserId,
        /// Whom.
        blocked: UserId,
    },
    /// Whom a user blocks. Answered by [`ChatOk::Users`].
    ListBlocks {
        /// Who blocks.
        user: UserId,
    },
}

/// What the store answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatOk {
    /// Written.
    Done,
    /// A user.
    User(KnownUser),
    /// Users.
    Users(Vec<User>),
    /// A room was created, or was there.
    Created {
        /// The room.
        room: RoomState,
        /// False for a direct room that the pair already had.
        is_new: bool,
    },
    /// A room.
    Room(RoomState),
    /// Rooms of a user.
    Rooms {
        /// The one that changed last first.
        rooms: Vec<RoomEntry>,
        /// Whether there are more behind them.
        has_more: bool,
    },
    /// A message as stored.
    Message {
        /// The one handed in with its `seq`, or the first with that `client_id`.
        message: Message,
        /// False for a repeat.
        is_new: bool,
    },
    /// A message was edited or deleted.
    Changed {
        /// The position of the change in the log.
        seq: u64,
        /// The message as it is now.
        message: Message,
    },
    /// A room was changed.
    RoomChanged {
        /// The position of the change in the log.
        seq: u64,
        /// Its title now.
        title: Option<String>,
        /// Its members now.
        members: Vec<Member>,
    },
    /// A member's positions.
    Position {
        /// Delivered up to here.
        delivered_seq: u64,
        /// Read up to here.
        read_seq: u64,
        /// Messages of others behind `read_seq` that are not deleted.
        unread: u64,
    },
    /// Messages.
    Messages {
        /// In the order asked for.
        messages: Vec<Message>,
        /// Whether there are more in that direction.
        has_more: bool,
    },
    /// A part of a room's log.
    Log {
        /// In order, without a gap.
        entries: Vec<LogEntry>,
        /// Whether that is all there is.
        is_complete: bool,
    },
}

/// A user, as far as the store knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownUser {
    /// Display name of the last token.
    pub name: Option<String>,
    /// When they were last connected.
    pub last_seen_ms: Option<u64>,
    /// Whether they are in a room together with whoever asked.
    pub shares_room: bool,
    /// Whether they block whoever asked.
    pub blocks_asker: bool,
}

/// Direct or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum RoomKind {
    /// Exactly two members, one room for each pair.
    Direct,
    /// Any number up to the limit, with roles.
    Group,
}

/// What a member may do in a group. In direct rooms everybody is a [`MemberRole::Member`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Reads and writes.
    Member,
    /// Also adds, removes members, renames and deletes messages of others.
    Admin,
    /// Also gives roles. Exactly one in a group.
    Owner,
}

/// A room to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRoom {
    /// 32 hex digits; not used when the pair already has a room.
    pub id: RoomId,
    /// Epoch of its log, 8 hex digits.
    pub epoch: String,
    /// Direct or group.
    pub kind: RoomKind,
    /// 1 to 100 characters; groups only.
    pub title: Option<String>,
    /// Without repeats. A direct room has exactly two. Names are those the store knows, else the user id.
    pub members: Vec<(UserId, MemberRole)>,
    /// Who creates it; none when that is nobody whom its members could block.
    pub by: Option<UserId>,
    /// When.
    pub at_ms: u64,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who, by the display name of their last token; the user id when they never came.
    pub user: User,
    /// What they may do.
    pub role: MemberRole,
    /// Delivered up to and including this `seq`.
    pub delivered_seq: u64,
    /// Read up to and including this `seq`.
    pub read_seq: u64,
    /// Messages of others behind `read_seq` that are not deleted.
    pub unread: u64,
    /// When they were last connected.
    pub last_seen_ms: Option<u64>,
    /// The position of the change that brought them in; 0 for those with whom the room was created. They begin there: what
    /// came before counts as delivered and read.
    pub joined_seq: u64,
}

/// A room with what its rules need.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomState {
    /// Which.
    pub id: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// Groups only.
    pub title: Option<String>,
    /// Epoch of its log; stays for the life of the room.
    pub epoch: String,
    /// The newest position of its log; 0 before the first.
    pub last_seq: u64,
    /// When it was created.
    pub created_at_ms: u64,
    /// When something was last written to its log.
    pub updated_at_ms: u64,
    /// Everybody in it, by user id.
    pub members: Vec<Member>,
    /// The last messages, oldest first.
    pub messages: Vec<Message>,
    /// Which members block which others, as (who, whom), in order.
    pub blocks: Vec<(UserId, UserId)>,
}

/// Where a page of a room list ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomCursor {
    /// `updated_at_ms` of its last room.
    pub updated_at_ms: u64,
    /// Id of its last room.
    pub room: RoomId,
}

/// A room as a list of one's own rooms shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomEntry {
    /// Which.
    pub id: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// Groups only.
    pub title: Option<String>,
    /// Everybody in it, by user id.
    pub members: Vec<Member>,
    /// The newest message, a tombstone included.
    pub last_message: Option<Message>,
    /// Messages of others that the user has not read.
    pub unread: u64,
    /// When it was created.
    pub created_at_ms: u64,
    /// When something was last written to its log.
    pub updated_at_ms: u64,
    /// Its members who block the user, by user id.
    pub blockers: Vec<UserId>,
}

/// A message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// 32 hex digits.
    pub id: String,
    /// Where.
    pub room: RoomId,
    /// Who.
    pub sender: User,
    /// Up to 4000 characters.
    pub text: String,
    /// What the client called it; unique per room and sender.
    pub client_id: Option<String>,
    /// The message it replies to, of the same room.
    pub reply_to_id: Option<String>,
    /// Up to 10.
    pub attachments: Vec<Attachment>,
    /// When.
    pub at_ms: u64,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// 32 hex digits.
    pub id: String,
    /// Where.
    pub room: RoomId,
    /// Its position in the room's log.
    pub seq: u64,
    /// Who.
    pub sender: User,
    /// Empty in a tombstone.
    pub text: String,
    /// What the client called it.
    pub client_id: Option<String>,
    /// The message it replies to.
    pub reply_to_id: Option<String>,
    /// Links and files it points to.
    pub attachments: Vec<Attachment>,
    /// When it was written.
    pub created_at_ms: u64,
    /// When it was last edited.
    pub edited_at_ms: Option<u64>,
    /// When it was deleted; then it is a tombstone.
    pub deleted_at_ms: Option<u64>,
}

/// A file elsewhere that a message points to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attachment {
    /// `https` or `http`, up to 2048 characters.
    pub url: String,
    /// Media type, such as `image/png`.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// File name, up to 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A change of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RoomChange {
    /// It was renamed.
    Renamed {
        /// 1 to 100 characters.
        title: String,
    },
    /// Members came; those who are in it already stay as they are.
    MembersAdded {
        /// Who.
        users: Vec<UserId>,
    },
    /// A member left or was removed.
    MemberRemoved {
        /// Who.
        user: UserId,
        /// Who owns the group from now on, when it was the owner.
        new_owner: Option<UserId>,
    },
    /// A member's role changed. Giving [`MemberRole::Owner`] makes the owner so far an admin.
    RoleChanged {
        /// Whose.
        user: UserId,
        /// What they are now.
        role: MemberRole,
    },
}

/// One entry of a room's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEntry {
    /// Its position.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// What happened.
    pub event: LogEvent,
}

/// What a room's log holds.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A message, as it is now: edited and deleted ones show their newest state.
    Message(Message),
    /// A message was edited.
    Edited {
        /// Which.
        id: String,
        /// Its text as it is now.
        text: String,
    },
    /// A message was deleted.
    Deleted {
        /// Which.
        id: String,
        /// By whom.
        by: UserId,
    },
    /// The room changed.
    Changed {
        /// By whom.
        by: User,
        /// What.
        change: RoomChange,
    },
}
