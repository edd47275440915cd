//! Who is asking: tokens, API keys, and the rule that open tokens are for this machine only.

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use redred_signaling::grants::Caller;
use serde_json::json;

use super::{App, Problem, Shared, origin};
use crate::auth::{self, Rejection};
use crate::config::Scope;

/// Begins the WebSocket subprotocol that carries a token, for browsers cannot set headers.
const TOKEN_PROTOCOL: &str = "redred.token.";

/// The caller of a WHIP, WHEP or API request.
pub(super) fn caller(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Problem> {
    let token = auth::bearer(headers).or_else(|| query_token(uri));
    verified(app, token).map_err(|rejection| Problem::unauthorized(rejection.to_string()))
}

/// The caller of `/api/v1`: an API key with the scope, or a token.
pub(super) fn api_caller(app: &App, parts: &Parts, scope: Scope) -> Result<Caller, Problem> {
    match key_caller(app, parts, scope)? {
        Some(caller) => Ok(caller),
        None => caller(app, &parts.headers, &parts.uri),
    }
}

/// The same, or in dev mode anybody, with the rights that a token has by default.
pub(super) fn open_caller(app: &App, parts: &Parts, scope: Scope) -> Result<Caller, Problem> {
    match bearer(parts) {
        None if app.verifier.is_dev() => Ok(auth::anonymous()),
        None | Some(_) => api_caller(app, parts, scope),
    }
}

/// The caller of what other servers ask: in dev mode any token may do it.
pub(super) fn server_caller(app: &App, parts: &Parts, scope: Scope) -> Result<Caller, Problem> {
    let mut caller = api_caller(app, parts, scope)?;
    caller.grants.admin |= app.verifier.is_dev();
    Ok(caller)
}

/// The user whose own things are asked for.
pub(super) fn user_caller(app: &App, parts: &Parts) -> Result<Caller, Problem> {
    if bearer(parts).is_some_and(|bearer| app.verifier.verify_api_key(bearer).is_some()) {
        return Err(Problem::forbidden(
            "this is about what a user has, and an API key is no user: present a token of the user",
        ));
    }
    caller(app, &parts.headers, &parts.uri)
}

/// Requires an API key with the scope.
pub(super) fn server(app: &App, parts: &Parts, scope: Scope) -> Result<Caller, Problem> {
    key_caller(app, parts, scope)?
        .ok_or_else(|| Problem::unauthorized("an API key is needed: Authorization: Bearer"))
}

/// The holder of an API key, when that is what is presented. One without the scope is refused.
fn key_caller(app: &App, parts: &Parts, scope: Scope) -> Result<Option<Caller>, Problem> {
    let holder = bearer(parts).and_then(|bearer| app.verifier.verify_api_key(bearer));
    match holder {
        Some(holder) if !holder.scopes.contains(&scope) => Err(insufficient_scope(scope)),
        holder => Ok(holder.map(|holder| holder.caller)),
    }
}

/// 403, with the challenge that RFC 6750 asks for.
fn insufficient_scope(scope: Scope) -> Problem {
    let scope = scope.as_str();
    let challenge =
        format!("Bearer realm=\"redred\", error=\"insufficient_scope\", scope=\"{scope}\"");
    let challenge = HeaderValue::from_str(&challenge).expect("scopes are plain words");
    Problem::forbidden(format!("the API key lacks the scope {scope}"))
        .with("scope", json!(scope))
        .with_header(header::WWW_AUTHENTICATE, challenge)
}

fn bearer(parts: &Parts) -> Option<&str> {
    auth::bearer(&parts.headers).or_else(|| query_token(&parts.uri))
}

/// The caller of a WebSocket upgrade: header, else subprotocol, else query.
pub(super) fn websocket_caller(
    app: &App,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Caller, Rejection> {
    verified(app, presented(headers, uri))
}

/// The token of a request, wherever it may stand.
fn presented<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    auth::bearer(headers)
        .or_else(|| protocol_token(headers))
        .or_else(|| query_token(uri))
}

/// Before anybody looks at a token that names an unknown key, asks whether the issuer has it by now.
pub(super) async fn learn_keys(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(token) = presented(request.headers(), request.uri()) {
        app.verifier.learn_key_of(token).await;
    }
    next.run(request).await
}

fn verified(app: &App, token: Option<&str>) -> Result<Caller, Rejection> {
    app.verifier.verify(token.ok_or(Rejection::Missing)?)
}

fn protocol_token(headers: &HeaderMap) -> Option<&str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(TOKEN_PROTOCOL))
}

/// The alphabet of a JWT needs no percent-encoding, so what stands in the query is the token.
fn query_token(uri: &Uri) -> Option<&str> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix(TOKEN_PARAMETER))
}

/// The query parameter of a token, with its equals sign.
pub(super) const TOKEN_PARAMETER: &str = "token=";

/// In dev mode, answers only requests that name this machine; see [`origin::is_loopback_host`].
pub(super) async fn local_host_only_in_dev(
    State(app): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    if app.verifier.is_dev() && !origin::is_loopback_host(request.headers()) {
        return Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "forbidden",
            "in dev mode the server answers only to localhost; set auth.secret to serve under other names",
        )
        .into_response();
    }
    next.run(request).await
}
