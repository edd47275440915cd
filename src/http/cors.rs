//! Cross-origin requests (Fetch standard, "CORS protocol"): what pages of allowed origins may do and read.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::origin::Verdict;
use super::{App, Shared};

/// One WHIP client reads the methods in script, so they are told on every answer to OPTIONS.
pub(super) const METHODS: HeaderValue =
    HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Idempotency-Key, If-Match, ETag, Prefer",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Accept-Patch, Accept-Post, Access-Control-Allow-Methods, Preference-Applied, Retry-After",
);

/// How long, in seconds, a browser may remember the answer to a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Answers preflights of paths without an OPTIONS handler, and adds the headers to everything else.
pub(super) async fn apply(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let allowed = allowed_origin(&app, request.headers());
    let is_preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let has_own_answer = ["/whip/", "/whep/"]
        .iter()
        .any(|prefix| request.uri().path().starts_with(prefix));
    let is_options = request.method() == Method::OPTIONS;

    let mut response = if is_preflight && !has_own_answer {
        axum::http::StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if is_options {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

/// What to answer the page's origin with; nothing when it may not read the answer.
fn allowed_origin(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    match app.origins.judge(headers) {
        Verdict::Allowed if app.origins.is_open() => Some(HeaderValue::from_static("*")),
        Verdict::Allowed => headers.get(header::ORIGIN).cloned(),
        Verdict::Missing | Verdict::Foreign => None,
    }
}
