//! The tables of chat: what each request of the hub reads and writes. Users and blocks are here, rooms, messages and
//! search in files of their own.

mod messages;
mod rooms;
mod search;

use redred_signaling::grants::User;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::chat::{ChatOk, ChatOp, KnownUser};

use super::request::Stop;
use super::sql::{Db, Row};

pub(super) use messages::add_all;

/// Carries out one request.
pub(super) async fn carry_out(db: &mut Db, op: &ChatOp) -> Result<ChatOk, Stop> {
    match op {
        ChatOp::SeeUser { user, at_ms } => see_user(db, user, *at_ms).await?,
        ChatOp::LoadUser { user, asker } => {
            return Ok(ChatOk::User(load_user(db, user, asker).await?));
        }
        ChatOp::CreateRoom(new) => return rooms::create(db, new).await,
        ChatOp::LoadRoom { room, messages } => {
            let state = rooms::load(db, room, *messages).await?;
            return Ok(ChatOk::Room(state));
        }
        ChatOp::ListRooms {
            user,
            before,
            limit,
        } => return Ok(rooms::list(db, user, before.as_ref(), *limit).await?),
        ChatOp::AddMessage(new) => return messages::add(db, new).await,
        ChatOp::EditMessage {
            room,
            id,
            by,
            text,
            at_ms,
        } => return messages::edit(db, room, id, by, text, *at_ms).await,
        ChatOp::DeleteMessage {
            room,
            id,
            by,
            any,
            at_ms,
        } => return messages::delete(db, room, id, by, *any, *at_ms).await,
        ChatOp::ChangeRoom {
            room,
            by,
            change,
            at_ms,
        } => return rooms::change(db, room, by, change, *at_ms).await,
        ChatOp::SetPosition {
            room,
            user,
            delivered,
            read,
        } => return messages::set_position(db, room, user, *delivered, *read).await,
        ChatOp::History {
            room,
            before_seq,
            after_seq,
            limit,
        } => return messages::history(db, room, *before_seq, *after_seq, *limit).await,
        ChatOp::ReadLog {
            room,
            after_seq,
            limit,
        } => return messages::read_log(db, room, *after_seq, *limit).await,
        ChatOp::Search {
            user,
            text,
            room,
            before_ms,
            limit,
        } => {
            let found = search::find(db, user, text, room.as_ref(), *before_ms, *limit).await?;
            return Ok(found);
        }
        ChatOp::Block {
            user,
            blocked,
            at_ms,
        } => block(db, user, blocked, *at_ms).await?,
        ChatOp::Unblock { user, blocked } => unblock(db, user, blocked).await?,
        ChatOp::ListBlocks { user } => return Ok(ChatOk::Users(list_blocks(db, user).await?)),
    }
    Ok(ChatOk::Done)
}

async fn see_user(db: &mut Db, user: &User, at_ms: u64) -> sqlx::Result<()> {
    db.query(
        "INSERT INTO users (id, name, last_seen_ms) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, last_seen_ms = excluded.last_seen_ms",
    )
    .bind(user.id.as_str())
    .bind(&user.name)
    .number(at_ms)
    .execute()
    .await?;
    Ok(())
}

async fn load_user(db: &mut Db, user: &UserId, asker: &UserId) -> sqlx::Result<KnownUser> {
    let known = db
        .query(
            "SELECT users.name, users.last_seen_ms,
                 EXISTS (
                     SELECT 1 FROM members AS one JOIN members AS other ON other.room = one.room
                     WHERE one.user_id = $1 AND other.user_id = $2
                 ) AS shares_room,
                 EXISTS (SELECT 1 FROM blocks WHERE user_id = $1 AND blocked = $2) AS blocks_asker
             FROM (SELECT 1) AS always LEFT JOIN users ON users.id = $1",
        )
        .bind(user.as_str())
        .bind(asker.as_str())
        .row(|row| {
            Ok(KnownUser {
                name: row.get("name")?,
                last_seen_ms: row.optional_number("last_seen_ms")?,
                shares_room: row.get("shares_room")?,
                blocks_asker: row.get("blocks_asker")?,
            })
        })
        .await?;
    Ok(known.unwrap_or_default())
}

async fn block(db: &mut Db, user: &UserId, blocked: &UserId, at_ms: u64) -> sqlx::Result<()> {
    db.query(
        "INSERT INTO blocks (user_id, blocked, at_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(user.as_str())
    .bind(blocked.as_str())
    .number(at_ms)
    .execute()
    .await?;
    Ok(())
}

async fn unblock(db: &mut Db, user: &UserId, blocked: &UserId) -> sqlx::Result<()> {
    db.query("DELETE FROM blocks WHERE user_id = $1 AND blocked = $2")
        .bind(user.as_str())
        .bind(blocked.as_str())
        .execute()
        .await?;
    Ok(())
}

async fn list_blocks(db: &mut Db, user: &UserId) -> sqlx::Result<Vec<User>> {
    db.query(
        "SELECT blocked AS user_id, coalesce(users.name, blocked) AS user_name
         FROM blocks LEFT JOIN users ON users.id = blocked
         WHERE blocks.user_id = $1 ORDER BY blocked",
    )
    .bind(user.as_str())
    .rows(|row| user_row(row, "user_id", "user_name"))
    .await
}

/// Whether somebody wants to hear nothing of somebody.
async fn blocks(db: &mut Db, who: &UserId, whom: &UserId) -> sqlx::Result<bool> {
    let found = db
        .query("SELECT 1 FROM blocks WHERE user_id = $1 AND blocked = $2")
        .bind(who.as_str())
        .bind(whom.as_str())
        .row(|_| Ok(()))
        .await?;
    Ok(found.is_some())
}

fn user_row(row: &Row, id: &str, name: &str) -> sqlx::Result<User> {
    Ok(User {
        id: user_id(row, id)?,
        name: row.get(name)?,
    })
}

fn user_id(row: &Row, column: &str) -> sqlx::Result<UserId> {
    row.checked(column, UserId::new)
}

fn room_id(row: &Row, column: &str) -> sqlx::Result<RoomId> {
    row.checked(column, RoomId::new)
}
