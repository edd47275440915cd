//! Errors as clients see them: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Bodies of other people's error responses that are longer than this are dropped instead of quoted.
const QUOTED_BYTES_MAX: usize = 512;

/// An error response. `code` is one of the contract's error codes, or a word of the same kind for what only HTTP knows.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    retry_after: Option<Duration>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with its status, code and an explanation for whoever wrote the client.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after: None,
            headers: Vec::new(),
        }
    }

    /// 401, with the challenge that RFC 6750 asks for.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"redred\", error=\"invalid_token\""),
        )
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 400 for a field of the wrong shape.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_field", detail)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_retry(retry_after)
    }

    /// Says when to come back, rounded up to whole seconds.
    pub fn with_retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a header.
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<redred_signaling::Error> for Problem {
    fn from(error: redred_signaling::Error) -> Self {
        super::api::problem_of(&error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            let seconds = HeaderValue::from_str(&seconds.to_string());
            headers.insert(header::RETRY_AFTER, seconds.expect("digits"));
        }
        headers.extend(self.headers.into_iter().map(|(k, v)| (Some(k), v)).filter_map(
            |(name, value)| name.map(|name| (name, value)),
        ));
        response
    }
}

/// Gives the errors that the router makes by itself (no such method, a bad path) the same form.
pub async fn normalise(method: Method, response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response.headers().get(header::CONTENT_TYPE) == Some(&CONTENT_TYPE);
    if !is_error || is_problem || method == Method::HEAD {
        return response;
    }
    let (parts, body) = response.into_parts();
    let quoted = axum::body::to_bytes(body, QUOTED_BYTES_MAX).await;
    let quoted = quoted.ok().and_then(|text| String::from_utf8(text.to_vec()).ok());
    let detail = match (quoted, status) {
        (Some(text), _) if !text.is_empty() => text,
        (_, StatusCode::METHOD_NOT_ALLOWED) => "this method means nothing here".to_owned(),
        (_, _) => status.canonical_reason().unwrap_or("error").to_owned(),
    };
    let code = match status {
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::NOT_FOUND => "not_found",
        status if status.is_server_error() => "internal",
        _ => "bad_request",
    };
    let mut problem = Problem::new(status, code, detail).into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    let (mut fresh, body): (_, Body) = problem.into_parts();
    fresh.extensions = parts.extensions;
    Response::from_parts(fresh, body)
}
