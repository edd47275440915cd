//! One WebSocket: the upgrade, then a reading and a writing half under one task.
//!
//! Both halves are futures that live until the connection ends; neither is dropped while it has work in progress, since
//! reading a frame cannot be taken up again and half a frame written spoils the stream.

#[cfg(test)]
mod autobahn;
mod deflate;
mod guard;
mod handshake;
mod payload;
mod reader;
mod writer;

use std::any::Any;
use std::pin::pin;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use redred_signaling::grants::Caller;
use redred_signaling::hub::{Connect, Departure};
use redred_signaling::id::{Channel, SessionId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use self::deflate::Window;
use self::guard::{Guard, Limits};
use self::writer::{Ended, Writer};
use super::{Handle, Input};

pub use self::handshake::UpgradeError;
pub(crate) use self::payload::Payloads;
pub(crate) use self::writer::Outgoing;

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
    /// Bytes of one message, all its fragments together, as sent and inflated; more closes with 1009.
    pub message_bytes_max: usize,
    /// Frames of one message; more closes with 1009.
    pub fragments_max: u32,
    /// Bytes of a message to a client from which it is compressed.
    pub compress_min_bytes: usize,
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

/// What a message says it is. The contract has JSON in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// Whom a connection serves.
trait Session {
    /// A message came.
    async fn message(&self, kind: Kind, payload: Bytes);
    /// Something else came: the peer is there.
    async fn heard(&self);
    /// A batch went out; the next may come.
    async fn written(&self, accepted: std::time::Instant);
    /// Nothing comes any more.
    async fn disconnect(&self, departure: Departure);
    /// The peer broke a rule.
    fn violated(&self);
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
    let accepted = handshake::accept(&mut request)?;
    let resume = request.uri().query().and_then(resume_of);
    let handle = handle.clone();
    tokio::spawn(async move {
        let Ok(Ok(upgraded)) = timeout_at(admission.deadline, accepted.upgrading).await else {
            handle.counters().failed_upgrades.increment();
            return;
        };
        let connect = Connect {
            caller: admission.caller,
            channel: admission.channel,
            resume,
        };
        serve(&handle, TokioIo::new(upgraded), accepted.window, connect).await;
        drop(admission.permit);
    });
    Ok(accepted.response)
}

/// The session to take up. Resume tokens need no escaping in a query.
fn resume_of(query: &str) -> Option<String> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("resume="))
        .map(str::to_owned)
}

/// Serves one connection for the hub until it is closed.
async fn serve<S: AsyncRead + AsyncWrite>(
    handle: &Handle,
    socket: S,
    window: Option<Window>,
    connect: Connect,
) {
    let _open = handle.counters().open();
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING);
    let Some(session) = handle.connect(connect, outgoing).await else {
        return;
    };
    let link = Link { handle, session };
    let config = handle.websocket_config();
    if run(socket, config, window, &link, outgoing_receiver).await == Ended::Stalled {
        handle.counters().stalled_writes.increment();
    }
}

/// Reads and writes until either side closes.
async fn run<S: AsyncRead + AsyncWrite>(
    socket: S,
    config: Config,
    window: Option<Window>,
    session: &impl Session,
    outgoing: mpsc::Receiver<Outgoing>,
) -> Ended {
    let (read, write) = tokio::io::split(socket);
    let limits = Limits {
        message_bytes_max: config.message_bytes_max as u64,
        fragments_max: config.fragments_max,
    };
    let mut guard = Guard::new(read, limits, window.is_some());
    let mut writer = Writer {
        io: write,
        timeout: config.write_timeout,
        window,
    };
    let (control, control_receiver) = mpsc::channel(CONTROLS);
    let ended = {
        let bytes_max = config.message_bytes_max;
        let mut reading = pin!(reader::read_until_end(
            &mut guard, bytes_max, session, control
        ));
        let mut writing = pin!(writer.run(outgoing, control_receiver, session));
        let mut is_reading = true;
        loop {
            tokio::select! {
                biased;
                departure = &mut reading, if is_reading => {
                    is_reading = false;
                    // The session is free to be resumed while the last bytes still leave.
                    session.disconnect(departure).await;
                }
                ended = &mut writing => {
                    if is_reading {
                        if ended == Ended::Closed {
                            // What still comes is ignored by the hub; the peer's close frame ends it.
                            let _ = timeout(CLOSE_WAIT, &mut reading).await;
                        }
                        session.disconnect(Departure::Lost).await;
                    }
                    break ended;
                }
            }
        }
    };
    if ended != Ended::Stalled {
        // The peer reads our close frame, then the end of the stream.
        let _ = timeout(CLOSE_WAIT, async {
            let _ = writer.io.shutdown().await;
            let mut rest = guard.inner_mut().take(CLOSE_DRAIN_BYTES);
            let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        })
        .await;
    }
    ended
}

/// The session of one connection, towards the hub.
struct Link<'a> {
    handle: &'a Handle,
    session: SessionId,
}

impl Session for Link<'_> {
    async fn message(&self, _: Kind, payload: Bytes) {
        let message = Input::Message(self.session, payload);
        self.handle.send(message).await;
    }

    async fn heard(&self) {
        self.handle.send(Input::Heard(self.session)).await;
    }

    async fn written(&self, accepted: std::time::Instant) {
        self.handle.observe_delivery(accepted.elapsed());
        self.handle.send(Input::Written(self.session)).await;
    }

    async fn disconnect(&self, departure: Departure) {
        let disconnected = Input::Disconnected(self.session, departure);
        self.handle.send(disconnected).await;
    }

    fn violated(&self) {
        self.handle.counters().violations.increment();
    }
}
