//! Chat rooms, their members, and whom a user blocks.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use redred_signaling::api::{self, Reply};
use redred_signaling::grants::Caller;
use redred_signaling::id::{RoomId, UserId};
use redred_signaling::message::chat::RoomListing;
use redred_signaling::message::text::Text;
use redred_signaling::store::chat::{MemberRole, RoomChange, RoomCursor, RoomKind};
use serde::Deserialize;
use serde_json::json;

use super::{PAGE_MAX, answer, ask, fresh, limit, query, room, unexpected, user, users};
use crate::config::Scope;
use crate::http::{App, Problem, Shared, body, guard};

/// Users that one request may name; the hub has the limits of rooms.
const MEMBERS_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRoom {
    kind: RoomKind,
    members: Vec<UserId>,
    title: Option<Text<1, 100>>,
}

/// `POST /api/v1/rooms`: 201, or 200 with the room that the pair already has.
pub(in crate::http) async fn create(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Rooms)?;
    let asked: NewRoom = body::json(&app, body).await?;
    if asked.members.len() > MEMBERS_MAX {
        let what = format!("members: expected at most {MEMBERS_MAX} ids");
        return Err(Problem::invalid(what));
    }
    let request = api::Request::CreateRoom {
        kind: asked.kind,
        members: users(asked.members, 0..=MEMBERS_MAX)?,
        title: asked.title.map(Text::into_string),
    };
    let Reply::Room { room, is_new } = ask(&app, caller, request).await? else {
        return Err(unexpected());
    };
    let location = HeaderValue::from_str(&format!("/api/v1/rooms/{}", room.id));
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = answer(status, room);
    let location = location.expect("names are plain ASCII");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomsPage {
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/rooms`: the caller's own, the one that changed last first.
pub(in crate::http) async fn list(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::user_caller(&app, &parts)?;
    let page: RoomsPage = query(&parts.uri)?;
    let bad = || Problem::invalid("before: expected the `next` of an earlier answer");
    let before = match page.before {
        Some(cursor) => Some(read_cursor(&cursor).ok_or_else(bad)?),
        None => None,
    };
    let limit = limit(page.limit, PAGE_MAX)?;
    let request = api::Request::ListRooms { before, limit };
    let Reply::Rooms { rooms, has_more } = ask(&app, caller, request).await? else {
        return Err(unexpected());
    };
    let next = rooms.last().filter(|_| has_more).map(cursor);
    Ok(fresh(
        json!({ "rooms": rooms, "has_more": has_more, "next": next }),
    ))
}

/// `GET /api/v1/rooms/{id}`.
pub(in crate::http) async fn get(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, &request.into_parts().0, Scope::Rooms)?;
    let room = room(id)?;
    told(ask(&app, caller, api::Request::GetRoom { room }).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    title: Text<1, 100>,
}

/// `PATCH /api/v1/rooms/{id}`.
pub(in crate::http) async fn rename(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Rooms)?;
    let asked: Rename = body::json(&app, body).await?;
    let title = asked.title.into_string();
    change(&app, caller, id, RoomChange::Renamed { title }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMembers {
    user_ids: Vec<UserId>,
}

/// `POST /api/v1/rooms/{id}/members`.
pub(in crate::http) async fn add_members(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Rooms)?;
    let asked: NewMembers = body::json(&app, body).await?;
    let users = users(asked.user_ids, 1..=MEMBERS_MAX)?;
    change(&app, caller, id, RoomChange::MembersAdded { users }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRole {
    role: MemberRole,
}

/// `PATCH /api/v1/rooms/{id}/members/{user}`.
pub(in crate::http) async fn set_role(
    State(app): State<Shared>,
    Path((id, member)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::api_caller(&app, &parts, Scope::Rooms)?;
    let NewRole { role } = body::json(&app, body).await?;
    let user = user(member)?;
    change(&app, caller, id, RoomChange::RoleChanged { user, role }).await
}

/// `DELETE /api/v1/rooms/{id}/members/{user}`; of oneself: leaves.
pub(in crate::http) async fn remove_member(
    State(app): State<Shared>,
    Path((id, member)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::api_caller(&app, &request.into_parts().0, Scope::Rooms)?;
    let removed = RoomChange::MemberRemoved {
        user: user(member)?,
        new_owner: None,
    };
    change(&app, caller, id, removed).await
}

/// `GET /api/v1/blocks`.
pub(in crate::http) async fn blocks(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    if let Reply::Users(users) = ask(&app, caller, api::Request::ListBlocks).await? {
        Ok(fresh(json!({ "users": users })))
    } else {
        Err(unexpected())
    }
}

/// `PUT /api/v1/blocks/{user}`.
pub(in crate::http) async fn block(
    State(app): State<Shared>,
    Path(blocked): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    let user = user(blocked)?;
    ask(&app, caller, api::Request::Block { user }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `DELETE /api/v1/blocks/{user}`.
pub(in crate::http) async fn unblock(
    State(app): State<Shared>,
    Path(blocked): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::user_caller(&app, &request.into_parts().0)?;
    let user = user(blocked)?;
    ask(&app, caller, api::Request::Unblock { user }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn change(
    app: &App,
    caller: Caller,
    id: String,
    change: RoomChange,
) -> Result<Response, Problem> {
    let room = room(id)?;
    told(ask(app, caller, api::Request::ChangeRoom { room, change }).await?)
}

/// A room as it is now; nothing for who has left it.
fn told(reply: Reply) -> Result<Response, Problem> {
    if let Reply::Room { room, .. } = reply {
        return Ok(fresh(room));
    }
    if reply == Reply::Done {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(unexpected())
}

/// Where a page ends, as text that only this server reads.
fn cursor(last: &RoomListing) -> String {
    let place = format!("{}:{}", last.room.updated_at, last.room.id);
    BASE64_URL_SAFE_NO_PAD.encode(place)
}

fn read_cursor(text: &str) -> Option<RoomCursor> {
    let place = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let place = String::from_utf8(place).ok()?;
    let (updated_at, room) = place.split_once(':')?;
    Some(RoomCursor {
        updated_at_ms: updated_at.parse().ok()?,
        room: RoomId::new(room).ok()?,
    })
}
