//! Notifications: what an application's own code sends, and what a user has.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use redred_signaling::api::{self, Notify, Reply};
use redred_signaling::grants::User;
use redred_signaling::id::UserId;
use redred_signaling::message::text::Text;
use redred_signaling::store::notifications::Preferences;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::publish::kind;
use super::{PAGE_MAX, answer, ask, fresh, limit, query, unexpected, users};
use crate::auth::claims;
use crate::config::Scope;
use crate::http::{Problem, Shared, body, guard};

/// Longest `target`, as JSON.
const TARGET_BYTES_MAX: usize = 4 * 1024;

/// Longest `Idempotency-Key`.
const IDEMPOTENCY_KEY_MAX: usize = 128;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNotification {
    user_ids: Vec<UserId>,
    kind: String,
    message: Text<1, 500>,
    actor: Option<Actor>,
    target: Option<Map<String, Value>>,
    group_key: Option<Text<1, 128>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Actor {
    id: UserId,
    name: Option<String>,
}

impl Actor {
    fn into_user(self) -> Result<User, Problem> {
        claims::user(self.id.to_string(), self.name)
            .map_err(|what| Problem::invalid(format!("actor.{what}")))
    }
}

/// `POST /api/v1/notifications`.
pub(in crate::http) async fn notify(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Notifications)?;
    let idempotency_key = idempotency_key(&parts.headers)?;
    let max = app.config.notifications.recipients_max;
    let asked: NewNotification = body::json_up_to(&app, body, body::bytes_naming(max)).await?;
    let target = asked.target;
    if target
        .as_ref()
        .is_some_and(|target| json_bytes(target) > TARGET_BYTES_MAX)
    {
        return Err(Problem::invalid("target: expected at most 4 KiB of JSON"));
    }
    let request = api::Request::Notify(Box::new(Notify {
        users: users(asked.user_ids, 1..=max)?,
        kind: kind(asked.kind)?,
        message: asked.message.into_string(),
        actor: asked.actor.map(Actor::into_user).transpose()?,
        target,
        group_key: asked.group_key.map(Text::into_string),
        idempotency_key,
    }));
    if let Reply::Accepted { accepted } = ask(&app, caller, request).await? {
        Ok(answer(
            StatusCode::ACCEPTED,
            json!({ "accepted": accepted }),
        ))
    } else {
        Err(unexpected())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    unread: bool,
    before: Option<u64>,
    limit: Option<usize>,
}

/// `GET /api/v1/notifications`: the caller's own, newest first.
pub(in crate::http) async fn list(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::user_caller(&app, &parts)?;
    let page: Page = query(&parts.uri)?;
    let request = api::Request::ListNotifications {
        unread_only: page.unread,
        before: page.before,
        limit: limit(page.limit, PAGE_MAX)?,
    };
    let Reply::Notifications {
        notifications,
        has_more,
        unread,
    } = ask(&app, caller, request).await?
    else {
        return Err(unexpected());
    };
    Ok(fresh(json!({
        "notifications": notifications, "has_more": has_more, "unread": unread,
    })))
}

/// `POST /api/v1/notifications/{id}/read`.
pub(in crate::http) async fn read(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    unread(ask(&app, caller, api::Request::MarkNotificationRead { id }).await?)
}

/// `POST /api/v1/notifications/read`: all of them.
pub(in crate::http) async fn read_all(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    unread(ask(&app, caller, api::Request::MarkAllNotificationsRead).await?)
}

/// `GET /api/v1/notifications/preferences`.
pub(in crate::http) async fn preferences(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    preferred(ask(&app, caller, api::Request::GetPreferences).await?)
}

/// `PUT /api/v1/notifications/preferences`.
pub(in crate::http) async fn set_preferences(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::user_caller(&app, &parts)?;
    let asked: Preferences = body::json(&app, body).await?;
    preferred(ask(&app, caller, api::Request::SetPreferences(asked)).await?)
}

fn unread(reply: Reply) -> Result<Response, Problem> {
    if let Reply::Unread(unread) = reply {
        Ok(fresh(json!({ "unread": unread })))
    } else {
        Err(unexpected())
    }
}

fn preferred(reply: Reply) -> Result<Response, Problem> {
    if let Reply::Preferences(preferences) = reply {
        Ok(fresh(preferences))
    } else {
        Err(unexpected())
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(str::trim);
    let is_good = |key: &&str| (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len());
    match key.filter(is_good) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::invalid(
            "Idempotency-Key: expected 1 to 128 visible ASCII characters",
        )),
    }
}

/// How long an object is as JSON.
pub(super) fn json_bytes(object: &Map<String, Value>) -> usize {
    serde_json::to_string(object).map_or(usize::MAX, |text| text.len())
}
