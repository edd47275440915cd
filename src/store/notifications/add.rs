//! Adding a notification for many users at once, and forgetting old ones. However many there are, each step is one
//! statement.

use std::collections::{HashMap, HashSet};

use redred_signaling::id::UserId;
use redred_signaling::store::notifications::{
    Delivered, NewNotification, Notification, NotificationOk, Priority,
};

use super::super::request::{from_json, to_json};
use super::super::sql::{Db, with_list, with_pairs};

/// Where a notification ended up in somebody's inbox.
struct Placed {
    id: String,
    seq: u64,
    count: u64,
}

pub(super) async fn add(db: &mut Db, new: &NewNotification) -> sqlx::Result<NotificationOk> {
    if let Some(key) = &new.idempotency_key
        && let Some(accepted) = accepted_before(db, key, new.at_ms).await?
    {
        return Ok(NotificationOk::Added {
            stored: Vec::new(),
            accepted,
            is_repeat: true,
        });
    }
    let stored = store(db, new).await?;
    let accepted = stored.len() as u64;
    if let Some(key) = &new.idempotency_key {
        db.query("UPDATE idempotency_keys SET accepted = $2 WHERE name = $1")
            .bind(key)
            .number(accepted)
            .execute()
            .await?;
    }
    Ok(NotificationOk::Added {
        stored,
        accepted,
        is_repeat: false,
    })
}

/// Takes a key; when it is taken already, how many got what was sent with it.
async fn accepted_before(db: &mut Db, key: &str, at_ms: u64) -> sqlx::Result<Option<u64>> {
    let taken = db
        .query(
            "INSERT INTO idempotency_keys (name, accepted, at_ms) VALUES ($1, 0, $2)
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(key)
        .number(at_ms)
        .execute()
        .await?;
    if taken > 0 {
        return Ok(None);
    }
    db.query("SELECT accepted FROM idempotency_keys WHERE name = $1")
        .bind(key)
        .row(|row| row.number("accepted"))
        .await
}

async fn store(db: &mut Db, new: &NewNotification) -> sqlx::Result<Vec<Delivered>> {
    let unwilling = unwilling(db, new).await?;
    let wanted: Vec<&(UserId, String)> = new
        .recipients
        .iter()
        .filter(|(user, _)| !unwilling.contains(user.as_str()))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let users: Vec<&str> = wanted.iter().map(|(user, _)| user.as_str()).collect();
    let users = to_json(&users)?;
    let advance = with_list!(
        db,
        "INSERT INTO inboxes (user_id, last_seq, unread) SELECT value, 1, 0 FROM ",
        "$1",
        " AS wanted WHERE true
         ON CONFLICT (user_id) DO UPDATE SET last_seq = inboxes.last_seq + 1"
    );
    db.query(advance).bind(&users).execute().await?;
    let mut placed = place(db, new, &wanted).await?;

    // The first event of a line makes it unread; the others find it so.
    let begun = placed.iter().filter(|(_, placed)| placed.count == 1);
    let begun: Vec<&str> = begun.map(|(user, _)| user.as_str()).collect();
    let count = with_list!(
        db,
        "UPDATE inboxes SET unread = unread + 1 WHERE user_id IN ",
        "$1",
        ""
    );
    db.query(count).bind(to_json(&begun)?).execute().await?;
    let read = with_list!(
        db,
        "SELECT user_id, unread FROM inboxes WHERE user_id IN ",
        "$1",
        ""
    );
    let unread: Vec<(String, u64)> = db
        .query(read)
        .bind(&users)
        .rows(|row| Ok((row.get("user_id")?, row.number("unread")?)))
        .await?;
    let unread: HashMap<String, u64> = unread.into_iter().collect();

    let deliver = |(user, _): &(UserId, String)| {
        let placed = placed.remove(user.as_str())?;
        Some(Delivered {
            user: user.clone(),
            notification: notification(new, placed),
            unread: unread.get(user.as_str()).copied()?,
        })
    };
    Ok(wanted.into_iter().filter_map(deliver).collect())
}

/// Those of the recipients who mute the kind or block the actor.
async fn unwilling(db: &mut Db, new: &NewNotification) -> sqlx::Result<HashSet<String>> {
    let users: Vec<&str> = new
        .recipients
        .iter()
        .map(|(user, _)| user.as_str())
        .collect();
    let users = to_json(&users)?;
    let muting = with_list!(
        db,
        "SELECT user_id, muted_kinds FROM preferences WHERE muted_kinds <> '[]' AND user_id IN ",
        "$1",
        ""
    );
    let muting: Vec<(String, Vec<String>)> = db
        .query(muting)
        .bind(&users)
        .rows(|row| Ok((row.get("user_id")?, from_json(row.get("muted_kinds")?)?)))
        .await?;
    let mutes = |(user, kinds): (String, Vec<String>)| kinds.contains(&new.kind).then_some(user);
    let mut unwilling: HashSet<String> = muting.into_iter().filter_map(mutes).collect();
    if let Some(actor) = &new.actor {
        let blocking = with_list!(
            db,
            "SELECT user_id FROM blocks WHERE blocked = $2 AND user_id IN ",
            "$1",
            ""
        );
        let blocking: Vec<String> = db
            .query(blocking)
            .bind(&users)
            .bind(actor.id.as_str())
            .rows(|row| row.get("user_id"))
            .await?;
        unwilling.extend(blocking);
    }
    Ok(unwilling)
}

/// Adds a row for each recipient, or folds into the one that is not read yet.
async fn place(
    db: &mut Db,
    new: &NewNotification,
    wanted: &[&(UserId, String)],
) -> sqlx::Result<HashMap<String, Placed>> {
    let sql = with_pairs!(
        db,
        "INSERT INTO notifications (user_id, seq, id, kind, priority, message, actor_id, actor_name, target,
             group_key, count, created_at_ms)
         SELECT wanted.one, inboxes.last_seq, wanted.other, $2, $3, $4, $5, $6, $7, $8, 1, $9 FROM ",
        "$1",
        " AS wanted JOIN inboxes ON inboxes.user_id = wanted.one WHERE true
         ON CONFLICT (user_id, kind, group_key) WHERE read_at_ms IS NULL AND group_key IS NOT NULL
         DO UPDATE SET seq = excluded.seq, priority = excluded.priority, message = excluded.message,
             actor_id = excluded.actor_id, actor_name = excluded.actor_name, target = excluded.target,
             count = notifications.count + 1, created_at_ms = excluded.created_at_ms
         RETURNING user_id, id, seq, count"
    );
    let placed = db
        .query(sql)
        .bind(to_json(&wanted)?)
        .bind(&new.kind)
        .bind(priority_name(new.priority))
        .bind(&new.message)
        .bind(new.actor.as_ref().map(|actor| actor.id.as_str()))
        .bind(new.actor.as_ref().map(|actor| actor.name.as_str()))
        .bind(new.target.as_ref().map(to_json).transpose()?)
        .bind(&new.group_key)
        .number(new.at_ms)
        .rows(|row| {
            let placed = Placed {
                id: row.get("id")?,
                seq: row.number("seq")?,
                count: row.number("count")?,
            };
            Ok((row.get("user_id")?, placed))
        })
        .await?;
    Ok(placed.into_iter().collect())
}

fn notification(new: &NewNotification, placed: Placed) -> Notification {
    Notification {
        id: placed.id,
        seq: placed.seq,
        kind: new.kind.clone(),
        priority: new.priority,
        message: new.message.clone(),
        actor: new.actor.clone(),
        target: new.target.clone(),
        group_key: new.group_key.clone(),
        count: placed.count,
        created_at_ms: new.at_ms,
        read_at_ms: None,
    }
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Medium => "medium",
        Priority::High => "high",
    }
}

/// Deletes the oldest first, notifications before keys.
pub(super) async fn purge(
    db: &mut Db,
    created_before_ms: u64,
    keys_before_ms: u64,
    limit: usize,
) -> sqlx::Result<NotificationOk> {
    let gone: Vec<(String, bool)> = db
        .query(
            "DELETE FROM notifications WHERE number IN (
                 SELECT number FROM notifications WHERE created_at_ms < $1
                 ORDER BY created_at_ms LIMIT $2
             ) RETURNING user_id, read_at_ms IS NULL AS is_unread",
        )
        .number(created_before_ms)
        .number(limit as u64)
        .rows(|row| Ok((row.get("user_id")?, row.get("is_unread")?)))
        .await?;
    let mut lost: HashMap<&str, u64> = HashMap::new();
    for (user, is_unread) in &gone {
        *lost.entry(user).or_default() += u64::from(*is_unread);
    }
    let lost = lost.into_iter().filter(|(_, count)| *count > 0);
    let lost: Vec<(&str, u64)> = lost.collect();
    if !lost.is_empty() {
        let sql = with_pairs!(
            db,
            "UPDATE inboxes SET unread = inboxes.unread - CAST(lost.other AS BIGINT) FROM ",
            "$1",
            " AS lost WHERE inboxes.user_id = lost.one"
        );
        db.query(sql).bind(to_json(&lost)?).execute().await?;
    }
    let rows = gone.len() as u64;
    let keys = db
        .query(
            "DELETE FROM idempotency_keys WHERE name IN (
                 SELECT name FROM idempotency_keys WHERE at_ms < $1 ORDER BY at_ms LIMIT $2
             )",
        )
        .number(keys_before_ms)
        .number((limit as u64).saturating_sub(rows))
        .execute()
        .await?;
    Ok(NotificationOk::Purged { rows: rows + keys })
}
