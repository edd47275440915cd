//! Rooms and their members.

use redred_signaling::grants::User;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::StoreError;
use redred_signaling::store::chat::{
    ChatOk, Member, MemberRole, Message, NewRoom, RoomChange, RoomCursor, RoomEntry, RoomKind,
    RoomState,
};

use super::super::request::{Stop, to_json};
use super::super::sql::{Db, Row, with_list};
use super::messages::{append, message_row};
use super::{blocks, room_id, user_id, user_row};

/// A room without what is in it.
struct Head {
    id: RoomId,
    kind: RoomKind,
    title: Option<String>,
    epoch: String,
    last_seq: u64,
    created_at_ms: u64,
    updated_at_ms: u64,
}

pub(super) async fn create(db: &mut Db, new: &NewRoom) -> Result<ChatOk, Stop> {
    let pair = match (new.kind, new.members.as_slice()) {
        (RoomKind::Direct, [(one, _), (other, _)]) => Some((one.min(other), one.max(other))),
        _ => None,
    };
    if let Some(pair) = pair
        && let Some(room) = of_pair(db, pair).await?
    {
        return Ok(ChatOk::Created {
            room: load(db, &room, 0).await?,
            is_new: false,
        });
    }
    if let Some(by) = &new.by {
        for (user, _) in &new.members {
            if blocks(db, user, by).await? {
                return Err(StoreError::Forbidden.into());
            }
        }
    }
    db.query(
        "INSERT INTO rooms (id, kind, first_user, second_user, title, epoch, last_seq, messages, created_at_ms,
             updated_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $7)",
    )
    .bind(new.id.as_str())
    .bind(kind_name(new.kind))
    .bind(pair.map(|(first, _)| first.as_str()))
    .bind(pair.map(|(_, second)| second.as_str()))
    .bind(&new.title)
    .bind(&new.epoch)
    .number(new.at_ms)
    .execute()
    .await?;
    for (user, role) in &new.members {
        add_member(db, &new.id, user, *role, 0).await?;
    }
    Ok(ChatOk::Created {
        room: load(db, &new.id, 0).await?,
        is_new: true,
    })
}

async fn of_pair(db: &mut Db, (first, second): (&UserId, &UserId)) -> sqlx::Result<Option<RoomId>> {
    db.query("SELECT id FROM rooms WHERE first_user = $1 AND second_user = $2")
        .bind(first.as_str())
        .bind(second.as_str())
        .row(|row| room_id(row, "id"))
        .await
}

/// Adds somebody from a position on, unless they are in it already.
async fn add_member(
    db: &mut Db,
    room: &RoomId,
    user: &UserId,
    role: MemberRole,
    seq: u64,
) -> sqlx::Result<()> {
    db.query(
        "INSERT INTO members (room, user_id, role, joined_seq, delivered_seq, read_seq, read_messages)
         SELECT id, $2, $3, $4, $4, $4, messages FROM rooms WHERE id = $1
         ON CONFLICT (room, user_id) DO NOTHING",
    )
    .bind(room.as_str())
    .bind(user.as_str())
    .bind(role_name(role))
    .number(seq)
    .execute()
    .await?;
    Ok(())
}

pub(super) async fn load(db: &mut Db, room: &RoomId, messages: usize) -> Result<RoomState, Stop> {
    let head = db
        .query("SELECT * FROM rooms WHERE id = $1")
        .bind(room.as_str())
        .row(head_row)
        .await?
        .ok_or(StoreError::NotFound)?;
    let members = members(db, room).await?;
    let mut last = db
        .query("SELECT * FROM messages WHERE room = $1 ORDER BY seq DESC LIMIT $2")
        .bind(room.as_str())
        .number(messages as u64)
        .rows(message_row)
        .await?;
    last.reverse();
    let blocks = db
        .query(
            "SELECT blocks.user_id, blocks.blocked FROM members AS who
             JOIN blocks ON blocks.user_id = who.user_id
             JOIN members AS whom ON whom.room = who.room AND whom.user_id = blocks.blocked
             WHERE who.room = $1 ORDER BY blocks.user_id, blocks.blocked",
        )
        .bind(room.as_str())
        .rows(|row| Ok((user_id(row, "user_id")?, user_id(row, "blocked")?)))
        .await?;
    Ok(RoomState {
        id: head.id,
        kind: head.kind,
        title: head.title,
        epoch: head.epoch,
        last_seq: head.last_seq,
        created_at_ms: head.created_at_ms,
        updated_at_ms: head.updated_at_ms,
        members,
        messages: last,
        blocks,
    })
}

pub(super) async fn list(
    db: &mut Db,
    user: &UserId,
    before: Option<&RoomCursor>,
    limit: usize,
) -> sqlx::Result<ChatOk> {
    let mut heads = db
        .query(
            "SELECT rooms.* FROM members JOIN rooms ON rooms.id = members.room
             WHERE members.user_id = $1 AND (rooms.updated_at_ms < $2
                 OR (rooms.updated_at_ms = $2 AND rooms.id < $3))
             ORDER BY rooms.updated_at_ms DESC, rooms.id DESC LIMIT $4",
        )
        .bind(user.as_str())
        .number(before.map_or(u64::MAX, |before| before.updated_at_ms))
        .bind(before.map_or("", |before| before.room.as_str()))
        .number(limit as u64 + 1)
        .rows(head_row)
        .await?;
    let has_more = heads.len() > limit;
    heads.truncate(limit);
    let ids: Vec<&str> = heads.iter().map(|head| head.id.as_str()).collect();
    let ids = to_json(&ids)?;
    let mut members = members_of(db, &ids).await?;
    let mut last = last_messages(db, &ids).await?;
    let blockers = blockers(db, &ids, user).await?;
    let rooms = heads.into_iter().map(|head| {
        let here = members.extract_if(.., |(room, _)| *room == head.id);
        let members: Vec<Member> = here.map(|(_, member)| member).collect();
        let own = members.iter().find(|member| member.user.id == *user);
        let newest = last.iter().position(|message| message.room == head.id);
        RoomEntry {
            unread: own.map_or(0, |own| own.unread),
            last_message: newest.map(|index| last.swap_remove(index)),
            blockers: blockers
                .iter()
                .filter(|(room, _)| *room == head.id)
                .map(|(_, who)| who.clone())
                .collect(),
            members,
            id: head.id,
            kind: head.kind,
            title: head.title,
            created_at_ms: head.created_at_ms,
            updated_at_ms: head.updated_at_ms,
        }
    });
    Ok(ChatOk::Rooms {
        rooms: rooms.collect(),
        has_more,
    })
}

/// The members of some rooms who want to hear nothing of a user, by user id.
async fn blockers(db: &mut Db, rooms: &str, user: &UserId) -> sqlx::Result<Vec<(RoomId, UserId)>> {
    let sql = with_list!(
        db,
        "SELECT members.room, members.user_id FROM members
         JOIN blocks ON blocks.user_id = members.user_id AND blocks.blocked = $2
         WHERE members.room IN ",
        "$1",
        " ORDER BY members.user_id"
    );
    db.query(sql)
        .bind(rooms)
        .bind(user.as_str())
        .rows(|row| Ok((room_id(row, "room")?, user_id(row, "user_id")?)))
        .await
}

async fn last_messages(db: &mut Db, rooms: &str) -> sqlx::Result<Vec<Message>> {
    let sql = with_list!(
        db,
        "SELECT messages.* FROM rooms JOIN messages ON messages.room = rooms.id
             AND messages.seq = (SELECT max(seq) FROM messages AS newest WHERE newest.room = rooms.id)
         WHERE rooms.id IN ",
        "$1",
        ""
    );
    db.query(sql).bind(rooms).rows(message_row).await
}

pub(super) async fn change(
    db: &mut Db,
    room: &RoomId,
    by: &User,
    change: &RoomChange,
    at_ms: u64,
) -> Result<ChatOk, Stop> {
    let before = members(db, room).await?;
    let is_member = |user: &UserId| before.iter().any(|member| member.user.id == *user);
    match change {
        RoomChange::Renamed { .. } => {}
        RoomChange::MembersAdded { users } => {
            for user in users.iter().filter(|user| !is_member(user)) {
                if blocks(db, user, &by.id).await? {
                    return Err(StoreError::Forbidden.into());
                }
            }
        }
        RoomChange::MemberRemoved { user, .. } | RoomChange::RoleChanged { user, .. } => {
            if !is_member(user) {
                return Err(StoreError::NotFound.into());
            }
        }
    }
    let seq = append(db, room, at_ms).await?.ok_or(StoreError::NotFound)?;
    match change {
        RoomChange::Renamed { title } => {
            db.query("UPDATE rooms SET title = $2 WHERE id = $1")
                .bind(room.as_str())
                .bind(title)
                .execute()
                .await?;
        }
        RoomChange::MembersAdded { users } => {
            for user in users {
                add_member(db, room, user, MemberRole::Member, seq).await?;
            }
        }
        RoomChange::MemberRemoved { user, new_owner } => {
            db.query("DELETE FROM members WHERE room = $1 AND user_id = $2")
                .bind(room.as_str())
                .bind(user.as_str())
                .execute()
                .await?;
            if let Some(owner) = new_owner {
                set_role(db, room, owner, MemberRole::Owner).await?;
            }
        }
        RoomChange::RoleChanged { user, role } => {
            if *role == MemberRole::Owner {
                db.query("UPDATE members SET role = 'admin' WHERE room = $1 AND role = 'owner'")
                    .bind(room.as_str())
                    .execute()
                    .await?;
            }
            set_role(db, room, user, *role).await?;
        }
    }
    db.query(
        "INSERT INTO room_log (room, seq, kind, by_user, by_name, change, at_ms)
         VALUES ($1, $2, 'changed', $3, $4, $5, $6)",
    )
    .bind(room.as_str())
    .number(seq)
    .bind(by.id.as_str())
    .bind(&by.name)
    .bind(to_json(change)?)
    .number(at_ms)
    .execute()
    .await?;
    let title = db
        .query("SELECT title FROM rooms WHERE id = $1")
        .bind(room.as_str())
        .row(|row| row.get("title"))
        .await?;
    Ok(ChatOk::RoomChanged {
        seq,
        title: title.flatten(),
        members: members(db, room).await?,
    })
}

async fn set_role(db: &mut Db, room: &RoomId, user: &UserId, role: MemberRole) -> sqlx::Result<()> {
    db.query("UPDATE members SET role = $3 WHERE room = $1 AND user_id = $2")
        .bind(room.as_str())
        .bind(user.as_str())
        .bind(role_name(role))
        .execute()
        .await?;
    Ok(())
}

async fn members(db: &mut Db, room: &RoomId) -> sqlx::Result<Vec<Member>> {
    let members = members_of(db, &to_json(&[room.as_str()])?).await?;
    Ok(members.into_iter().map(|(_, member)| member).collect())
}

/// The members of some rooms, by user id.
async fn members_of(db: &mut Db, rooms: &str) -> sqlx::Result<Vec<(RoomId, Member)>> {
    let sql = with_list!(
        db,
        "SELECT members.*, coalesce(users.name, members.user_id) AS user_name, users.last_seen_ms,
             rooms.messages - members.read_messages - (
                 SELECT count(*) FROM messages
                 WHERE messages.room = members.room AND messages.seq > members.read_seq
                     AND messages.deleted_at_ms IS NOT NULL
             ) AS unread
         FROM members JOIN rooms ON rooms.id = members.room
         LEFT JOIN users ON users.id = members.user_id
         WHERE members.room IN ",
        "$1",
        " ORDER BY members.user_id"
    );
    db.query(sql).bind(rooms).rows(member_row).await
}

fn member_row(row: &Row) -> sqlx::Result<(RoomId, Member)> {
    let member = Member {
        user: user_row(row, "user_id", "user_name")?,
        role: match row.get("role")? {
            "owner" => MemberRole::Owner,
            "admin" => MemberRole::Admin,
            _ => MemberRole::Member,
        },
        delivered_seq: row.number("delivered_seq")?,
        read_seq: row.number("read_seq")?,
        unread: row.number("unread")?,
        last_seen_ms: row.optional_number("last_seen_ms")?,
        joined_seq: row.number("joined_seq")?,
    };
    Ok((room_id(row, "room")?, member))
}

fn head_row(row: &Row) -> sqlx::Result<Head> {
    Ok(Head {
        id: room_id(row, "id")?,
        kind: match row.get("kind")? {
            "direct" => RoomKind::Direct,
            _ => RoomKind::Group,
        },
        title: row.get("title")?,
        epoch: row.get("epoch")?,
        last_seq: row.number("last_seq")?,
        created_at_ms: row.number("created_at_ms")?,
        updated_at_ms: row.number("updated_at_ms")?,
    })
}

fn kind_name(kind: RoomKind) -> &'static str {
    match kind {
        RoomKind::Direct => "direct",
        RoomKind::Group => "group",
    }
}

fn role_name(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Member => "member",
        MemberRole::Admin => "admin",
        MemberRole::Owner => "owner",
    }
}
