//! Hot path. Many messages appended in a few trips to SQLite: a trip wakes two threads, which costs as much as what it
//! carries when that is one message.
//!
//! Where each message will stand is worked out here and not by the database, and rooms and members move once, to the last
//! of their messages.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use redred_signaling::id::{RoomId, UserId};
use redred_signaling::store::StoreError;
use redred_signaling::store::chat::{ChatOk, NewMessage};

use super::super::super::request::{Stop, to_json};
use super::super::super::sql::{Db, Query};
use super::super::search;
use super::{add, stored};

/// Rows of one statement: most of the largest that still has rows for it, then of the smaller ones. More rows make fewer
/// trips; each size is one more prepared statement.
const SIZES: [usize; 3] = [64, 8, 1];

/// One text for each of [`SIZES`]. Parameters have no numbers here: SQLite looks for a numbered one among all of them.
type Texts = LazyLock<[String; SIZES.len()]>;

static MESSAGES: Texts = LazyLock::new(|| {
    texts(
        "INSERT INTO messages (number, room, seq, ordinal, id, sender, sender_name, text, client_id, reply_to_id,
             attachments, created_at_ms)
         VALUES ",
        12,
        " ON CONFLICT DO NOTHING",
    )
});
static WORDS: Texts =
    LazyLock::new(|| texts("INSERT INTO message_words (rowid, words) VALUES ", 2, ""));
static MEMBERS: Texts = LazyLock::new(|| {
    texts(
        "UPDATE members SET delivered_seq = column3, read_seq = column3, read_messages = column4
         FROM (VALUES ",
        4,
        ") WHERE room = column1 AND user_id = column2",
    )
});
static ROOMS: Texts = LazyLock::new(|| {
    texts(
        "UPDATE rooms SET last_seq = column2, messages = column3, updated_at_ms = column4
         FROM (VALUES ",
        4,
        ") WHERE id = column1",
    )
});

/// Fewer are appended one by one when not all of them are new and have their room.
const SPLIT_MIN: usize = 32;

/// Where a room's log ends.
#[derive(Clone, Copy)]
struct End {
    seq: u64,
    messages: u64,
    at_ms: u64,
}

/// A message and where it will stand.
struct Placed<'m> {
    number: u64,
    end: End,
    new: &'m NewMessage,
}

/// Appends messages in their order and answers each. The outer error is the database's.
pub(in super::super::super) async fn add_all(
    db: &mut Db,
    news: &[&NewMessage],
) -> sqlx::Result<Vec<Result<ChatOk, StoreError>>> {
    let mut answers = Vec::with_capacity(news.len());
    let mut parts = vec![news];
    while let Some(part) = parts.pop() {
        if part.len() > 1 && matches!(db, Db::Sqlite(_)) {
            if let Some(ends) = add_together(db, part).await? {
                let stored = part.iter().zip(ends).map(|(new, seq)| Ok(stored(new, seq)));
                answers.extend(stored);
                continue;
            }
            // One that is repeated or has no room keeps few others from being written together.
            if part.len() >= SPLIT_MIN {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
                continue;
            }
        }
        for new in part {
            answers.push(match add(db, new).await {
                Ok(ok) => Ok(ok),
                Err(Stop::Refused(error)) => Err(error),
                Err(Stop::Failed(error)) => return Err(error),
            });
        }
    }
    Ok(answers)
}

/// The position that each message got. None, and nothing is written, when they are not all new and of rooms that exist.
async fn add_together(db: &mut Db, news: &[&NewMessage]) -> sqlx::Result<Option<Vec<u64>>> {
    if !has_targets(db, news).await? {
        return Ok(None);
    }
    let names: HashSet<&str> = news.iter().map(|new| new.room.as_str()).collect();
    let (mut ends, last_number) = ends(db, &names).await?;
    if ends.len() < names.len() {
        return Ok(None);
    }
    let mut placed = Vec::with_capacity(news.len());
    let mut members: HashMap<(&RoomId, &UserId), End> = HashMap::new();
    for (new, number) in news.iter().zip(last_number + 1..) {
        let Some(end) = ends.get_mut(new.room.as_str()) else {
            return Ok(None);
        };
        end.seq += 1;
        end.messages += 1;
        end.at_ms = new.at_ms;
        members.insert((&new.room, &new.sender.id), *end);
        placed.push(Placed {
            number,
            end: *end,
            new,
        });
    }
    if insert(db, &placed).await? < placed.len() as u64 {
        db.query("DELETE FROM messages WHERE number > $1")
            .number(last_number)
            .execute()
            .await?;
        return Ok(None);
    }
    in_chunks(db, &WORDS, &placed, |query, Placed { number, new, .. }| {
        Ok(query
            .number(*number)
            .bind(search::tokens(&new.room, &new.text)))
    })
    .await?;
    let members: Vec<_> = members.into_iter().collect();
    in_chunks(db, &MEMBERS, &members, |query, ((room, user), end)| {
        let query = query.bind(room.as_str()).bind(user.as_str());
        Ok(query.number(end.seq).number(end.messages))
    })
    .await?;
    let ends: Vec<_> = ends.into_iter().collect();
    in_chunks(db, &ROOMS, &ends, |query, (room, end)| {
        let query = query.bind(room.as_str());
        Ok(query.number(end.seq).number(end.messages).number(end.at_ms))
    })
    .await?;
    Ok(Some(placed.iter().map(|it| it.end.seq).collect()))
}

/// Whether every message that is answered to is there, or comes before its answer.
async fn has_targets(db: &mut Db, news: &[&NewMessage]) -> sqlx::Result<bool> {
    let mut coming: HashSet<(&str, &str)> = HashSet::new();
    let mut wanted: HashSet<(&str, &str)> = HashSet::new();
    for new in news {
        let room = new.room.as_str();
        if let Some(target) = &new.reply_to_id
            && !coming.contains(&(room, target.as_str()))
        {
            wanted.insert((room, target.as_str()));
        }
        coming.insert((room, new.id.as_str()));
    }
    if wanted.is_empty() {
        return Ok(true);
    }
    let pairs: Vec<_> = wanted.iter().collect();
    let found = db
        .query(
            "SELECT count(*) AS found FROM json_each($1) AS wanted
             JOIN messages ON messages.id = wanted.value ->> 1 AND messages.room = wanted.value ->> 0",
        )
        .bind(to_json(&pairs)?)
        .row(|row| row.number("found"))
        .await?;
    Ok(found == Some(wanted.len() as u64))
}

/// Where the logs of some rooms end, and the number of the newest message of all rooms.
async fn ends(db: &mut Db, rooms: &HashSet<&str>) -> sqlx::Result<(HashMap<String, End>, u64)> {
    let rows = db
        .query(
            "SELECT id, last_seq, messages, updated_at_ms,
                 (SELECT coalesce(max(number), 0) FROM messages) AS number
             FROM rooms WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(to_json(rooms)?)
        .rows(|row| {
            let end = End {
                seq: row.number("last_seq")?,
                messages: row.number("messages")?,
                at_ms: row.number("updated_at_ms")?,
            };
            Ok((row.get::<String>("id")?, end, row.number("number")?))
        })
        .await?;
    let last_number = rows.first().map_or(0, |(_, _, number)| *number);
    let ends = rows.into_iter().map(|(id, end, _)| (id, end)).collect();
    Ok((ends, last_number))
}

/// How many could be inserted. A room that has a message under the same client id keeps that one.
async fn insert(db: &mut Db, placed: &[Placed<'_>]) -> sqlx::Result<u64> {
    in_chunks(db, &MESSAGES, placed, |query, it| {
        let new = it.new;
        let attachments = match new.attachments.as_slice() {
            [] => None,
            attachments => Some(to_json(&attachments)?),
        };
        Ok(query
            .number(it.number)
            .bind(new.room.as_str())
            .number(it.end.seq)
            .number(it.end.messages)
            .bind(&new.id)
            .bind(new.sender.id.as_str())
            .bind(&new.sender.name)
            .bind(&new.text)
            .bind(&new.client_id)
            .bind(&new.reply_to_id)
            .bind(attachments)
            .number(new.at_ms))
    })
    .await
}

/// Runs a statement over all rows, as many of them at a time as it goes, and says how many rows of the database changed.
async fn in_chunks<T>(
    db: &mut Db,
    texts: &'static Texts,
    mut rows: &[T],
    bind: impl for<'q> Fn(Query<'q>, &T) -> sqlx::Result<Query<'q>>,
) -> sqlx::Result<u64> {
    let mut changed = 0;
    for (size, text) in SIZES.into_iter().zip(texts.iter()) {
        while let Some((chunk, rest)) = rows.split_at_checked(size) {
            let mut query = db.query(text);
            for row in chunk {
                query = bind(query, row)?;
            }
            changed += query.execute().await?;
            rows = rest;
        }
    }
    Ok(changed)
}

fn texts(before: &str, columns: usize, after: &str) -> [String; SIZES.len()] {
    let row = format!("({})", vec!["?"; columns].join(", "));
    SIZES.map(|size| {
        let rows = vec![row.as_str(); size].join(", ");
        format!("{before}{rows}{after}")
    })
}
