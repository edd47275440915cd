//! One WebSocket: the upgrade, then a reading and a writing half under one task.
//!
//! Both halves are futures that live until the connection ends; neither is dropped while it has work in progress, since
//! reading a frame cannot be taken up again and half a frame written spoils the stream.

mod guard;
mod writer;

use std::any::Any;
use std::pin::pin;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{StatusCode, Version};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use hyper_util::rt::TokioIo;
use redred_signaling::grants::Caller;
use redred_signaling::hub::{Connect, Departure};
use redred_signaling::id::{Channel, SessionId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use self::guard::{Guard, Limits};
use self::writer::{Control, Ended, Progress, Writer};
use super::{Handle, Input};

pub(crate) use self::writer::Outgoing;

/// The subprotocol of the contract.
const SUBPROTOCOL: &str = "redred.v1";

/// Appended to the client's key (RFC 6455 section 4.2.2).
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a client's key, decoded.
const KEY_BYTES: usize = 16;

/// What the hub may have under way for a session: one batch, and pings or a close behind it.
pub(crate) const OUTGOING: usize = 4;

/// Pongs and a close on their way from the reading half. When the writing half is behind, reading waits.
const CONTROLS: usize = 4;

/// How long the other end may take to answer our close frame, and how much it may still send meanwhile. Without the wait
/// the kernel answers unread bytes with a reset, which can overtake the close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_DRAIN_BYTES: u64 = 1 << 20;

/// What a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How long one write may take before the socket is dropped.
    pub write_timeout: Duration,
    /// Bytes of one message, all its fragments together; more closes with 1009.
    pub message_bytes_max: usize,
    /// Frames of one message; more closes with 1009.
    pub fragments_max: u32,
}

/// Who was let in, and on what terms.
pub struct Admission {
    /// From the token.
    pub caller: Caller,
    /// The channel of the path.
    pub channel: Option<Channel>,
    /// Kept as long as the socket: whoever counts connections counts this one while it lives.
    pub permit: Box<dyn Any + Send>,
    /// When the handshake must be over.
    pub deadline: Instant,
}

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

/// Answers a WebSocket handshake and serves the connection in a task of its own. Origin, token and grants were checked
/// before. The query parameter `resume` takes up an earlier session.
///
/// # Errors
/// When the request is no handshake.
pub fn upgrade(
    handle: &Handle,
    mut request: Request,
    admission: Admission,
) -> Result<Response, UpgradeError> {
    let accept = check_handshake(&request)?;
    let wants_subprotocol = asks_for(
        request.headers(),
        &header::SEC_WEBSOCKET_PROTOCOL,
        SUBPROTOCOL,
    );
    let resume = request.uri().query().and_then(resume_of);
    let upgrading = hyper::upgrade::on(&mut request);
    let handle = handle.clone();
    tokio::spawn(async move {
        let Ok(Ok(upgraded)) = timeout_at(admission.deadline, upgrading).await else {
            handle.count_failed_upgrade();
            return;
        };
        let connect = Connect {
            caller: admission.caller,
            channel: admission.channel,
            resume,
        };
        serve(&handle, TokioIo::new(upgraded), connect).await;
        drop(admission.permit);
    });
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
    Ok(response)
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

/// The session to take up. Resume tokens need no escaping in a query.
fn resume_of(query: &str) -> Option<String> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resume="))
        .map(str::to_owned)
}

/// Serves one connection until it is closed.
async fn serve<S: AsyncRead + AsyncWrite>(handle: &Handle, socket: S, connect: Connect) {
    let _open = handle.open_socket();
    let config = handle.websocket_config();
    let (read, write) = tokio::io::split(socket);
    let limits = Limits {
        message_bytes_max: config.message_bytes_max as u64,
        fragments_max: config.fragments_max,
    };
    let mut guard = Guard::new(read, limits);
    let mut writer = Writer {
        io: write,
        timeout: config.write_timeout,
    };
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING);
    let (control, control_receiver) = mpsc::channel(CONTROLS);
    let Some(session) = handle.connect(connect, outgoing).await else {
        return;
    };
    let link = Link { handle, session };

    let ended = {
        let mut reading = pin!(read_until_end(&mut guard, config, &link, control));
        let mut writing = pin!(writer.run(outgoing_receiver, control_receiver, &link));
        let mut is_reading = true;
        loop {
            tokio::select! {
                biased;
                departure = &mut reading, if is_reading => {
                    is_reading = false;
                    // The session is free to be resumed while the last bytes still leave.
                    link.disconnect(departure).await;
                }
                ended = &mut writing => {
                    if is_reading {
                        if ended == Ended::Closed {
                            // What still comes is ignored by the hub; the peer's close frame ends it.
                            let _ = timeout(CLOSE_WAIT, &mut reading).await;
                        }
                        link.disconnect(Departure::Lost).await;
                    }
                    break ended;
                }
            }
        }
    };
    if ended == Ended::Stalled {
        handle.count_stalled_write();
        return;
    }
    // The peer reads our close frame, then the end of the stream.
    let _ = timeout(CLOSE_WAIT, async {
        let _ = writer.io.shutdown().await;
        let mut rest = guard.inner_mut().take(CLOSE_DRAIN_BYTES);
        let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
    })
    .await;
}

/// The session of one connection, towards the hub.
struct Link<'a> {
    handle: &'a Handle,
    session: SessionId,
}

impl Link<'_> {
    async fn disconnect(&self, departure: Departure) {
        self.handle
            .send(Input::Disconnected(self.session, departure))
            .await;
    }
}

impl Progress for Link<'_> {
    async fn written(&self, accepted: std::time::Instant) {
        self.handle.observe_delivery(accepted.elapsed());
        self.handle.send(Input::Written(self.session)).await;
    }
}

/// What one frame leads to.
enum Step {
    GoOn,
    Message(Bytes),
    Pong(Bytes),
    Close { code: Option<u16>, reason: String },
}

/// Reads messages and hands them to the hub until either side closes or breaks a rule; then asks for the close frame and
/// says how the other end went.
async fn read_until_end<R: AsyncRead + Unpin>(
    guard: &mut Guard<R>,
    config: Config,
    link: &Link<'_>,
    control: mpsc::Sender<Control>,
) -> Departure {
    let error = {
        let (mut frames, _) = after_handshake_split(&mut *guard, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        // One more than the guard lets through: it decides.
        frames.set_max_message_size(config.message_bytes_max + 1);
        let mut message = Message::default();
        loop {
            match next_step(&mut frames, &mut message).await {
                Ok(Step::GoOn) => link.handle.send(Input::Heard(link.session)).await,
                Ok(Step::Message(bytes)) => {
                    link.handle.send(Input::Message(link.session, bytes)).await;
                }
                Ok(Step::Pong(payload)) => {
                    if control.send(Control::Pong(payload)).await.is_err() {
                        return Departure::Lost;
                    }
                }
                Ok(Step::Close { code, reason }) => {
                    let _ = control.send(Control::Close { code, reason }).await;
                    return departure(code);
                }
                Err(error) => break error,
            }
        }
    };
    let close = match guard.violation() {
        Some(violation) => Some((violation.close_code(), violation.to_string())),
        None => close_for(&error),
    };
    if let Some((code, reason)) = close {
        link.handle.count_violation();
        let _ = control
            .send(Control::Close {
                code: Some(code),
                reason,
            })
            .await;
    }
    Departure::Lost
}

/// What a close code of the other end means for its session. Without a code it may be a client that gives up on a socket
/// it thinks dead, and comes back.
fn departure(code: Option<u16>) -> Departure {
    match code {
        Some(1000 | 1001) => Departure::Left,
        Some(_) | None => Departure::Lost,
    }
}

/// What our close frame says about a fault that fastwebsockets found. None when the stream just ended.
fn close_for(error: &WebSocketError) -> Option<(u16, String)> {
    if matches!(error, WebSocketError::InvalidUTF8) {
        return Some((1007, String::from("text is not UTF-8")));
    }
    let is_end = matches!(
        error,
        WebSocketError::IoError(_)
            | WebSocketError::UnexpectedEOF
            | WebSocketError::ConnectionClosed
    );
    (!is_end).then(|| (1002, error.to_string()))
}

/// The fragments of the message being received.
#[derive(Default)]
struct Message {
    opcode: Option<OpCode>,
    fragments: BytesMut,
}

async fn next_step<R: AsyncRead + Unpin>(
    frames: &mut WebSocketRead<R>,
    message: &mut Message,
) -> Result<Step, WebSocketError> {
    // With automatic answers switched off there is nothing to send from in there.
    let mut never = |_: Frame<'_>| async { Ok::<(), std::io::Error>(()) };
    let frame = frames.read_frame(&mut never).await?;
    match frame.opcode {
        OpCode::Ping => Ok(Step::Pong(Bytes::copy_from_slice(&frame.payload))),
        OpCode::Pong => Ok(Step::GoOn),
        OpCode::Close => close_answer(&frame.payload),
        OpCode::Text | OpCode::Binary if frame.fin => {
            Ok(Step::Message(Bytes::copy_from_slice(&frame.payload)))
        }
        OpCode::Text | OpCode::Binary => {
            message.opcode = Some(frame.opcode);
            message.fragments.extend_from_slice(&frame.payload);
            Ok(Step::GoOn)
        }
        OpCode::Continuation => {
            message.fragments.extend_from_slice(&frame.payload);
            if !frame.fin {
                return Ok(Step::GoOn);
            }
            // Split off instead of cleared, so that a large message leaves no large buffer behind.
            let bytes = std::mem::take(&mut message.fragments).freeze();
            if message.opcode.take() == Some(OpCode::Text) && std::str::from_utf8(&bytes).is_err() {
                return Err(WebSocketError::InvalidUTF8);
            }
            Ok(Step::Message(bytes))
        }
    }
}

/// The answer to a close frame: its own code, or what is wrong with it (RFC 6455 sections 5.5.1 and 7.4).
fn close_answer(payload: &[u8]) -> Result<Step, WebSocketError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload.len() {
            0 => Ok(Step::Close {
                code: None,
                reason: String::new(),
            }),
            _ => Err(WebSocketError::InvalidCloseFrame),
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(WebSocketError::InvalidUTF8);
    }
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Step::Close {
            code: Some(code),
            reason: String::new(),
        }),
        _ => Err(WebSocketError::InvalidCloseCode),
    }
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

    #[test]
    fn a_close_frame_is_answered_with_its_own_code() {
        for (payload, expected) in [
            (&b""[..], Some(None)),
            (&b"\x03\xe8bye"[..], Some(Some(1000))),
            (&b"\x0f\xa1"[..], Some(Some(4001))),
            (&b"\x03"[..], None),
            (&b"\x03\xed"[..], None),
            (&b"\x03\xe8\xff"[..], None),
        ] {
            let answer = match close_answer(payload) {
                Ok(Step::Close { code, .. }) => Some(code),
                _ => None,
            };
            assert_eq!(answer, expected, "{payload:?}");
        }
    }
}
