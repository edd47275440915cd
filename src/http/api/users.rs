//! People: whether they are connected, and sending them away.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use redred_signaling::api::{self, Reply};
use redred_signaling::message::text::Text;
use serde::Deserialize;
use serde_json::json;

use super::{ask, fresh, unexpected, user};
use crate::config::Scope;
use crate::http::{Problem, Shared, body, guard};

/// `GET /api/v1/users/{id}/presence`.
pub(in crate::http) async fn presence(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, &request.into_parts().0, Scope::Users)?;
    let user = user(id)?;
    if let Reply::Presence(presence) = ask(&app, caller, api::Request::GetPresence { user }).await?
    {
        Ok(fresh(presence))
    } else {
        Err(unexpected())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Farewell {
    reason: Option<Text<1, 100>>,
}

/// `POST /api/v1/users/{id}/disconnect`: their sessions are closed with 4503.
pub(in crate::http) async fn disconnect(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Users)?;
    let user = user(id)?;
    let Farewell { reason } = body::json(&app, body).await?;
    let reason = reason.map(Text::into_string);
    if let Reply::Disconnected { sessions } =
        ask(&app, caller, api::Request::DisconnectUser { user, reason }).await?
    {
        Ok(fresh(json!({ "sessions": sessions })))
    } else {
        Err(unexpected())
    }
}
