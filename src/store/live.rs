//! The tables of live streams: what each request of the hub reads and writes.

use redred_signaling::grants::User;
use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::{
    Ban, Comment, Role, RoleEntry, Settings, StoreError, StoreOk, StoreOp, StoredRole, StreamEnded,
    StreamStarted, StreamState, Timeout,
};

use super::request::{Stop, to_json};
use super::sql::{Db, Row};

/// Carries out one request about a stream.
pub(super) async fn carry_out(db: &mut Db, op: &StoreOp) -> Result<StoreOk, Stop> {
    match op {
        StoreOp::LoadStream { stream, comments } => {
            let state = load(db, stream, *comments).await?;
            return Ok(StoreOk::Loaded(state));
        }
        StoreOp::AddComment(comment) => {
            let stored = add_comment(db, comment).await?;
            return Ok(StoreOk::Comment(stored));
        }
        StoreOp::DeleteComment {
            stream,
            id,
            by,
            at_ms,
        } => {
            if !delete_comment(db, stream, id, by, *at_ms).await? {
                return Err(StoreError::NotFound.into());
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
        StoreOp::StreamEnded(ended) => {
            if !stream_ended(db, ended).await? {
                return Err(StoreError::NotFound.into());
            }
        }
        StoreOp::Chat(_) | StoreOp::Notifications(_) => {
            unreachable!("these have tables and functions of their own")
        }
    }
    Ok(StoreOk::Done)
}

async fn load(db: &mut Db, stream: &StreamName, comments: usize) -> sqlx::Result<StreamState> {
    let bans = db
        .query("SELECT * FROM bans WHERE stream = $1")
        .bind(stream.as_str())
        .rows(ban_row)
        .await?;
    let timeouts = db
        .query("SELECT * FROM timeouts WHERE stream = $1")
        .bind(stream.as_str())
        .rows(timeout_row)
        .await?;
    let roles = db
        .query("SELECT * FROM roles WHERE stream = $1")
        .bind(stream.as_str())
        .rows(role_row)
        .await?;
    let settings = db
        .query("SELECT * FROM settings WHERE stream = $1")
        .bind(stream.as_str())
        .row(settings_row)
        .await?
        .unwrap_or_default();
    let pinned = match &settings.pinned_comment {
        Some(id) => {
            db.query(
                "SELECT * FROM comments WHERE stream = $1 AND id = $2 AND deleted_at_ms IS NULL",
            )
            .bind(stream.as_str())
            .bind(id)
            .row(comment_row)
            .await?
        }
        None => None,
    };
    let mut comments = db.query(
        "SELECT * FROM comments WHERE stream = $1 AND deleted_at_ms IS NULL ORDER BY seq DESC LIMIT $2",
    )
    .bind(stream.as_str())
    .number(comments as u64)
    .rows(comment_row)
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
async fn add_comment(db: &mut Db, comment: &Comment) -> sqlx::Result<Comment> {
    let inserted = db.query(
        "INSERT INTO comments (stream, id, user_id, user_name, role, text, highlighted, client_id, created_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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
    .number(comment.created_at_ms)
    .execute()
    .await?;
    if inserted > 0 {
        return Ok(comment.clone());
    }
    db.query("SELECT * FROM comments WHERE stream = $1 AND user_id = $2 AND client_id = $3")
        .bind(comment.stream.as_str())
        .bind(comment.user.id.as_str())
        .bind(&comment.client_id)
        .row(comment_row)
        .await?
        .ok_or(sqlx::Error::RowNotFound)
}

async fn delete_comment(
    db: &mut Db,
    stream: &StreamName,
    id: &str,
    by: &UserId,
    at_ms: u64,
) -> sqlx::Result<bool> {
    let deleted = db
        .query(
            "UPDATE comments SET deleted_by = $1, deleted_at_ms = $2
         WHERE stream = $3 AND id = $4 AND deleted_at_ms IS NULL",
        )
        .bind(by.as_str())
        .number(at_ms)
        .bind(stream.as_str())
        .bind(id)
        .execute()
        .await?;
    Ok(deleted > 0)
}

async fn ban(db: &mut Db, ban: &Ban) -> sqlx::Result<()> {
    unban(db, &ban.stream, &ban.user).await?;
    db.query(
        "INSERT INTO bans (stream, user_id, by_user, reason, at_ms) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(ban.stream.as_str())
    .bind(ban.user.as_str())
    .bind(ban.by.as_str())
    .bind(&ban.reason)
    .number(ban.at_ms)
    .execute()
    .await?;
    Ok(())
}

async fn unban(db: &mut Db, stream: &StreamName, user: &UserId) -> sqlx::Result<()> {
    for sql in [
        "DELETE FROM bans WHERE stream = $1 AND user_id = $2",
        "DELETE FROM timeouts WHERE stream = $1 AND user_id = $2",
    ] {
        db.query(sql)
            .bind(stream.as_str())
            .bind(user.as_str())
            .execute()
            .await?;
    }
    Ok(())
}

async fn timeout(db: &mut Db, timeout: &Timeout) -> sqlx::Result<()> {
    db.query(
        "INSERT INTO timeouts (stream, user_id, by_user, reason, at_ms, until_ms)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (stream, user_id) DO UPDATE SET by_user = excluded.by_user,
             reason = excluded.reason, at_ms = excluded.at_ms, until_ms = excluded.until_ms",
    )
    .bind(timeout.stream.as_str())
    .bind(timeout.user.as_str())
    .bind(timeout.by.as_str())
    .bind(&timeout.reason)
    .number(timeout.at_ms)
    .number(timeout.until_ms)
    .execute()
    .await?;
    Ok(())
}

async fn set_role(
    db: &mut Db,
    stream: &StreamName,
    user: &UserId,
    role: Option<StoredRole>,
    by: &UserId,
    at_ms: u64,
) -> sqlx::Result<()> {
    let Some(role) = role else {
        db.query("DELETE FROM roles WHERE stream = $1 AND user_id = $2")
            .bind(stream.as_str())
            .bind(user.as_str())
            .execute()
            .await?;
        return Ok(());
    };
    db.query(
        "INSERT INTO roles (stream, user_id, role, by_user, at_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (stream, user_id) DO UPDATE SET role = excluded.role,
             by_user = excluded.by_user, at_ms = excluded.at_ms",
    )
    .bind(stream.as_str())
    .bind(user.as_str())
    .bind(stored_role_name(role))
    .bind(by.as_str())
    .number(at_ms)
    .execute()
    .await?;
    Ok(())
}

async fn save_settings(db: &mut Db, stream: &StreamName, settings: &Settings) -> sqlx::Result<()> {
    db.query(
        "INSERT INTO settings (stream, slow_mode_seconds, pinned_comment) VALUES ($1, $2, $3)
         ON CONFLICT (stream) DO UPDATE SET slow_mode_seconds = excluded.slow_mode_seconds,
             pinned_comment = excluded.pinned_comment",
    )
    .bind(stream.as_str())
    .number(settings.slow_mode_seconds.into())
    .bind(&settings.pinned_comment)
    .execute()
    .await?;
    Ok(())
}

async fn stream_started(db: &mut Db, started: &StreamStarted) -> sqlx::Result<()> {
    let tags = to_json(&started.tags)?;
    db.query(
        "INSERT INTO runs (run, stream, publisher, title, tags, started_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (run) DO UPDATE SET stream = excluded.stream, publisher = excluded.publisher,
             title = excluded.title, tags = excluded.tags, started_at_ms = excluded.started_at_ms",
    )
    .bind(&started.run)
    .bind(started.stream.as_str())
    .bind(started.publisher.as_str())
    .bind(&started.title)
    .bind(tags)
    .number(started.at_ms)
    .execute()
    .await?;
    Ok(())
}

/// False when the start was never written.
async fn stream_ended(db: &mut Db, ended: &StreamEnded) -> sqlx::Result<bool> {
    let updated = db
        .query(
            "UPDATE runs SET ended_at_ms = $1, reason = $2, duration_ms = $3, peak_viewers = $4
         WHERE run = $5 AND stream = $6",
        )
        .number(ended.at_ms)
        .bind(&ended.reason)
        .number(ended.duration_ms)
        .number(ended.peak_viewers)
        .bind(&ended.run)
        .bind(ended.stream.as_str())
        .execute()
        .await?;
    Ok(updated > 0)
}

fn comment_row(row: &Row) -> sqlx::Result<Comment> {
    Ok(Comment {
        id: row.get("id")?,
        stream: stream_name(row)?,
        user: User {
            id: user_id(row, "user_id")?,
            name: row.get("user_name")?,
        },
        role: match row.get("role")? {
            "streamer" => Role::Streamer,
            "moderator" => Role::Moderator,
            "vip" => Role::Vip,
            _ => Role::Viewer,
        },
        text: row.get("text")?,
        highlighted: row.get("highlighted")?,
        client_id: row.get("client_id")?,
        created_at_ms: row.number("created_at_ms")?,
    })
}

fn ban_row(row: &Row) -> sqlx::Result<Ban> {
    Ok(Ban {
        stream: stream_name(row)?,
        user: user_id(row, "user_id")?,
        by: user_id(row, "by_user")?,
        reason: row.get("reason")?,
        at_ms: row.number("at_ms")?,
    })
}

fn timeout_row(row: &Row) -> sqlx::Result<Timeout> {
    Ok(Timeout {
        stream: stream_name(row)?,
        user: user_id(row, "user_id")?,
        by: user_id(row, "by_user")?,
        reason: row.get("reason")?,
        at_ms: row.number("at_ms")?,
        until_ms: row.number("until_ms")?,
    })
}

fn role_row(row: &Row) -> sqlx::Result<RoleEntry> {
    Ok(RoleEntry {
        user: user_id(row, "user_id")?,
        role: match row.get("role")? {
            "moderator" => StoredRole::Moderator,
            _ => StoredRole::Vip,
        },
    })
}

fn settings_row(row: &Row) -> sqlx::Result<Settings> {
    Ok(Settings {
        slow_mode_seconds: u32::try_from(row.number("slow_mode_seconds")?).unwrap_or(u32::MAX),
        pinned_comment: row.get("pinned_comment")?,
    })
}

fn stream_name(row: &Row) -> sqlx::Result<StreamName> {
    row.checked("stream", StreamName::new)
}

fn user_id(row: &Row, column: &str) -> sqlx::Result<UserId> {
    row.checked(column, UserId::new)
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
