//! Messages of an application's own to a channel.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use redred_signaling::api;
use redred_signaling::id::{Channel, UserId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask;
use super::notifications::json_bytes;
use crate::config::Scope;
use crate::http::{Problem, Shared, body, guard};

/// Longest `payload`, as JSON.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication {
    channel: Channel,
    user: Option<UserId>,
    kind: String,
    #[serde(default)]
    payload: Map<String, Value>,
}

/// `POST /api/v1/publish`.
pub(in crate::http) async fn publish(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Publish)?;
    let asked: Publication = body::json(&app, body).await?;
    if json_bytes(&asked.payload) > PAYLOAD_BYTES_MAX {
        let what = "payload: expected at most 16 KiB of JSON";
        return Err(Problem::invalid(what));
    }
    let request = api::Request::Publish {
        channel: asked.channel,
        user: asked.user,
        kind: kind(asked.kind)?,
        payload: asked.payload,
    };
    ask(&app, caller, request).await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// What an application calls a message or notification.
pub(super) fn kind(text: String) -> Result<String, Problem> {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
    };
    let is_good = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    is_good
        .then_some(text)
        .ok_or_else(|| Problem::invalid("kind: expected 1 to 64 of a-z 0-9 _ . -"))
}
