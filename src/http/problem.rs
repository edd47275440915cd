//! Errors as clients see them: `application/problem+json` (RFC 9457).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use redred_signaling::error::ErrorCode;
use serde_json::{Value, json};

/// When to come back to a server that is full or about to stop.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

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
    more: Vec<(&'static str, Value)>,
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
            more: Vec::new(),
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
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).with_retry(RETRY_AFTER)
    }

    /// 503 of a server that is about to stop.
    pub fn draining() -> Self {
        Self::unavailable("the server is about to stop and takes nothing new")
    }

    /// Adds a member to the body (RFC 9457 section 3.2).
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
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
        let status = match error.code {
            ErrorCode::BadMessage | ErrorCode::UnknownType | ErrorCode::InvalidField => {
                StatusCode::BAD_REQUEST
            }
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            ErrorCode::NotFound => StatusCode::NOT_FOUND,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Conflict => StatusCode::CONFLICT,
            ErrorCode::Unsupported => StatusCode::NOT_ACCEPTABLE,
            ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            ErrorCode::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut problem = Self::new(status, error.code.as_str(), error.message);
        if let Some(rule) = error.rule {
            problem = problem.with("reason", json!(rule));
        }
        match error.retry_after_ms {
            Some(after_ms) => problem
                .with("retry_after_ms", json!(after_ms))
                .with_retry(Duration::from_millis(after_ms)),
            None if status == StatusCode::SERVICE_UNAVAILABLE => problem.with_retry(RETRY_AFTER),
            None => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        for (name, value) in self.more {
            body[name] = value;
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            let seconds = HeaderValue::from_str(&seconds.to_string());
            headers.insert(header::RETRY_AFTER, seconds.expect("digits"));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// Gives the errors that the router makes by itself (no such method, a bad path) the same form.
pub(super) async fn normalise(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_problem = response.headers().get(header::CONTENT_TYPE) == Some(&CONTENT_TYPE);
    if !is_error || is_problem || method == Method::HEAD {
        return response;
    }
    let (parts, body) = response.into_parts();
    let quoted = axum::body::to_bytes(body, QUOTED_BYTES_MAX).await;
    let quoted = quoted
        .ok()
        .and_then(|text| String::from_utf8(text.to_vec()).ok());
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
