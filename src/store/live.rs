//! The tables of live streams: what each request of the hub reads and writes.

use redred_signaling::grants::User;
use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::{
    Ban, Comment, Role, RoleEntry, Settings, StoreError, StoreOk, StoreOp, StoredRole, StreamEnded,
    StreamStarted, StreamState, Timeout,
};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

/// Carries out one request. The outer error is the database's and spoils the transaction, the inner one is an answer.
pub(super) async fn execute(
    db: &mut SqliteConnection,
    op: &StoreOp,
) -> sqlx::Result<Result<StoreOk, StoreError>> {
    match op {
        StoreOp::LoadStream { stream, comments } => {
            let state = load(db, stream, *comments).await?;
            return Ok(Ok(StoreOk::Loaded(state)));
        }
        StoreOp::AddComment(comment) => {
            let stored = add_comment(db, comment).await?;
            return Ok(Ok(StoreOk::Comment(stored)));
        }
        StoreOp::DeleteComment {
            stream,
            id,
            by,
            at_ms,
        } => {
            if !delete_comment(db, stream, id, by, *at_ms).await? {
                return Ok(Err(StoreError::NotFound));
            }
        }
        StoreOp::Ban(new) => ban(db, new).await?,
        StoreOp::Unban { stream, user, .. } => unban(db, stream, user).await?,
        StoreOp::Timeout(new) => timeout(db, new).await?,
        StoreOp::SetRole {
            stream,
            user,
            role,
            by,
            at_ms,
        } => {
            set_role(db, stream, user, *role, by, *at_ms).await?;
        }
        StoreOp::SaveSettings { stream, settings } => save_settings(db, stream, settings).await?,
        StoreOp::StreamStarted(started) => stream_started(db, started).await?,
        StoreOp::Chat(_) | StoreOp::Notifications(_) => {
            let what = String::from("no such tables");
            return Ok(Err(StoreError::Unavailable(what)));
        }
        StoreOp::StreamEnded(ended) => {
            if !stream_ended(db, ended).await? {
                return Ok(Err(StoreError::NotFound));
            }
        }
    }
    Ok(Ok(StoreOk::Done))
}

async fn load(
    db: &mut SqliteConnection,
    stream: &StreamName,
    comments: usize,
) -> sqlx::Result<StreamState> {
    let bans = sqlx::query("SELECT * FROM bans WHERE stream = ?")
        .bind(stream.as_str())
        .try_map(ban_row)
        .fetch_all(&mut *db)
        .await?;
    let timeouts = sqlx::query("SELECT * FROM timeouts WHERE stream = ?")
        .bind(stream.as_str())
        .try_map(timeout_row)
        .fetch_all(&mut *db)
        .await?;
    let roles = sqlx::query("SELECT * FROM roles WHERE stream = ?")
        .bind(stream.as_str())
        .try_map(role_row)
        .fetch_all(&mut *db)
        .await?;
    let settings = sqlx::query("SELECT * FROM settings WHERE stream = ?")
        .bind(stream.as_str())
        .try_map(settings_row)
        .fetch_optional(&mut *db)
        .await?
        .unwrap_or_default();
    let pinned = match &settings.pinned_comment {
        Some(id) => {
            sqlx::query(
                "SELECT * FROM comments WHERE stream = ? AND id = ? AND deleted_at_ms IS NULL",
            )
            .bind(stream.as_str())
            .bind(id)
            .try_map(comment_row)
            .fetch_optional(&mut *db)
            .await?
        }
        None => None,
    };
    let mut comments = sqlx::query(
        "SELECT * FROM comments WHERE stream = ? AND deleted_at_ms IS NULL ORDER BY seq DESC LIMIT ?",
    )
    .bind(stream.as_str())
    .bind(i64::try_from(comments).unwrap_or(i64::MAX))
    .try_map(comment_row)
    .fetch_all(&mut *db)
    .await?;
    comments.reverse();
    Ok(StreamState {
        bans,
        timeouts,
        roles,
        settings,
        pinned,
        comments,
    })
}

/// Stores a comment, or finds the one that the same user has stored under the same client id.
async fn add_comment(db: &mut SqliteConnection, comment: &Comment) -> sqlx::Result<Comment> {
    let inserted = sqlx::query(
        "INSERT INTO comments (stream, id, user_id, user_name, role, text, highlighted, client_id, created_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (stream, user_id, client_id) WHERE client_id IS NOT NULL DO NOTHING",
    )
    .bind(comment.stream.as_str())
    .bind(&comment.id)
    .bind(comment.user.id.as_str())
    .bind(&comment.user.name)
    .bind(role_name(comment.role))
    .bind(&comment.text)
    .bind(comment.highlighted)
    .bind(&comment.client_id)
    .bind(millis(comment.created_at_ms))
    .execute(&mut *db)
    .await?;
    if inserted.rows_affected() > 0 {
        return Ok(comment.clone());
    }
    sqlx::query("SELECT * FROM comments WHERE stream = ? AND user_id = ? AND client_id = ?")
        .bind(comment.stream.as_str())
        .bind(comment.user.id.as_str())
        .bind(&comment.client_id)
        .try_map(comment_row)
        .fetch_one(db)
        .await
}

async fn delete_comment(
    db: &mut SqliteConnection,
    stream: &StreamName,
    id: &str,
    by: &UserId,
    at_ms: u64,
) -> sqlx::Result<bool> {
    let deleted = sqlx::query(
        "UPDATE comments SET deleted_by = ?, deleted_at_ms = ?
         WHERE stream = ? AND id = ? AND deleted_at_ms IS NULL",
    )
    .bind(by.as_str())
    .bind(millis(at_ms))
    .bind(stream.as_str())
    .bind(id)
    .execute(db)
    .await?;
    Ok(deleted.rows_affected() > 0)
}

async fn ban(db: &mut SqliteConnection, ban: &Ban) -> sqlx::Result<()> {
    unban(db, &ban.stream, &ban.user).await?;
    sqlx::query(
        "INSERT INTO bans (stream, user_id, by_user, reason, at_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(ban.stream.as_str())
    .bind(ban.user.as_str())
    .bind(ban.by.as_str())
    .bind(&ban.reason)
    .bind(millis(ban.at_ms))
    .execute(db)
    .await?;
    Ok(())
}

async fn unban(db: &mut SqliteConnection, stream: &StreamName, user: &UserId) -> sqlx::Result<()> {
    for sql in [
        "DELETE FROM bans WHERE stream = ? AND user_id = ?",
        "DELETE FROM timeouts WHERE stream = ? AND user_id = ?",
    ] {
        sqlx::query(sql)
            .bind(stream.as_str())
            .bind(user.as_str())
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

async fn timeout(db: &mut SqliteConnection, timeout: &Timeout) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO timeouts (stream, user_id, by_user, reason, at_ms, until_ms)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(timeout.stream.as_str())
    .bind(timeout.user.as_str())
    .bind(timeout.by.as_str())
    .bind(&timeout.reason)
    .bind(millis(timeout.at_ms))
    .bind(millis(timeout.until_ms))
    .execute(db)
    .await?;
    Ok(())
}

async fn set_role(
    db: &mut SqliteConnection,
    stream: &StreamName,
    user: &UserId,
    role: Option<StoredRole>,
    by: &UserId,
    at_ms: u64,
) -> sqlx::Result<()> {
    let Some(role) = role else {
        sqlx::query("DELETE FROM roles WHERE stream = ? AND user_id = ?")
            .bind(stream.as_str())
            .bind(user.as_str())
            .execute(db)
            .await?;
        return Ok(());
    };
    sqlx::query(
        "INSERT OR REPLACE INTO roles (stream, user_id, role, by_user, at_ms) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(stream.as_str())
    .bind(user.as_str())
    .bind(stored_role_name(role))
    .bind(by.as_str())
    .bind(millis(at_ms))
    .execute(db)
    .await?;
    Ok(())
}

async fn save_settings(
    db: &mut SqliteConnection,
    stream: &StreamName,
    settings: &Settings,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT OR REPLACE INTO settings (stream, slow_mode_seconds, pinned_comment) VALUES (?, ?, ?)",
    )
    .bind(stream.as_str())
    .bind(settings.slow_mode_seconds)
    .bind(&settings.pinned_comment)
    .execute(db)
    .await?;
    Ok(())
}

async fn stream_started(db: &mut SqliteConnection, started: &StreamStarted) -> sqlx::Result<()> {
    let tags =
        serde_json::to_string(&started.tags).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "INSERT OR REPLACE INTO runs (run, stream, publisher, title, tags, started_at_ms)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&started.run)
    .bind(started.stream.as_str())
    .bind(started.publisher.as_str())
    .bind(&started.title)
    .bind(tags)
    .bind(millis(started.at_ms))
    .execute(db)
    .await?;
    Ok(())
}

/// False when the start was never written.
async fn stream_ended(db: &mut SqliteConnection, ended: &StreamEnded) -> sqlx::Result<bool> {
    let updated = sqlx::query(
        "UPDATE runs SET ended_at_ms = ?, reason = ?, duration_ms = ?, peak_viewers = ?
         WHERE run = ? AND stream = ?",
    )
    .bind(millis(ended.at_ms))
    .bind(&ended.reason)
    .bind(millis(ended.duration_ms))
    .bind(millis(ended.peak_viewers))
    .bind(&ended.run)
    .bind(ended.stream.as_str())
    .execute(db)
    .await?;
    Ok(updated.rows_affected() > 0)
}

fn comment_row(row: SqliteRow) -> sqlx::Result<Comment> {
    Ok(Comment {
        id: row.try_get("id")?,
        stream: stream_name(&row)?,
        user: User {
            id: user_id(&row, "user_id")?,
            name: row.try_get("user_name")?,
        },
        role: match row.try_get("role")? {
            "streamer" => Role::Streamer,
            "moderator" => Role::Moderator,
            "vip" => Role::Vip,
            _ => Role::Viewer,
        },
        text: row.try_get("text")?,
        highlighted: row.try_get("highlighted")?,
        client_id: row.try_get("client_id")?,
        created_at_ms: row_millis(&row, "created_at_ms")?,
    })
}

fn ban_row(row: SqliteRow) -> sqlx::Result<Ban> {
    Ok(Ban {
        stream: stream_name(&row)?,
        user: user_id(&row, "user_id")?,
        by: user_id(&row, "by_user")?,
        reason: row.try_get("reason")?,
        at_ms: row_millis(&row, "at_ms")?,
    })
}

fn timeout_row(row: SqliteRow) -> sqlx::Result<Timeout> {
    Ok(Timeout {
        stream: stream_name(&row)?,
        user: user_id(&row, "user_id")?,
        by: user_id(&row, "by_user")?,
        reason: row.try_get("reason")?,
        at_ms: row_millis(&row, "at_ms")?,
        until_ms: row_millis(&row, "until_ms")?,
    })
}

fn role_row(row: SqliteRow) -> sqlx::Result<RoleEntry> {
    Ok(RoleEntry {
        user: user_id(&row, "user_id")?,
        role: match row.try_get("role")? {
            "moderator" => StoredRole::Moderator,
            _ => StoredRole::Vip,
        },
    })
}

fn settings_row(row: SqliteRow) -> sqlx::Result<Settings> {
    Ok(Settings {
        slow_mode_seconds: row.try_get("slow_mode_seconds")?,
        pinned_comment: row.try_get("pinned_comment")?,
    })
}

fn stream_name(row: &SqliteRow) -> sqlx::Result<StreamName> {
    let text: String = row.try_get("stream")?;
    StreamName::new(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn user_id(row: &SqliteRow, column: &str) -> sqlx::Result<UserId> {
    let text: String = row.try_get(column)?;
    UserId::new(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

fn row_millis(row: &SqliteRow, column: &str) -> sqlx::Result<u64> {
    let value: i64 = row.try_get(column)?;
    Ok(u64::try_from(value).unwrap_or_default())
}

/// SQLite's integers are signed; unix milliseconds use 41 bits of them.
fn millis(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Vip => "vip",
        Role::Moderator => "moderator",
        Role::Streamer => "streamer",
    }
}

fn stored_role_name(role: StoredRole) -> &'static str {
    match role {
        StoredRole::Vip => "vip",
        StoredRole::Moderator => "moderator",
    }
}
