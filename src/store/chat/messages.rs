//! Messages, the log that they share with the changes of their room, and how far each member has come.

mod together;

use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::StoreError;
use redred_signaling::store::chat::{ChatOk, LogEntry, LogEvent, Message, NewMessage};

use super::super::request::{Stop, from_json, to_json};
use super::super::sql::{Db, Row};
use super::{room_id, search, user_id, user_row};

pub(in super::super) use together::add_all;

/// Appends a message, or finds the one that the same sender has stored under the same client id. Whoever writes has read
/// what is above; a sender need not be a member.
pub(super) async fn add(db: &mut Db, new: &NewMessage) -> Result<ChatOk, Stop> {
    let attachments = match new.attachments.as_slice() {
        [] => None,
        attachments => Some(to_json(&attachments)?),
    };
    let tokens = search::tokens(&new.room, &new.text);
    // One trip to the database, because this is what it does most. The further steps of SQLite's find the message only
    // when it is new: then it stands one position ahead of its room. In PostgreSQL the row of the room is locked, in case
    // that another server writes to it.
    let sql = db.pick(
        "INSERT INTO messages (room, seq, ordinal, id, sender, sender_name, text, client_id, reply_to_id, attachments,
             created_at_ms)
         SELECT id, last_seq + 1, messages + 1, $2, $3, $4, $5, $6, $7, $8, $9 FROM rooms
         WHERE id = $1
             AND ($7 IS NULL OR EXISTS (SELECT 1 FROM messages WHERE id = $7 AND room = $1))
         ON CONFLICT DO NOTHING RETURNING seq;

         INSERT INTO message_words (rowid, words)
         SELECT added.number, $10 FROM messages AS added JOIN rooms ON rooms.id = added.room
         WHERE added.id = $2 AND added.seq = rooms.last_seq + 1;

         UPDATE members SET delivered_seq = added.seq, read_seq = added.seq, read_messages = added.ordinal
         FROM messages AS added JOIN rooms ON rooms.id = added.room
         WHERE added.id = $2 AND added.seq = rooms.last_seq + 1
             AND members.room = added.room AND members.user_id = added.sender;

         UPDATE rooms SET last_seq = added.seq, messages = added.ordinal, updated_at_ms = $9
         FROM messages AS added
         WHERE added.id = $2 AND added.seq = rooms.last_seq + 1 AND rooms.id = added.room",
        "WITH added AS (
             INSERT INTO messages (room, seq, ordinal, id, sender, sender_name, text, client_id, reply_to_id,
                 attachments, created_at_ms, words)
             SELECT id, last_seq + 1, messages + 1, $2, $3, $4, $5, $6, $7, $8, $9,
                 array_to_tsvector(string_to_array($10, ' '))
             FROM (SELECT id, last_seq, messages FROM rooms WHERE id = $1 FOR UPDATE) AS locked
             WHERE $7 IS NULL OR EXISTS (SELECT 1 FROM messages WHERE id = $7 AND room = $1)
             ON CONFLICT DO NOTHING RETURNING room, seq, ordinal, sender
         ), placed AS (
             UPDATE members SET delivered_seq = added.seq, read_seq = added.seq, read_messages = added.ordinal
             FROM added WHERE members.room = added.room AND members.user_id = added.sender
         ), counted AS (
             UPDATE rooms SET last_seq = added.seq, messages = added.ordinal, updated_at_ms = $9
             FROM added WHERE rooms.id = added.room
         )
         SELECT seq FROM added",
    );
    let added = db
        .query(sql)
        .bind(new.room.as_str())
        .bind(&new.id)
        .bind(new.sender.id.as_str())
        .bind(&new.sender.name)
        .bind(&new.text)
        .bind(&new.client_id)
        .bind(&new.reply_to_id)
        .bind(attachments)
        .number(new.at_ms)
        .bind(tokens)
        .rows(|row| row.number("seq"))
        .await?;
    let Some(&seq) = added.first() else {
        let message = repeated(db, new).await?.ok_or(StoreError::NotFound)?;
        return Ok(ChatOk::Message {
            message,
            is_new: false,
        });
    };
    Ok(stored(new, seq))
}

/// The answer about a message that is new.
fn stored(new: &NewMessage, seq: u64) -> ChatOk {
    let message = Message {
        id: new.id.clone(),
        room: new.room.clone(),
        seq,
        sender: new.sender.clone(),
        text: new.text.clone(),
        client_id: new.client_id.clone(),
        reply_to_id: new.reply_to_id.clone(),
        attachments: new.attachments.clone(),
        created_at_ms: new.at_ms,
        edited_at_ms: None,
        deleted_at_ms: None,
    };
    ChatOk::Message {
        message,
        is_new: true,
    }
}

async fn repeated(db: &mut Db, new: &NewMessage) -> sqlx::Result<Option<Message>> {
    db.query(
        "SELECT * FROM messages
         WHERE room = $1 AND sender = $2 AND (client_id = $3 OR id = $4)",
    )
    .bind(new.room.as_str())
    .bind(new.sender.id.as_str())
    .bind(&new.client_id)
    .bind(&new.id)
    .row(message_row)
    .await
}

pub(super) async fn edit(
    db: &mut Db,
    room: &RoomId,
    id: &str,
    by: &UserId,
    text: &str,
    at_ms: u64,
) -> Result<ChatOk, Stop> {
    let (number, mut message) = changeable(db, room, id).await?;
    if message.sender.id != *by {
        return Err(StoreError::Forbidden.into());
    }
    let tokens = search::tokens(room, text);
    search::replace(db, number, Some(&tokens)).await?;
    db.query("UPDATE messages SET text = $2, edited_at_ms = $3 WHERE number = $1")
        .number(number)
        .bind(text)
        .number(at_ms)
        .execute()
        .await?;
    message.text = text.to_owned();
    message.edited_at_ms = Some(at_ms);
    let seq = log_message(db, &message, "edited", by, at_ms).await?;
    Ok(ChatOk::Changed { seq, message })
}

pub(super) async fn delete(
    db: &mut Db,
    room: &RoomId,
    id: &str,
    by: &UserId,
    any: bool,
    at_ms: u64,
) -> Result<ChatOk, Stop> {
    let (number, mut message) = changeable(db, room, id).await?;
    if message.sender.id != *by && !any {
        return Err(StoreError::Forbidden.into());
    }
    search::replace(db, number, None).await?;
    db.query(
        "UPDATE messages SET text = '', attachments = NULL, deleted_at_ms = $2 WHERE number = $1",
    )
    .number(number)
    .number(at_ms)
    .execute()
    .await?;
    message.text.clear();
    message.attachments.clear();
    message.deleted_at_ms = Some(at_ms);
    let seq = log_message(db, &message, "deleted", by, at_ms).await?;
    Ok(ChatOk::Changed { seq, message })
}

/// A message that is not deleted, and its number.
async fn changeable(db: &mut Db, room: &RoomId, id: &str) -> Result<(u64, Message), Stop> {
    let found = db
        .query("SELECT * FROM messages WHERE id = $1 AND room = $2 AND deleted_at_ms IS NULL")
        .bind(id)
        .bind(room.as_str())
        .row(|row| Ok((row.number("number")?, message_row(row)?)))
        .await?;
    Ok(found.ok_or(StoreError::NotFound)?)
}

/// Takes the next position of a room's log; none when there is no such room.
pub(super) async fn append(db: &mut Db, room: &RoomId, at_ms: u64) -> sqlx::Result<Option<u64>> {
    db.query(
        "UPDATE rooms SET last_seq = last_seq + 1, updated_at_ms = $2 WHERE id = $1
         RETURNING last_seq",
    )
    .bind(room.as_str())
    .number(at_ms)
    .row(|row| row.number("last_seq"))
    .await
}

async fn log_message(
    db: &mut Db,
    message: &Message,
    kind: &'static str,
    by: &UserId,
    at_ms: u64,
) -> sqlx::Result<u64> {
    let seq = append(db, &message.room, at_ms).await?;
    // A message cannot be without its room.
    let seq = seq.ok_or(sqlx::Error::RowNotFound)?;
    db.query(
        "INSERT INTO room_log (room, seq, kind, message_id, by_user, by_name, at_ms)
         VALUES ($1, $2, $3, $4, $5, $5, $6)",
    )
    .bind(message.room.as_str())
    .number(seq)
    .bind(kind)
    .bind(&message.id)
    .bind(by.as_str())
    .number(at_ms)
    .execute()
    .await?;
    Ok(seq)
}

pub(super) async fn set_position(
    db: &mut Db,
    room: &RoomId,
    user: &UserId,
    delivered: Option<u64>,
    read: Option<u64>,
) -> Result<ChatOk, Stop> {
    let place = db
        .query(
            "SELECT members.delivered_seq, members.read_seq, rooms.last_seq
             FROM members JOIN rooms ON rooms.id = members.room
             WHERE members.room = $1 AND members.user_id = $2",
        )
        .bind(room.as_str())
        .bind(user.as_str())
        .row(|row| {
            let seq = |column| row.number(column);
            Ok((seq("delivered_seq")?, seq("read_seq")?, seq("last_seq")?))
        })
        .await?;
    let (old_delivered, old_read, last) = place.ok_or(StoreError::NotFound)?;
    // Never back, and never ahead of what there is.
    let delivered_seq = old_delivered.max(delivered.unwrap_or(0).min(last));
    let read_seq = old_read.max(read.unwrap_or(0).min(last));
    if (delivered_seq, read_seq) != (old_delivered, old_read) {
        db.query(
            "UPDATE members SET delivered_seq = $3, read_seq = $4,
                 read_messages = coalesce(
                     (SELECT ordinal FROM messages WHERE room = $1 AND seq <= $4
                      ORDER BY seq DESC LIMIT 1), 0)
             WHERE room = $1 AND user_id = $2",
        )
        .bind(room.as_str())
        .bind(user.as_str())
        .number(delivered_seq)
        .number(read_seq)
        .execute()
        .await?;
    }
    let unread = db
        .query(
            "SELECT rooms.messages - members.read_messages - (
                 SELECT count(*) FROM messages
                 WHERE room = $1 AND seq > members.read_seq AND deleted_at_ms IS NOT NULL
             ) AS unread
             FROM members JOIN rooms ON rooms.id = members.room
             WHERE members.room = $1 AND members.user_id = $2",
        )
        .bind(room.as_str())
        .bind(user.as_str())
        .row(|row| row.number("unread"))
        .await?;
    Ok(ChatOk::Position {
        delivered_seq,
        read_seq,
        unread: unread.unwrap_or(0),
    })
}

pub(super) async fn history(
    db: &mut Db,
    room: &RoomId,
    before_seq: Option<u64>,
    after_seq: Option<u64>,
    limit: usize,
) -> Result<ChatOk, Stop> {
    if !exists(db, room).await? {
        return Err(StoreError::NotFound.into());
    }
    let (sql, bound) = match after_seq {
        Some(after) => (
            "SELECT * FROM messages WHERE room = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            after,
        ),
        None => (
            "SELECT * FROM messages WHERE room = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
            before_seq.unwrap_or(u64::MAX),
        ),
    };
    let mut messages = db
        .query(sql)
        .bind(room.as_str())
        .number(bound)
        .number(limit as u64 + 1)
        .rows(message_row)
        .await?;
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    if after_seq.is_none() {
        messages.reverse();
    }
    Ok(ChatOk::Messages { messages, has_more })
}

/// Messages and everything else of the log, by position.
pub(super) async fn read_log(
    db: &mut Db,
    room: &RoomId,
    after_seq: u64,
    limit: usize,
) -> Result<ChatOk, Stop> {
    if !exists(db, room).await? {
        return Err(StoreError::NotFound.into());
    }
    let limit_and_one = limit as u64 + 1;
    let messages = db
        .query("SELECT * FROM messages WHERE room = $1 AND seq > $2 ORDER BY seq LIMIT $3")
        .bind(room.as_str())
        .number(after_seq)
        .number(limit_and_one)
        .rows(|row| {
            let message = message_row(row)?;
            Ok(LogEntry {
                seq: message.seq,
                at_ms: message.created_at_ms,
                event: LogEvent::Message(message),
            })
        })
        .await?;
    let mut entries = db
        .query(
            "SELECT room_log.*, messages.text FROM room_log
             LEFT JOIN messages ON messages.id = room_log.message_id
             WHERE room_log.room = $1 AND room_log.seq > $2 ORDER BY room_log.seq LIMIT $3",
        )
        .bind(room.as_str())
        .number(after_seq)
        .number(limit_and_one)
        .rows(entry_row)
        .await?;
    entries.extend(messages);
    entries.sort_by_key(|entry| entry.seq);
    let is_complete = entries.len() <= limit;
    entries.truncate(limit);
    Ok(ChatOk::Log {
        entries,
        is_complete,
    })
}

async fn exists(db: &mut Db, room: &RoomId) -> sqlx::Result<bool> {
    let found = db
        .query("SELECT 1 FROM rooms WHERE id = $1")
        .bind(room.as_str())
        .row(|_| Ok(()))
        .await?;
    Ok(found.is_some())
}

fn entry_row(row: &Row) -> sqlx::Result<LogEntry> {
    let event = match row.get("kind")? {
        "edited" => LogEvent::Edited {
            id: row.get("message_id")?,
            text: row.get("text")?,
        },
        "deleted" => LogEvent::Deleted {
            id: row.get("message_id")?,
            by: user_id(row, "by_user")?,
        },
        _ => LogEvent::Changed {
            by: user_row(row, "by_user", "by_name")?,
            change: from_json(row.get("change")?)?,
        },
    };
    Ok(LogEntry {
        seq: row.number("seq")?,
        at_ms: row.number("at_ms")?,
        event,
    })
}

pub(super) fn message_row(row: &Row) -> sqlx::Result<Message> {
    let attachments: Option<&str> = row.get("attachments")?;
    Ok(Message {
        id: row.get("id")?,
        room: room_id(row, "room")?,
        seq: row.number("seq")?,
        sender: user_row(row, "sender", "sender_name")?,
        text: row.get("text")?,
        client_id: row.get("client_id")?,
        reply_to_id: row.get("reply_to_id")?,
        attachments: attachments.map_or(Ok(Vec::new()), from_json)?,
        created_at_ms: row.number("created_at_ms")?,
        edited_at_ms: row.optional_number("edited_at_ms")?,
        deleted_at_ms: row.optional_number("deleted_at_ms")?,
    })
}
