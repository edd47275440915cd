//! Tokens that this server signs: for other servers, and in dev mode for everybody.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use redred_signaling::grants::{Grants, User};
use redred_signaling::time::rfc3339;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fresh;
use crate::auth::{self, claims};
use crate::config::Scope;
use crate::http::{App, Problem, Shared, body, guard};

/// Life of a token of dev mode: a working day with its evening.
const DEV_TTL: Duration = Duration::from_secs(12 * 3600);

/// Life of a token that another server asks for without saying.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    sub: Option<String>,
    name: Option<String>,
    grants: Option<Value>,
    ttl_seconds: Option<u64>,
}

/// `POST /api/v1/tokens`, for other servers.
pub(in crate::http) async fn create(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    guard::server(&app, &parts, Scope::Tokens)?;
    let asked: TokenRequest = body::json(&app, body).await?;
    let sub = asked
        .sub
        .ok_or_else(|| Problem::invalid("sub: expected a user id"))?;
    let user = claims::user(sub, asked.name).map_err(Problem::invalid)?;
    let ttl = match asked.ttl_seconds.map(Duration::from_secs) {
        None => DEFAULT_TTL,
        Some(ttl) if !ttl.is_zero() && ttl <= auth::TTL_MAX => ttl,
        Some(_) => return Err(Problem::invalid("ttl_seconds: expected 1 to 2592000")),
    };
    signed(&app, &user, asked.grants, ttl)
}

/// `POST /api/v1/dev/token`, for everybody on this machine.
pub(in crate::http) async fn create_dev(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    if !app.verifier.is_dev() {
        return Err(Problem::not_found("the server is not in dev mode"));
    }
    let asked: TokenRequest = body::json(&app, request.into_body()).await?;
    if asked.ttl_seconds.is_some() {
        return Err(Problem::invalid("ttl_seconds: not part of this request"));
    }
    let sub = asked
        .sub
        .unwrap_or_else(|| format!("guest-{:08x}", rand::random::<u32>()));
    let user = claims::user(sub, asked.name).map_err(Problem::invalid)?;
    signed(&app, &user, asked.grants, DEV_TTL)
}

fn signed(
    app: &App,
    user: &User,
    grants: Option<Value>,
    ttl: Duration,
) -> Result<Response, Problem> {
    let grants = match grants {
        Some(grants) => claims::grants(grants).map_err(Problem::invalid)?,
        None => Grants::default(),
    };
    let signed = app
        .verifier
        .sign(user, &grants, ttl)
        .map_err(|error| Problem::new(StatusCode::CONFLICT, "conflict", error.to_string()))?;
    Ok(fresh(json!({
        "token": signed.token,
        "sub": user.id,
        "expires_at": rfc3339(signed.expires_at_ms),
    })))
}
