//! Who is asking: tokens, API keys, and the rule that open tokens are for this machine only.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use redred_signaling::grants::Caller;

use super::{App, Problem, Shared, origin};
use crate::auth::{self, Rejection};

/// Begins the WebSocket subprotocol that carries a token, for browsers cannot set headers.
const TOKEN_PROTOCOL: &str = "redred.token.";

/// The caller of a WHIP, WHEP or API request.
pub(super) fn caller(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Problem> {
    let token = auth::bearer(headers).or_else(|| query_token(uri));
    verified(app, token).map_err(|rejection| Problem::unauthorized(rejection.to_string()))
}

/// The caller of `/api/v1`: an API key, a token, or in dev mode anybody, with the rights that a token has by default.
pub(super) fn api_caller(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<Caller, Problem> {
    match auth::bearer(headers).or_else(|| query_token(uri)) {
        Some(bearer) => match app.verifier.verify_api_key(bearer) {
            Some(caller) => Ok(caller),
            None => caller(app, headers, uri),
        },
        None if app.verifier.is_dev() => Ok(auth::anonymous()),
        None => caller(app, headers, uri),
    }
}

/// Requires an API key.
pub(super) fn server(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let bearer = auth::bearer(headers).unwrap_or_default();
    let key = app.verifier.verify_api_key(bearer);
    key.ok_or_else(|| Problem::unauthorized("an API key is needed: Authorization: Bearer"))
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
    pairs.find_map(|pair| pair.strip_prefix("token="))
}

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
