//! The directory of streams, and who follows them.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use redred_signaling::api::{self, Reply, StreamSummary};
use redred_signaling::grants::Caller;
use redred_signaling::id::UserId;
use redred_signaling::store::notifications::FollowerChange;
use serde::Deserialize;
use serde_json::json;

use super::{ask, fresh, limit, query, stream, unexpected, user, users};
use crate::config::Scope;
use crate::http::{App, Problem, Shared, body, guard};

/// Followers of a page at most.
const FOLLOWERS_MAX: usize = 1000;

/// `GET /api/v1/streams`: who is live, of what the caller may watch.
pub(in crate::http) async fn list(
    State(app): State<Shared>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::open_caller(&app, &request.into_parts().0, Scope::Streams)?;
    let streams = listed(&app, caller).await?;
    Ok(fresh(json!({ "streams": streams })))
}

/// `GET /api/v1/streams/{id}`.
pub(in crate::http) async fn get(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::open_caller(&app, &request.into_parts().0, Scope::Streams)?;
    let stream = stream(id)?;
    if let Reply::Stream(summary) = ask(&app, caller, api::Request::GetStream { stream }).await? {
        Ok(fresh(summary))
    } else {
        Err(unexpected())
    }
}

/// `DELETE /api/v1/streams/{id}`.
pub(in crate::http) async fn end(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let caller = guard::open_caller(&app, &request.into_parts().0, Scope::Streams)?;
    let stream = stream(id)?;
    ask(&app, caller, api::Request::EndStream { stream }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowersPage {
    after: Option<UserId>,
    limit: Option<usize>,
}

/// `GET /api/v1/streams/{id}/followers`.
pub(in crate::http) async fn followers(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Notifications)?;
    let page: FollowersPage = query(&parts.uri)?;
    let request = api::Request::ListFollowers {
        stream: stream(id)?,
        after: page.after,
        limit: limit(page.limit, FOLLOWERS_MAX)?,
    };
    let Reply::Followers {
        users,
        count,
        has_more,
    } = ask(&app, caller, request).await?
    else {
        return Err(unexpected());
    };
    Ok(fresh(
        json!({ "users": users, "count": count, "has_more": has_more }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Followers {
    user_ids: Vec<UserId>,
}

/// `PUT /api/v1/streams/{id}/followers`: these and no others.
pub(in crate::http) async fn replace_followers(
    State(app): State<Shared>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Notifications)?;
    let max = app.config.notifications.followers_max;
    let asked: Followers = body::json_up_to(&app, body, body::bytes_naming(max)).await?;
    let all = users(asked.user_ids, 0..=max)?;
    change_followers(&app, caller, id, FollowerChange::Replace(all)).await
}

/// `PUT /api/v1/streams/{id}/followers/{user}`.
pub(in crate::http) async fn follow(
    State(app): State<Shared>,
    Path((id, follower)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Notifications)?;
    change_followers(&app, caller, id, FollowerChange::Add(user(follower)?)).await
}

/// `DELETE /api/v1/streams/{id}/followers/{user}`.
pub(in crate::http) async fn unfollow(
    State(app): State<Shared>,
    Path((id, follower)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = guard::server_caller(&app, &parts, Scope::Notifications)?;
    change_followers(&app, caller, id, FollowerChange::Remove(user(follower)?)).await
}

async fn change_followers(
    app: &App,
    caller: Caller,
    id: String,
    change: FollowerChange,
) -> Result<Response, Problem> {
    let stream = stream(id)?;
    if let Reply::Followers { count, .. } = ask(
        app,
        caller,
        api::Request::ChangeFollowers { stream, change },
    )
    .await?
    {
        Ok(fresh(json!({ "count": count })))
    } else {
        Err(unexpected())
    }
}

pub(super) async fn listed(app: &App, caller: Caller) -> Result<Vec<StreamSummary>, Problem> {
    if let Reply::Streams(streams) = ask(app, caller, api::Request::ListStreams).await? {
        Ok(streams)
    } else {
        Err(unexpected())
    }
}
