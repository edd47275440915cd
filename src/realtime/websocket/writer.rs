//! Hot path. The writing half of one WebSocket: batches of ready-made payloads, control frames, the closing handshake.
//!
//! A payload is encoded, and compressed, once for all its receivers and shared; only the two to ten bytes of frame
//! header are made here.
//! A batch leaves in one vectored write. The hub has at most one batch of a session in flight, so nothing queues here.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::deflate::Window;
use super::payload::Payload;
use super::{Kind, Session};

/// How long a batch may go on after the hub decided to close the session: a reader that is merely slow still learns
/// the close code, one that stands still is cut off.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Most slices the kernel takes in one call (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// Longest reason in a close frame (RFC 6455 section 5.5: 125 bytes with the code).
const REASON_BYTES_MAX: usize = 123;

const FIN: u8 = 0x80;
/// Marks a compressed message (RFC 7692 section 6).
const RSV1: u8 = 0x40;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// What the hub sends to one session.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Messages of one kind, in order, and when the input that led to them came in.
    Batch {
        kind: Kind,
        payloads: Vec<Payload>,
        accepted: std::time::Instant,
    },
    /// A ping frame.
    Ping,
    /// The last thing that is sent.
    Close { code: u16, reason: String },
}

/// What the reading half wants written.
#[derive(Debug)]
pub(crate) enum Control {
    /// The answer to a ping, with its payload.
    Pong(Bytes),
    /// A close frame; without a code it has no payload.
    Close { code: Option<u16>, reason: String },
}

/// How the writing half ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a close frame, after which the peer has its say.
    Closed,
    /// Without: the socket failed or the peer went away.
    Broken,
    /// The peer took nothing for too long.
    Stalled,
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Writer<W> {
    pub(crate) io: W,
    /// How long one write may take.
    pub(crate) timeout: Duration,
    /// The window to compress within, when that was agreed.
    pub(crate) window: Option<Window>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes until one side closes. The future owns all state of a write in progress: drop it only to give up.
    pub(crate) async fn run(
        &mut self,
        mut outgoing: mpsc::Receiver<Outgoing>,
        mut control: mpsc::Receiver<Control>,
        session: &impl Session,
    ) -> Ended {
        loop {
            let result = tokio::select! {
                biased;
                control = control.recv() => match control {
                    Some(Control::Pong(payload)) => self.frame(PONG, &payload).await,
                    Some(Control::Close { code, reason }) => return self.close(code, &reason).await,
                    None => return Ended::Broken,
                },
                outgoing_next = outgoing.recv() => match outgoing_next {
                    Some(Outgoing::Batch { kind, payloads, accepted }) => {
                        let result = self.batch(kind, payloads, &mut outgoing).await;
                        if let Ok(None) = result {
                            session.written(accepted).await;
                        }
                        match result {
                            Ok(Some((code, reason))) => return self.close(Some(code), &reason).await,
                            Ok(None) => Ok(()),
                            Err(error) => Err(error),
                        }
                    }
                    Some(Outgoing::Ping) => self.frame(PING, &[]).await,
                    Some(Outgoing::Close { code, reason }) => {
                        return self.close(Some(code), &reason).await;
                    }
                    None => return self.close(Some(1001), "server is going away").await,
                },
            };
            match result {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ended::Stalled,
                Err(_) => return Ended::Broken,
            }
        }
    }

    /// Writes a batch. When the hub closes the session meanwhile, the batch gets a last patience, and the close frame's
    /// content is handed back.
    async fn batch(
        &mut self,
        kind: Kind,
        payloads: Vec<Payload>,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> io::Result<Option<(u16, String)>> {
        let mut close = None;
        let deadline = sleep_until(Instant::now() + self.timeout);
        let write = write_messages(&mut self.io, kind, &payloads, self.window);
        tokio::pin!(deadline, write);
        loop {
            tokio::select! {
                biased;
                result = &mut write => return result.map(|()| close),
                next = outgoing.recv(), if close.is_none() => match next {
                    Some(Outgoing::Close { code, reason }) => {
                        close = Some((code, reason));
                        let patience = Instant::now() + CLOSE_PATIENCE;
                        if patience < deadline.deadline() {
                            deadline.as_mut().reset(patience);
                        }
                    }
                    // What is being written shows as well whether the peer is there.
                    Some(Outgoing::Ping) => {}
                    Some(Outgoing::Batch { .. }) => {
                        debug_assert!(false, "one batch of a session is in flight at a time");
                    }
                    None => close = Some((1001, String::from("server is going away"))),
                },
                () = &mut deadline => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Writes a control frame.
    async fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        debug_assert!(payload.len() <= 125, "control frames are short");
        let mut frame = Vec::with_capacity(2 + payload.len());
        frame.extend([FIN | opcode, payload.len() as u8]);
        frame.extend(payload);
        let write = async {
            self.io.write_all(&frame).await?;
            self.io.flush().await
        };
        match tokio::time::timeout(self.timeout.min(CLOSE_PATIENCE), write).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    async fn close(&mut self, code: Option<u16>, reason: &str) -> Ended {
        let mut payload = Vec::new();
        if let Some(code) = code {
            payload.extend(code.to_be_bytes());
            payload.extend(shorten(reason).as_bytes());
        }
        match self.frame(CLOSE, &payload).await {
            Ok(()) => Ended::Closed,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ended::Stalled,
            Err(_) => Ended::Broken,
        }
    }
}

/// Cuts a reason to what a close frame can carry, between characters.
fn shorten(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// The header of an unfragmented, unmasked frame.
fn header(first: u8, payload_bytes: usize, headers: &mut Vec<u8>) {
    headers.push(first);
    match payload_bytes {
        0..=125 => headers.push(payload_bytes as u8),
        126..=65535 => {
            headers.push(126);
            headers.extend((payload_bytes as u16).to_be_bytes());
        }
        _ => {
            headers.push(127);
            headers.extend((payload_bytes as u64).to_be_bytes());
        }
    }
}

/// Writes payloads as one frame each, in as few calls as the socket allows.
async fn write_messages<W: AsyncWrite + Unpin>(
    io: &mut W,
    kind: Kind,
    payloads: &[Payload],
    window: Option<Window>,
) -> io::Result<()> {
    let first = match kind {
        Kind::Text => FIN | TEXT,
        Kind::Binary => FIN | BINARY,
    };
    let mut headers = Vec::with_capacity(payloads.len() * 10);
    let mut frames = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let (bytes, is_deflated) = payload.form(window);
        let first = if is_deflated { first | RSV1 } else { first };
        header(first, bytes.len(), &mut headers);
        frames.push((headers.len(), bytes));
    }
    if !io.is_write_vectored() {
        let mut joined = Vec::new();
        let mut start = 0;
        for (end, bytes) in frames {
            joined.extend(&headers[start..end]);
            joined.extend(bytes);
            start = end;
        }
        io.write_all(&joined).await?;
        return io.flush().await;
    }
    let mut slices = Vec::with_capacity(frames.len() * 2);
    let mut start = 0;
    for (end, bytes) in frames {
        slices.push(IoSlice::new(&headers[start..end]));
        slices.push(IoSlice::new(bytes));
        start = end;
    }
    let mut rest = &mut slices[..];
    while !rest.is_empty() {
        let now = rest.len().min(SLICES_MAX);
        let written = io.write_vectored(&rest[..now]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    io.flush().await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use redred_signaling::hub::Departure;
    use tokio::io::AsyncReadExt;

    use super::super::payload::Payloads;
    use super::*;
    use crate::metrics::Counter;

    #[derive(Default)]
    struct Written(Mutex<usize>);

    impl Session for Written {
        async fn message(&self, _: Kind, _: Bytes) {}

        async fn heard(&self) {}

        async fn written(&self, _: std::time::Instant) {
            *self.0.lock().expect("no panic while locked") += 1;
        }

        async fn disconnect(&self, _: Departure) {}

        fn violated(&self) {}
    }

    fn batch(payload_bytes: &[usize]) -> Outgoing {
        let payloads = payload_bytes
            .iter()
            .map(|bytes| Payload::Plain(Bytes::from(vec![b'x'; *bytes])))
            .collect();
        Outgoing::Batch {
            kind: Kind::Text,
            payloads,
            accepted: std::time::Instant::now(),
        }
    }

    async fn run(socket_bytes: usize, inputs: Vec<Outgoing>) -> (Ended, usize, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(socket_bytes);
        let mut writer = Writer {
            io: near,
            timeout: Duration::from_secs(10),
            window: Some(Window::Full),
        };
        let progress = Written::default();
        let (outgoing, outgoing_receiver) = mpsc::channel(8);
        let (_control, control_receiver) = mpsc::channel(1);
        for input in inputs {
            outgoing.try_send(input).expect("room for the inputs");
        }
        let read = async {
            let mut bytes = Vec::new();
            if socket_bytes > 10 {
                far.read_to_end(&mut bytes)
                    .await
                    .expect("reading memory works");
            } else {
                std::future::pending::<()>().await;
            }
            bytes
        };
        let write = async {
            let ended = writer
                .run(outgoing_receiver, control_receiver, &progress)
                .await;
            drop(writer);
            ended
        };
        let (ended, bytes) = if socket_bytes > 10 {
            tokio::join!(write, read)
        } else {
            (write.await, Vec::new())
        };
        let written = *progress.0.lock().expect("no panic while locked");
        (ended, written, bytes)
    }

    #[tokio::test]
    async fn frames_have_the_shortest_length_form() {
        let close = Outgoing::Close {
            code: 4001,
            reason: "é".repeat(100),
        };
        let (ended, written, bytes) =
            run(100_000, vec![batch(&[0, 125, 126, 70_000]), close]).await;
        assert_eq!((ended, written), (Ended::Closed, 1));
        assert_eq!(bytes[..4], [0x81, 0, 0x81, 125]);
        assert_eq!(bytes[129..133], [0x81, 126, 0, 126]);
        assert_eq!(bytes[259..269], [0x81, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        let close = &bytes[70_269..];
        assert_eq!(close[..4], [0x88, 2 + 122, 0x0f, 0xa1]);
        assert_eq!(close.len(), 2 + 2 + 122, "cut between characters");
    }

    #[tokio::test]
    async fn a_batch_of_more_frames_than_the_kernel_takes_at_once_arrives_whole() {
        let close = Outgoing::Close {
            code: 1000,
            reason: String::new(),
        };
        let (ended, _, bytes) = run(1000, vec![batch(&[3; 2000]), close]).await;
        assert_eq!(ended, Ended::Closed);
        assert_eq!(bytes.len(), 2000 * 5 + 4);
    }

    #[tokio::test]
    async fn a_compressed_message_is_marked_and_a_short_one_is_not() {
        let mut shared = Payloads::new(512, Counter::default());
        let long = Bytes::from(vec![b'x'; 512]);
        let payloads = vec![
            shared.share(Bytes::from_static(b"short")),
            shared.share(long.clone()),
        ];
        let batch = Outgoing::Batch {
            kind: Kind::Binary,
            payloads,
            accepted: std::time::Instant::now(),
        };
        let close = Outgoing::Close {
            code: 1000,
            reason: String::new(),
        };
        let (_, _, bytes) = run(1000, vec![batch, close]).await;
        assert_eq!(bytes[..7], *b"\x82\x05short");
        assert_eq!(bytes[7], 0xc2);
        let end = 9 + usize::from(bytes[8]);
        let inflated = super::super::deflate::inflate(&bytes[9..end], 512);
        assert_eq!(inflated.expect("inflates"), long);
        assert_eq!(bytes[end], 0x88);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stands_still_is_given_up() {
        let start = Instant::now();
        let (ended, written, _) = run(10, vec![batch(&[1000])]).await;
        assert_eq!((ended, written), (Ended::Stalled, 0));
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_shortens_the_patience() {
        let start = Instant::now();
        let close = Outgoing::Close {
            code: 4002,
            reason: String::new(),
        };
        let (ended, _, _) = run(10, vec![batch(&[1000]), close]).await;
        assert_eq!(ended, Ended::Stalled);
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
