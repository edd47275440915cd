//! The opening handshake (RFC 6455 section 4): what a request must say, and what it is answered.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Version};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;

use super::deflate::{self, Window};

/// The subprotocol of the contract.
const SUBPROTOCOL: &str = "redred.v1";

/// Appended to the client's key (RFC 6455 section 4.2.2).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a client's key, decoded.
const KEY_BYTES: usize = 16;

/// Why a request is no WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// Answered with 426.
    #[error(
        "expected a WebSocket handshake: GET over HTTP/1.1 with Connection: Upgrade and Upgrade: websocket"
    )]
    NotUpgrade,
    /// Answered with 426 and `Sec-WebSocket-Version: 13`.
    #[error("Sec-WebSocket-Version: expected 13")]
    BadVersion,
    /// Answered with 400.
    #[error("Sec-WebSocket-Key: expected 16 bytes in base64")]
    BadKey,
}

impl UpgradeError {
    /// A label for counting.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotUpgrade => "not_upgrade",
            Self::BadVersion => "version",
            Self::BadKey => "key",
        }
    }
}

/// A handshake that was accepted.
pub(super) struct Accepted {
    /// The answer; the connection changes hands once it is sent.
    pub(super) response: Response,
    /// Becomes the connection.
    pub(super) upgrading: OnUpgrade,
    /// The window to compress within, when the client takes compressed messages.
    pub(super) window: Option<Window>,
}

/// Accepts a WebSocket handshake.
///
/// # Errors
/// When the request is no handshake.
pub(super) fn accept(request: &mut Request) -> Result<Accepted, UpgradeError> {
    let accept = check_handshake(request)?;
    let wants_subprotocol = asks_for(
        request.headers(),
        &header::SEC_WEBSOCKET_PROTOCOL,
        SUBPROTOCOL,
    );
    let terms = deflate::negotiate(request.headers());
    let upgrading = hyper::upgrade::on(request);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if wants_subprotocol {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    let window = terms.map(|terms| {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, terms.answer);
        terms.window
    });
    Ok(Accepted {
        response,
        upgrading,
        window,
    })
}

/// Checks what RFC 6455 section 4.2.1 asks of a client and computes the answer to its key.
fn check_handshake(request: &Request) -> Result<HeaderValue, UpgradeError> {
    let headers = request.headers();
    let is_handshake = request.method() == axum::http::Method::GET
        && request.version() == Version::HTTP_11
        && asks_for(headers, &header::CONNECTION, "upgrade")
        && asks_for(headers, &header::UPGRADE, "websocket");
    if !is_handshake {
        return Err(UpgradeError::NotUpgrade);
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(UpgradeError::BadVersion);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(UpgradeError::BadKey)?;
    let decoded = STANDARD.decode(key).map_err(|_| UpgradeError::BadKey)?;
    if decoded.len() != KEY_BYTES {
        return Err(UpgradeError::BadKey);
    }
    let digest = digest::digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        &[key.as_bytes(), ACCEPT_GUID].concat(),
    );
    Ok(HeaderValue::from_str(&STANDARD.encode(digest)).expect("base64 is ASCII"))
}

/// Whether a comma-separated header names a token, in any case.
fn asks_for(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = axum::http::Request::builder().uri("/ws");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).expect("a valid request")
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_rfc_is_answered_as_there() {
        let accept = check_handshake(&request(&GOOD)).expect("a handshake");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn anything_else_is_no_handshake() {
        let mut headers = GOOD;
        headers[0].1 = "keep-alive";
        assert_eq!(
            check_handshake(&request(&headers)),
            Err(UpgradeError::NotUpgrade)
        );
        let mut headers = GOOD;
        headers[2].1 = "8";
        assert_eq!(
            check_handshake(&request(&headers)),
            Err(UpgradeError::BadVersion)
        );
        let mut headers = GOOD;
        headers[3].1 = "c2hvcnQ=";
        assert_eq!(
            check_handshake(&request(&headers)),
            Err(UpgradeError::BadKey)
        );
        assert_eq!(
            check_handshake(&request(&GOOD[..3])),
            Err(UpgradeError::BadKey)
        );
    }
}
