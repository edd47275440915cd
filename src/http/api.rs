//! `/api/v1`: what applications and their users ask over HTTP. Each handler maps to one request of the hub, which alone
//! decides who may do it; here only forms are checked.

pub(super) mod messages;
pub(super) mod notifications;
pub(super) mod publish;
pub(super) mod rooms;
pub(super) mod stats;
pub(super) mod streams;
pub(super) mod tokens;
pub(super) mod users;

use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::Query;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use redred_signaling::api::{Reply, Request};
use redred_signaling::grants::Caller;
use redred_signaling::id::{RoomId, StreamName, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{App, Problem, guard};

/// Entries of a page when nothing is said.
const PAGE: usize = 50;

/// Entries of a page at most.
const PAGE_MAX: usize = 200;

async fn ask(app: &App, caller: Caller, request: Request) -> Result<Reply, Problem> {
    Ok(app.realtime.request(caller, request).await?)
}

/// JSON that is true now and not for long.
fn fresh(value: impl Serialize) -> Response {
    answer(StatusCode::OK, value)
}

fn answer(status: StatusCode, value: impl Serialize) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(value)).into_response()
}

fn unexpected() -> Problem {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the hub gave an answer of another kind",
    )
}

/// Reads the query. Parameters that mean nothing here are refused, but for the token.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let pairs: Vec<&str> = pairs
        .filter(|pair| !pair.starts_with(guard::TOKEN_PARAMETER))
        .collect();
    let rest: Uri = format!("/?{}", pairs.join("&"))
        .parse()
        .map_err(|_| Problem::invalid("the query: expected a part of a URL"))?;
    let Query(query) = Query::try_from_uri(&rest).map_err(|rejection| {
        let text = rejection.body_text();
        let what = text.rsplit_once("query string: ");
        Problem::invalid(format!(
            "the query: {}",
            what.map_or(&*text, |(_, what)| what)
        ))
    })?;
    Ok(query)
}

/// How many entries a page has.
fn limit(asked: Option<usize>, max: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(PAGE);
    let is_good = (1..=max).contains(&limit);
    is_good
        .then_some(limit)
        .ok_or_else(|| Problem::invalid(format!("limit: expected 1 to {max}")))
}

/// Users named in a body: as many as allowed, each once.
fn users(named: Vec<UserId>, allowed: RangeInclusive<usize>) -> Result<Vec<UserId>, Problem> {
    if !allowed.contains(&named.len()) {
        let (min, max) = (allowed.start(), allowed.end());
        return Err(Problem::invalid(format!(
            "user_ids: expected {min} to {max} ids"
        )));
    }
    let mut seen = std::collections::HashSet::new();
    let mut once = named;
    once.retain(|user| seen.insert(user.clone()));
    Ok(once)
}

/// A name of the path. Nothing has a name that cannot be one.
fn named<T, E: Display>(name: Result<T, E>) -> Result<T, Problem> {
    name.map_err(|error| Problem::not_found(error.to_string()))
}

fn stream(id: String) -> Result<StreamName, Problem> {
    named(StreamName::new(id))
}

fn room(id: String) -> Result<RoomId, Problem> {
    named(RoomId::new(id))
}

fn user(id: String) -> Result<UserId, Problem> {
    named(UserId::new(id))
}
