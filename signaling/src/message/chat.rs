//! Messages of the channels `chat:<room>` and `chats` (protocol section 4.3).

use serde::{Deserialize, Deserializer, Serialize};

use super::text::Text;
use crate::grants::User;
use crate::id::{RoomId, UserId};
use crate::store::chat::{Attachment, MemberRole, Message, RoomChange, RoomKind};

/// `chat_message` of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WriteMessage {
    /// What to say; may be empty when there are attachments.
    pub text: Text<0, 4000>,
    /// A UUID, or any 1 to 64 characters: a repeat is acknowledged with the first result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Text<1, 64>>,
    /// A message of the same room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_id: Option<Text<1, 64>>,
    /// Up to 10; their fields are checked by the rules of the room.
    #[serde(default, deserialize_with = "up_to_10")]
    #[cfg_attr(feature = "schema", schemars(length(max = 10)))]
    pub attachments: Vec<Attachment>,
}

fn up_to_10<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Attachment>, D::Error> {
    let attachments = Vec::<Attachment>::deserialize(d)?;
    if attachments.len() > 10 {
        return Err(serde::de::Error::custom("expected at most 10 attachments"));
    }
    Ok(attachments)
}

/// `edit_message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EditMessage {
    /// Which; one's own.
    pub id: Text<1, 64>,
    /// What it says from now on.
    pub text: Text<1, 4000>,
}

/// `delete_message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeleteMessage {
    /// Which; one's own, or anybody's for admins of a group.
    pub id: Text<1, 64>,
}

/// `typing` of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Typing {
    /// Whether something is being typed.
    pub active: bool,
}

/// `mark_delivered` and `mark_read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MarkUpTo {
    /// The newest message that was delivered or read.
    pub up_to_seq: u64,
}

/// `history`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct History {
    /// Only messages with a smaller `seq`.
    pub before_seq: Option<u64>,
    /// Only messages with a larger `seq`; not together with `before_seq`.
    pub after_seq: Option<u64>,
    /// How many, 1 to 200; 50 unless told.
    pub limit: Option<u16>,
}

/// `add_members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddMembers {
    /// Who, 1 to 100 in one request.
    pub user_ids: Vec<UserId>,
}

/// `remove_member`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RemoveMember {
    /// Who.
    pub user_id: UserId,
}

/// `rename_room`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RenameRoom {
    /// What the group is called.
    pub title: Text<1, 100>,
}

/// `set_member_role`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetMemberRole {
    /// Whose.
    pub user_id: UserId,
    /// `owner` hands the group over.
    pub role: MemberRole,
}

/// `chat_message` of the server, and a message in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageView {
    /// Unique.
    pub id: String,
    /// Where.
    pub room: RoomId,
    /// Its position in the channel; the same as in `metadata`.
    pub seq: u64,
    /// The server's own stamp.
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
    #[serde(with = "crate::time::wire")]
    pub created_at: u64,
    /// When it was last edited.
    #[serde(with = "crate::time::wire_option")]
    pub edited_at: Option<u64>,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        Self {
            id: message.id,
            room: message.room,
            seq: message.seq,
            sender: message.sender,
            text: message.text,
            client_id: message.client_id,
            reply_to_id: message.reply_to_id,
            attachments: message.attachments,
            created_at: message.created_at_ms,
            edited_at: message.edited_at_ms,
            deleted: message.deleted_at_ms.is_some(),
        }
    }
}

/// `message_edited`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageEdited {
    /// Which.
    pub id: String,
    /// Where.
    pub room: RoomId,
    /// What it says now.
    pub text: String,
    /// When.
    #[serde(with = "crate::time::wire")]
    pub edited_at: u64,
}

/// `message_deleted`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageDeleted {
    /// Which.
    pub id: String,
    /// Where.
    pub room: RoomId,
    /// Who deleted it.
    pub by: UserId,
}

/// `typing` of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TypingView {
    /// Where.
    pub room: RoomId,
    /// Who.
    pub user: User,
    /// Whether something is being typed.
    pub active: bool,
}

/// `message_delivered` and `message_read`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PositionView {
    /// Where.
    pub room: RoomId,
    /// To whom it was delivered, or who read it.
    pub user_id: UserId,
    /// Up to and including this `seq`.
    pub up_to_seq: u64,
    /// When.
    #[serde(with = "crate::time::wire")]
    pub at: u64,
}

/// Whether somebody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At least one connection.
    Online,
    /// None for a while.
    Offline,
}

/// `presence`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PresenceView {
    /// Who.
    pub user_id: UserId,
    /// Here or not.
    pub status: Status,
    /// When they were last connected; none when never, or not known.
    #[serde(with = "crate::time::wire_option")]
    pub last_seen: Option<u64>,
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemberView {
    /// Who.
    pub id: UserId,
    /// Display name; the id for somebody who never came.
    pub name: String,
    /// What they may do.
    pub role: MemberRole,
    /// Delivered up to and including this `seq`.
    pub delivered_seq: u64,
    /// Read up to and including this `seq`.
    pub read_seq: u64,
    /// Here or not.
    pub status: Status,
    /// When they were last connected.
    #[serde(with = "crate::time::wire_option")]
    pub last_seen: Option<u64>,
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomView {
    /// Unique.
    pub id: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// Groups only.
    pub title: Option<String>,
    /// Everybody in it, by user id.
    pub members: Vec<MemberView>,
    /// When it was created.
    #[serde(with = "crate::time::wire")]
    pub created_at: u64,
    /// When something last happened in it.
    #[serde(with = "crate::time::wire")]
    pub updated_at: u64,
}

/// A room in the list of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomListing {
    /// The room.
    #[serde(flatten)]
    pub room: RoomView,
    /// The newest message.
    pub last_message: Option<MessageView>,
    /// Messages of others that are not read.
    pub unread: u64,
}

/// `subscribed.state` of `chat:<room>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChatState {
    /// The room.
    pub room: RoomView,
    /// The last messages, oldest first.
    pub messages: Vec<MessageView>,
    /// Whether there are older ones.
    pub has_more: bool,
    /// Messages of others that are not read.
    pub unread: u64,
}

/// `subscribed.state` of `chats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChatsState {
    /// One's rooms, the one that changed last first.
    pub rooms: Vec<RoomListing>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// `chat_update`: a room as the list shows it, for one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChatUpdate {
    /// Which.
    pub room: RoomId,
    /// Direct or group.
    pub kind: RoomKind,
    /// Groups only.
    pub title: Option<String>,
    /// Everybody in it; only when the room is new to the member, or its members changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberView>>,
    /// The newest message.
    pub last_message: Option<MessageView>,
    /// Messages of others that are not read.
    pub unread: u64,
    /// When something last happened in it.
    #[serde(with = "crate::time::wire")]
    pub updated_at: u64,
    /// Whether the receiver is no longer a member.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// `room_updated`: a group changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomUpdated {
    /// Which.
    pub room: RoomId,
    /// Who changed it.
    pub by: User,
    /// What.
    pub change: RoomChange,
    /// Its title now.
    pub title: Option<String>,
    /// Its members now.
    pub members: Vec<MemberView>,
}
