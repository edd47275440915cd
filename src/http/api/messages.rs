//! Messages of rooms: history, writing, search.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use redred_signaling::api::{self, Reply};
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::message::chat::WriteMessage;
use redred_signaling::message::text::Text;
use redred_signaling::store::chat::Attachment;
use redred_signaling::time::parse_rfc3339;
use serde::Deserialize;
use serde_json::json;

use super::{PAGE_MAX, answer, ask, fresh, limit, query, room, unexpected};
use crate::auth::API_USER;
use crate::config::Scope;
use crate::http::{Problem, Shared, body, guard};

/// Messages that one search finds at most.
const FOUND_MAX: usize = 100;

/// Attachments of one message.
const ATTACHMENTS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before_seq: Option<u64>,
    after_seq: Option<u64>,
    limit: Option<usize>,
}

/// `GET /api/v1/rooms/{id}/messages`.
pub(in crate::http) async fn list(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Messages)?;
    let page: Page = query(&parts.uri)?;
    if page.before_seq.is_some() && page.after_seq.is_some() {
        let what = "the query: expected before_seq or after_seq, not both";
        return Err(Problem::invalid(what));
    }
    let request = api::Request::RoomMessages {
        room: room(id)?,
        before_seq: page.before_seq,
        after_seq: page.after_seq,
        limit: limit(page.limit, PAGE_MAX)?,
    };
    messages(ask(&app, caller, request).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    #[serde(default = "nothing")]
    text: Text<0, 4000>,
    client_id: Option<Text<1, 64>>,
    reply_to_id: Option<Text<1, 64>>,
    #[serde(default)]
    attachments: Vec<Attachment>,
    sender: Option<UserId>,
}

fn nothing() -> Text<0, 4000> {
    Text::new("").expect("as long as it must be")
}

/// `POST /api/v1/rooms/{id}/messages`: 201, or 200 with the first result of the same `client_id`.
pub(in crate::http) async fn write(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Messages)?;
    let room = room(id)?;
    let asked: NewMessage = body::json(&app, body).await?;
    if asked.attachments.len() > ATTACHMENTS_MAX {
        let what = format!("attachments: expected at most {ATTACHMENTS_MAX}");
        return Err(Problem::invalid(what));
    }
    if asked.sender.is_none() && caller.user.id.as_str() == API_USER && caller.grants.admin {
        let what = "sender: expected a user id, because an API key is no user";
        return Err(Problem::invalid(what));
    }
    let request = api::Request::PostMessage {
        room,
        sender: asked.sender,
        message: WriteMessage {
            text: asked.text,
            client_id: asked.client_id,
            reply_to_id: asked.reply_to_id,
            attachments: asked.attachments,
        },
    };
    let Reply::Posted { message, is_new } = ask(&app, caller, request).await? else {
        return Err(unexpected());
    };
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(answer(status, message))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    q: Option<Text<1, 200>>,
    room: Option<RoomId>,
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/search`: in the caller's own rooms.
pub(in crate::http) async fn search(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::user_caller(&app, &parts)?;
    let asked: Search = query(&parts.uri)?;
    let text = asked
        .q
        .ok_or_else(|| Problem::invalid("q: expected 1 to 200 characters to search for"))?;
    let moment = |text: String| {
        parse_rfc3339(&text)
            .ok_or_else(|| Problem::invalid("before: expected 2026-11-24T12:00:00.000Z"))
    };
    let request = api::Request::SearchMessages {
        text: text.into_string(),
        room: asked.room,
        before_ms: asked.before.map(moment).transpose()?,
        limit: limit(asked.limit, FOUND_MAX)?,
    };
    messages(ask(&app, caller, request).await?)
}

fn messages(reply: Reply) -> Result<Response, Problem> {
    if let Reply::Messages { messages, has_more } = reply {
        Ok(fresh(json!({ "messages": messages, "has_more": has_more })))
    } else {
        Err(unexpected())
    }
}
