//! Request bodies: bounded in size and in time.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use redred_signaling::id::NAME_CHARACTERS_MAX;
use serde::de::DeserializeOwned;

use super::{App, Problem};

/// The contract's cap on every request body.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The cap on a body that names many users: room for the longest ids, with their quotes and commas.
pub(super) const fn bytes_naming(users: usize) -> usize {
    BODY_BYTES_MAX + users * (NAME_CHARACTERS_MAX + 3)
}

/// Reads a body as UTF-8.
pub(super) async fn text(app: &App, body: Body) -> Result<String, Problem> {
    text_up_to(app, body, BODY_BYTES_MAX).await
}

async fn text_up_to(app: &App, body: Body, bytes_max: usize) -> Result<String, Problem> {
    let bytes = tokio::time::timeout(
        app.config.http.handshake_timeout,
        Limited::new(body, bytes_max).collect(),
    );
    let bytes = match bytes.await {
        Ok(Ok(bytes)) => bytes.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                format!("the body is longer than {} KiB", bytes_max / 1024),
            ));
        }
        Ok(Err(_)) => return Err(Problem::invalid("the body ended early")),
        Err(_) => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body did not come in time",
            ));
        }
    };
    String::from_utf8(bytes.into()).map_err(|_| Problem::invalid("the body is not UTF-8"))
}

/// Reads a body as JSON. An empty body stands for an empty object.
pub(super) async fn json<T: DeserializeOwned>(app: &App, body: Body) -> Result<T, Problem> {
    json_up_to(app, body, BODY_BYTES_MAX).await
}

/// The same of a body that may be longer.
pub(super) async fn json_up_to<T: DeserializeOwned>(
    app: &App,
    body: Body,
    bytes_max: usize,
) -> Result<T, Problem> {
    let text = text_up_to(app, body, bytes_max).await?;
    let text = if text.trim().is_empty() { "{}" } else { &text };
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." {
            "the body"
        } else {
            path.as_str()
        };
        Problem::invalid(format!("{place}: {}", error.inner()))
    })?;
    reader
        .end()
        .map_err(|error| Problem::invalid(format!("the body: {error}")))?;
    Ok(value)
}

/// Requires a media type, parameters aside.
pub(super) fn require_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        format!("expected Content-Type: {expected}"),
    ))
}
