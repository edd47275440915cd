//! The tables of notifications: what each request of the hub reads and writes. Reading them is here; adding and purging,
//! and followers, have files of their own.

mod add;
mod followers;

use redred_signaling::grants::User;
use redred_signaling::id::UserId;
use redred_signaling::store::StoreError;
use redred_signaling::store::notifications::{
    Notification, NotificationOk, NotificationOp, Preferences, Priority,
};

use super::request::{Stop, from_json, to_json};
use super::sql::{Db, Row};

/// Carries out one request.
pub(super) async fn carry_out(db: &mut Db, op: &NotificationOp) -> Result<NotificationOk, Stop> {
    Ok(match op {
        NotificationOp::Add(new) => add::add(db, new).await?,
        NotificationOp::Load { user, since, limit } => load(db, user, *since, *limit).await?,
        NotificationOp::List {
            user,
            unread_only,
            before,
            limit,
        } => list(db, user, *unread_only, *before, *limit).await?,
        NotificationOp::MarkRead { user, id, at_ms } => mark_read(db, user, id, *at_ms).await?,
        NotificationOp::MarkAllRead { user, at_ms } => mark_all_read(db, user, *at_ms).await?,
        NotificationOp::MarkGroupRead {
            user,
            group_key,
            at_ms,
        } => mark_group_read(db, user, group_key, *at_ms).await?,
        NotificationOp::LoadPreferences { user } => {
            NotificationOk::Preferences(preferences(db, user).await?)
        }
        NotificationOp::SavePreferences { user, preferences } => {
            save_preferences(db, user, preferences).await?;
            NotificationOk::Preferences(preferences.clone())
        }
        NotificationOp::ChangeFollowers {
            stream,
            change,
            limit,
            at_ms,
        } => followers::change(db, stream, change, *limit, *at_ms).await?,
        NotificationOp::ListFollowers {
            stream,
            after,
            limit,
        } => followers::list(db, stream, after.as_ref(), *limit).await?,
        NotificationOp::Purge {
            created_before_ms,
            keys_before_ms,
            limit,
        } => add::purge(db, *created_before_ms, *keys_before_ms, *limit).await?,
    })
}

async fn load(
    db: &mut Db,
    user: &UserId,
    since: Option<u64>,
    limit: usize,
) -> sqlx::Result<NotificationOk> {
    let inbox = db
        .query(
            "SELECT epoch, coalesce(last_seq, 0) AS last_seq, coalesce(unread, 0) AS unread
             FROM inbox_epoch LEFT JOIN inboxes ON user_id = $1",
        )
        .bind(user.as_str())
        .row(|row| {
            Ok((
                row.get("epoch")?,
                row.number("last_seq")?,
                row.number("unread")?,
            ))
        })
        .await?;
    let (epoch, last_seq, unread) = inbox.ok_or(sqlx::Error::RowNotFound)?;
    let missed = match since {
        Some(since) if since <= last_seq => {
            let missed = db
                .query("SELECT * FROM notifications WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(user.as_str())
                .number(since)
                .number(limit as u64 + 1)
                .rows(notification_row)
                .await?;
            (missed.len() <= limit).then_some(missed)
        }
        Some(_) | None => None,
    };
    Ok(NotificationOk::Loaded {
        epoch,
        last_seq,
        unread,
        preferences: preferences(db, user).await?,
        missed,
    })
}

async fn list(
    db: &mut Db,
    user: &UserId,
    unread_only: bool,
    before: Option<u64>,
    limit: usize,
) -> sqlx::Result<NotificationOk> {
    let sql = if unread_only {
        "SELECT * FROM notifications WHERE user_id = $1 AND seq < $2 AND read_at_ms IS NULL
         ORDER BY seq DESC LIMIT $3"
    } else {
        "SELECT * FROM notifications WHERE user_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
    };
    let mut notifications = db
        .query(sql)
        .bind(user.as_str())
        .number(before.unwrap_or(u64::MAX))
        .number(limit as u64 + 1)
        .rows(notification_row)
        .await?;
    let has_more = notifications.len() > limit;
    notifications.truncate(limit);
    Ok(NotificationOk::Listed {
        notifications,
        has_more,
        unread: unread(db, user).await?,
    })
}

async fn mark_read(
    db: &mut Db,
    user: &UserId,
    id: &str,
    at_ms: u64,
) -> Result<NotificationOk, Stop> {
    let changed = db
        .query(
            "UPDATE notifications SET read_at_ms = $3
             WHERE user_id = $1 AND id = $2 AND read_at_ms IS NULL",
        )
        .bind(user.as_str())
        .bind(id)
        .number(at_ms)
        .execute()
        .await?;
    if changed == 0 {
        let found = db
            .query("SELECT 1 FROM notifications WHERE user_id = $1 AND id = $2")
            .bind(user.as_str())
            .bind(id)
            .row(|_| Ok(()))
            .await?;
        found.ok_or(StoreError::NotFound)?;
    }
    read(db, user, changed).await.map_err(Stop::from)
}

async fn mark_all_read(db: &mut Db, user: &UserId, at_ms: u64) -> sqlx::Result<NotificationOk> {
    let changed = db
        .query("UPDATE notifications SET read_at_ms = $2 WHERE user_id = $1 AND read_at_ms IS NULL")
        .bind(user.as_str())
        .number(at_ms)
        .execute()
        .await?;
    read(db, user, changed).await
}

/// Counts what was just marked.
async fn read(db: &mut Db, user: &UserId, changed: u64) -> sqlx::Result<NotificationOk> {
    lower_unread(db, user, changed).await?;
    Ok(NotificationOk::Read {
        unread: unread(db, user).await?,
        has_changed: changed > 0,
    })
}

async fn mark_group_read(
    db: &mut Db,
    user: &UserId,
    group_key: &str,
    at_ms: u64,
) -> sqlx::Result<NotificationOk> {
    let mut read: Vec<(u64, String)> = db
        .query(
            "UPDATE notifications SET read_at_ms = $3
             WHERE user_id = $1 AND group_key = $2 AND read_at_ms IS NULL RETURNING seq, id",
        )
        .bind(user.as_str())
        .bind(group_key)
        .number(at_ms)
        .rows(|row| Ok((row.number("seq")?, row.get("id")?)))
        .await?;
    lower_unread(db, user, read.len() as u64).await?;
    read.sort_unstable();
    Ok(NotificationOk::GroupRead {
        ids: read.into_iter().map(|(_, id)| id).collect(),
        unread: unread(db, user).await?,
    })
}

async fn lower_unread(db: &mut Db, user: &UserId, by: u64) -> sqlx::Result<()> {
    if by > 0 {
        db.query("UPDATE inboxes SET unread = unread - $2 WHERE user_id = $1")
            .bind(user.as_str())
            .number(by)
            .execute()
            .await?;
    }
    Ok(())
}

async fn unread(db: &mut Db, user: &UserId) -> sqlx::Result<u64> {
    let unread = db
        .query("SELECT unread FROM inboxes WHERE user_id = $1")
        .bind(user.as_str())
        .row(|row| row.number("unread"))
        .await?;
    Ok(unread.unwrap_or(0))
}

async fn preferences(db: &mut Db, user: &UserId) -> sqlx::Result<Preferences> {
    let preferences = db
        .query("SELECT muted_kinds, quiet_hours FROM preferences WHERE user_id = $1")
        .bind(user.as_str())
        .row(|row| {
            let quiet_hours: Option<&str> = row.get("quiet_hours")?;
            Ok(Preferences {
                muted_kinds: from_json(row.get("muted_kinds")?)?,
                quiet_hours: quiet_hours.map(from_json).transpose()?,
            })
        })
        .await?;
    Ok(preferences.unwrap_or_default())
}

async fn save_preferences(
    db: &mut Db,
    user: &UserId,
    preferences: &Preferences,
) -> sqlx::Result<()> {
    let quiet_hours = preferences.quiet_hours.as_ref().map(to_json).transpose()?;
    db.query(
        "INSERT INTO preferences (user_id, muted_kinds, quiet_hours) VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE SET muted_kinds = excluded.muted_kinds,
             quiet_hours = excluded.quiet_hours",
    )
    .bind(user.as_str())
    .bind(to_json(&preferences.muted_kinds)?)
    .bind(quiet_hours)
    .execute()
    .await?;
    Ok(())
}

fn notification_row(row: &Row) -> sqlx::Result<Notification> {
    let actor_id: Option<String> = row.get("actor_id")?;
    let actor = actor_id.map(|_| {
        Ok::<_, sqlx::Error>(User {
            id: row.checked("actor_id", UserId::new)?,
            name: row.get("actor_name")?,
        })
    });
    let target: Option<&str> = row.get("target")?;
    Ok(Notification {
        id: row.get("id")?,
        seq: row.number("seq")?,
        kind: row.get("kind")?,
        priority: match row.get("priority")? {
            "high" => Priority::High,
            _ => Priority::Medium,
        },
        message: row.get("message")?,
        actor: actor.transpose()?,
        target: target.map(from_json).transpose()?,
        group_key: row.get("group_key")?,
        count: row.number("count")?,
        created_at_ms: row.number("created_at_ms")?,
        read_at_ms: row.optional_number("read_at_ms")?,
    })
}
