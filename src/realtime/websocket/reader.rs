//! Hot path. The reading half of one WebSocket: frames become messages, inflated where they were compressed.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use redred_signaling::hub::Departure;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::deflate::{self, InflateError};
use super::guard::{Guard, Mark, Marks};
use super::writer::Control;
use super::{Kind, Session};

/// What one frame leads to.
enum Step {
    GoOn,
    Message(Kind, Bytes),
    Pong(Bytes),
    Close { code: Option<u16>, reason: String },
}

/// Why reading ends without a close frame of the peer.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Frames(#[from] WebSocketError),
    #[error(transparent)]
    Inflate(#[from] InflateError),
}

impl Fault {
    /// What our close frame says. None when the stream just ended.
    fn close(&self) -> Option<(u16, String)> {
        let code = match self {
            Self::Inflate(error) => error.close_code(),
            Self::Frames(WebSocketError::InvalidUTF8) => {
                return Some((1007, String::from("text is not UTF-8")));
            }
            Self::Frames(
                WebSocketError::IoError(_)
                | WebSocketError::UnexpectedEOF
                | WebSocketError::ConnectionClosed,
            ) => return None,
            Self::Frames(_) => 1002,
        };
        Some((code, self.to_string()))
    }
}

/// Reads messages and hands them to the session until either side closes or breaks a rule; then asks for the close frame
/// and says how the other end went.
pub(super) async fn read_until_end<R: AsyncRead + Unpin>(
    guard: &mut Guard<R>,
    message_bytes_max: usize,
    session: &impl Session,
    control: mpsc::Sender<Control>,
) -> Departure {
    let fault = {
        let marks = guard.marks();
        let (mut frames, _) = after_handshake_split(&mut *guard, tokio::io::sink(), Role::Server);
        frames.set_auto_close(false);
        frames.set_auto_pong(false);
        // One more than the guard lets through: it decides.
        frames.set_max_message_size(message_bytes_max + 1);
        let mut message = Message::new(message_bytes_max);
        loop {
            match next_step(&mut frames, &marks, &mut message).await {
                Ok(Step::GoOn) => session.heard().await,
                Ok(Step::Message(kind, payload)) => session.message(kind, payload).await,
                Ok(Step::Pong(payload)) => {
                    if control.send(Control::Pong(payload)).await.is_err() {
                        return Departure::Lost;
                    }
                }
                Ok(Step::Close { code, reason }) => {
                    let _ = control.send(Control::Close { code, reason }).await;
                    return departure(code);
                }
                Err(fault) => break fault,
            }
        }
    };
    let close = match guard.violation() {
        Some(violation) => Some((violation.close_code(), violation.to_string())),
        None => fault.close(),
    };
    if let Some((code, reason)) = close {
        session.violated();
        let code = Some(code);
        let _ = control.send(Control::Close { code, reason }).await;
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

/// The message being received.
struct Message {
    bytes_max: usize,
    mark: Option<Mark>,
    fragments: BytesMut,
    /// How many bytes of `fragments` are known to be whole characters.
    sound: usize,
}

async fn next_step<R: AsyncRead + Unpin>(
    frames: &mut WebSocketRead<R>,
    marks: &Marks,
    message: &mut Message,
) -> Result<Step, Fault> {
    // With automatic answers switched off there is nothing to send from in there.
    let mut never = |_: Frame<'_>| async { Ok::<(), std::io::Error>(()) };
    let frame = frames.read_frame(&mut never).await?;
    match frame.opcode {
        OpCode::Ping => Ok(Step::Pong(Bytes::copy_from_slice(&frame.payload))),
        OpCode::Pong => Ok(Step::GoOn),
        OpCode::Close => close_answer(&frame.payload),
        OpCode::Text | OpCode::Binary => {
            let mark = marks.pop();
            let mark = mark.expect("the guard marks each message that it lets through");
            if frame.fin {
                // fastwebsockets checks what it is shown as text.
                let is_checked = frame.opcode == OpCode::Text;
                return finish(mark, is_checked, &frame.payload, message.bytes_max);
            }
            message.mark = Some(mark);
            message.fragment(&frame.payload)?;
            Ok(Step::GoOn)
        }
        OpCode::Continuation => {
            message.fragment(&frame.payload)?;
            if !frame.fin {
                return Ok(Step::GoOn);
            }
            // Taken instead of cleared, so that a large message leaves no large buffer behind.
            let whole = std::mem::take(&mut message.fragments);
            let is_checked = std::mem::take(&mut message.sound) == whole.len();
            let mark = message.mark.take();
            let mark = mark.expect("the guard lets no continuation of nothing through");
            finish(mark, is_checked, &whole, message.bytes_max)
        }
    }
}

impl Message {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            mark: None,
            fragments: BytesMut::new(),
            sound: 0,
        }
    }

    /// Keeps a fragment. Text that cannot become UTF-8 any more is refused at once.
    fn fragment(&mut self, payload: &[u8]) -> Result<(), WebSocketError> {
        self.fragments.extend_from_slice(payload);
        if self
            .mark
            .is_some_and(|mark| mark.is_text && !mark.is_deflated)
        {
            self.sound += match std::str::from_utf8(&self.fragments[self.sound..]) {
                Ok(text) => text.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => return Err(WebSocketError::InvalidUTF8),
            };
        }
        Ok(())
    }
}

/// A whole message; `is_checked` when its bytes are known to be UTF-8.
fn finish(mark: Mark, is_checked: bool, payload: &[u8], bytes_max: usize) -> Result<Step, Fault> {
    let bytes = if mark.is_deflated {
        deflate::inflate(payload, bytes_max)?
    } else {
        Bytes::copy_from_slice(payload)
    };
    let needs_check = mark.is_text && (mark.is_deflated || !is_checked);
    if needs_check && std::str::from_utf8(&bytes).is_err() {
        return Err(WebSocketError::InvalidUTF8.into());
    }
    let kind = if mark.is_text {
        Kind::Text
    } else {
        Kind::Binary
    };
    Ok(Step::Message(kind, bytes))
}

/// The answer to a close frame: its own code, or what is wrong with it (RFC 6455 sections 5.5.1 and 7.4).
fn close_answer(payload: &[u8]) -> Result<Step, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload.len() {
            0 => Ok(Step::Close {
                code: None,
                reason: String::new(),
            }),
            _ => Err(WebSocketError::InvalidCloseFrame.into()),
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(WebSocketError::InvalidUTF8.into());
    }
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Step::Close {
            code: Some(code),
            reason: String::new(),
        }),
        _ => Err(WebSocketError::InvalidCloseCode.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
