//! Who follows which stream. A stream may have a hundred thousand followers, so they are counted as they come and go,
//! and a new list changes only what differs.

use std::collections::HashSet;

use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::notifications::{FollowerChange, NotificationOk};

use super::super::request::to_json;
use super::super::sql::{Db, signed, with_list};

/// Users in one statement; each statement has a time within which it must end.
const PART: usize = 5000;

pub(super) async fn change(
    db: &mut Db,
    stream: &StreamName,
    change: &FollowerChange,
    limit: usize,
    at_ms: u64,
) -> sqlx::Result<NotificationOk> {
    let (added, removed) = match change {
        FollowerChange::Replace(users) => {
            let had: HashSet<String> = db
                .query("SELECT user_id FROM followers WHERE stream = $1")
                .bind(stream.as_str())
                .rows(|row| row.get("user_id"))
                .await?
                .into_iter()
                .collect();
            let wanted: HashSet<&str> = users.iter().map(UserId::as_str).collect();
            let gone = had
                .iter()
                .map(String::as_str)
                .filter(|user| !wanted.contains(user));
            let new = wanted.iter().copied().filter(|user| !had.contains(*user));
            let removed = remove(db, stream, &gone.collect::<Vec<_>>()).await?;
            (
                add(db, stream, &new.collect::<Vec<_>>(), at_ms).await?,
                removed,
            )
        }
        FollowerChange::Add(user) => {
            if !has_room(db, stream, user, limit).await? {
                return Ok(NotificationOk::FollowersFull);
            }
            (add(db, stream, &[user.as_str()], at_ms).await?, 0)
        }
        FollowerChange::Remove(user) => (0, remove(db, stream, &[user.as_str()]).await?),
    };
    let count = db
        .query(
            "INSERT INTO follower_counts (stream, followers) VALUES ($1, $2)
             ON CONFLICT (stream) DO UPDATE SET followers = follower_counts.followers + $3
             RETURNING followers",
        )
        .bind(stream.as_str())
        .number(added)
        .bind(signed(added) - signed(removed))
        .row(|row| row.number("followers"))
        .await?;
    Ok(NotificationOk::Followers {
        users: Vec::new(),
        count: count.unwrap_or(0),
        has_more: false,
    })
}

/// Whether there is room for a follower, or it is one already.
async fn has_room(
    db: &mut Db,
    stream: &StreamName,
    user: &UserId,
    limit: usize,
) -> sqlx::Result<bool> {
    let missing = db
        .query(
            "SELECT followers FROM follower_counts WHERE stream = $1 AND followers >= $3
             AND NOT EXISTS (SELECT 1 FROM followers WHERE stream = $1 AND user_id = $2)",
        )
        .bind(stream.as_str())
        .bind(user.as_str())
        .number(limit as u64)
        .row(|row| row.number("followers"))
        .await?;
    Ok(missing.is_none())
}

async fn add(db: &mut Db, stream: &StreamName, users: &[&str], at_ms: u64) -> sqlx::Result<u64> {
    let mut added = 0;
    let sql = with_list!(
        db,
        "INSERT INTO followers (stream, user_id, at_ms) SELECT $2, value, $3 FROM ",
        "$1",
        " AS wanted WHERE true ON CONFLICT (stream, user_id) DO NOTHING"
    );
    for part in users.chunks(PART) {
        added += db
            .query(sql)
            .bind(to_json(&part)?)
            .bind(stream.as_str())
            .number(at_ms)
            .execute()
            .await?;
    }
    Ok(added)
}

async fn remove(db: &mut Db, stream: &StreamName, users: &[&str]) -> sqlx::Result<u64> {
    let mut removed = 0;
    let sql = with_list!(
        db,
        "DELETE FROM followers WHERE stream = $2 AND user_id IN ",
        "$1",
        ""
    );
    for part in users.chunks(PART) {
        removed += db
            .query(sql)
            .bind(to_json(&part)?)
            .bind(stream.as_str())
            .execute()
            .await?;
    }
    Ok(removed)
}

pub(super) async fn list(
    db: &mut Db,
    stream: &StreamName,
    after: Option<&UserId>,
    limit: usize,
) -> sqlx::Result<NotificationOk> {
    let mut users = db
        .query(
            "SELECT user_id FROM followers WHERE stream = $1 AND user_id > $2
             ORDER BY user_id LIMIT $3",
        )
        .bind(stream.as_str())
        .bind(after.map_or("", UserId::as_str))
        .number(limit as u64 + 1)
        .rows(|row| row.checked("user_id", UserId::new))
        .await?;
    let has_more = users.len() > limit;
    users.truncate(limit);
    let count = db
        .query("SELECT followers FROM follower_counts WHERE stream = $1")
        .bind(stream.as_str())
        .row(|row| row.number("followers"))
        .await?;
    Ok(NotificationOk::Followers {
        users,
        count: count.unwrap_or(0),
        has_more,
    })
}
