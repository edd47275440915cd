//! Checks WebSocket frame headers as the bytes pass, under the reading half of fastwebsockets.
//!
//! fastwebsockets accepts what RFC 6455 forbids (frames that are not masked, control frames over 125 bytes, a new
//! message inside a fragmented one) and bounds a frame, but not the sum of a message's fragments, and only after it
//! has reserved the memory. The guard sees every header first. What came before a violation is still handed on; the
//! violation itself appears as an error of the next read, and [`Guard::violation`] says which close code it deserves.
//!
//! fastwebsockets knows no compression either. The guard takes the mark of a compressed message (RSV1, RFC 7692 section 6)
//! off its first frame, shows the frame as binary, for compressed text is no UTF-8, and keeps the truth in [`Marks`].
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-------+-+-------------+-------------------------------+
//! |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
//! |I|S|S|S|  (4)  |A|     (7)     |             (16/64)           |
//! |N|V|V|V|       |S|             |   (if payload len==126/127)   |
//! | |1|2|3|       |K|             |                               |
//! +-+-+-+-+-------+-+-------------+ - - - - - - - - - - - - - - - +   RFC 6455 section 5.2
//! ```

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CONTROL: u8 = 0x08;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const CONTROL_BYTES_MAX: u64 = 125;
const MASK_BYTES: u64 = 4;

/// What kind of message is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Text; else binary.
    pub(crate) is_text: bool,
    /// Its payload is to be inflated.
    pub(crate) is_deflated: bool,
}

/// The marks of messages that have passed the guard and that the reader behind it has not come to. Clones share them:
/// the guard writes, the reader takes, both in one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Arc<Mutex<VecDeque<Mark>>>);

impl Marks {
    fn push(&self, mark: Mark) {
        self.lock().push_back(mark);
    }

    /// The mark of the next message.
    pub(crate) fn pop(&self) -> Option<Mark> {
        self.lock().pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one message may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Payload bytes of a message on the wire, all fragments together.
    pub(crate) message_bytes_max: u64,
    /// Frames of a message. Bounds the work a message of empty or tiny fragments can cause.
    pub(crate) fragments_max: u32,
}

/// A rule that a client broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("reserved bits are set")]
    ReservedBits,
    #[error("reserved opcode")]
    ReservedOpcode,
    #[error("frame is not masked")]
    Unmasked,
    #[error("fragmented control frame")]
    FragmentedControl,
    #[error("control frame over 125 bytes")]
    LongControl,
    #[error("length is not in its shortest form")]
    LongLength,
    #[error("new message inside a fragmented one")]
    Interleaved,
    #[error("continuation of nothing")]
    Continuation,
    #[error("message is too large")]
    TooLarge,
    #[error("message has too many fragments")]
    TooManyFragments,
}

impl Violation {
    /// The close code it is answered with (RFC 6455 section 7.4.1).
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyFragments => 1009,
            Self::ReservedBits
            | Self::ReservedOpcode
            | Self::Unmasked
            | Self::FragmentedControl
            | Self::LongControl
            | Self::LongLength
            | Self::Interleaved
            | Self::Continuation => 1002,
        }
    }
}

/// The frame parser: fed with the bytes of the stream, it stops at the first broken rule.
#[derive(Debug)]
struct Headers {
    limits: Limits,
    takes_deflated: bool,
    marks: Marks,
    state: State,
    first: u8,
    /// Bytes and frames of the message being received; no frames means that no message is open.
    message_bytes: u64,
    fragments: u32,
}

#[derive(Debug, Clone, Copy)]
enum State {
    First,
    Second,
    /// Bytes of the extended length still to come, how many they are in all, and the value so far.
    Length {
        missing: u8,
        width: u8,
        value: u64,
    },
    /// Mask and payload bytes still to come.
    Payload {
        missing: u64,
    },
}

impl Headers {
    fn new(limits: Limits, takes_deflated: bool) -> Self {
        Self {
            limits,
            takes_deflated,
            marks: Marks::default(),
            state: State::First,
            first: 0,
            message_bytes: 0,
            fragments: 0,
        }
    }

    /// Reads on, and shows compressed messages as what the reader behind takes. On a violation, the number is how many of
    /// the bytes come before the frame's faulty byte.
    fn check(&mut self, bytes: &mut [u8]) -> Result<(), (usize, Violation)> {
        let mut index = 0;
        while index < bytes.len() {
            if let State::Payload { missing } = self.state {
                let passed = missing.min((bytes.len() - index) as u64);
                index += passed as usize;
                self.state = match missing - passed {
                    0 => State::First,
                    missing => State::Payload { missing },
                };
                continue;
            }
            self.header_byte(&mut bytes[index])
                .map_err(|violation| (index, violation))?;
            index += 1;
        }
        Ok(())
    }

    fn header_byte(&mut self, shown: &mut u8) -> Result<(), Violation> {
        let byte = *shown;
        self.state = match self.state {
            State::First => {
                *shown = self.first_byte(byte)?;
                State::Second
            }
            State::Second if byte & MASKED == 0 => return Err(Violation::Unmasked),
            State::Second => match byte & LENGTH {
                126 => State::Length {
                    missing: 2,
                    width: 2,
                    value: 0,
                },
                127 => State::Length {
                    missing: 8,
                    width: 8,
                    value: 0,
                },
                length => self.payload(u64::from(length))?,
            },
            State::Length {
                missing,
                width,
                value,
            } => {
                let value = value << 8 | u64::from(byte);
                match (missing - 1, width) {
                    (0, 2) if value < 126 => return Err(Violation::LongLength),
                    (0, 8) if value <= u64::from(u16::MAX) => return Err(Violation::LongLength),
                    (0, _) => self.payload(value)?,
                    (missing, width) => State::Length {
                        missing,
                        width,
                        value,
                    },
                }
            }
            State::Payload { .. } => unreachable!("payload bytes are skipped in bulk"),
        };
        Ok(())
    }

    /// Checks the first byte of a frame and returns it as the reader behind is to see it.
    fn first_byte(&mut self, byte: u8) -> Result<u8, Violation> {
        self.first = byte;
        let opcode = byte & OPCODE;
        let is_start = matches!(opcode, TEXT | BINARY);
        let is_deflated = byte & RSV == RSV1 && is_start && self.takes_deflated;
        if byte & RSV != 0 && !is_deflated {
            return Err(Violation::ReservedBits);
        }
        match opcode {
            0x0 if self.fragments == 0 => return Err(Violation::Continuation),
            TEXT | BINARY if self.fragments > 0 => return Err(Violation::Interleaved),
            0x0..=0x2 => {}
            0x8..=0xa if byte & FIN == 0 => return Err(Violation::FragmentedControl),
            0x8..=0xa => {}
            _ => return Err(Violation::ReservedOpcode),
        }
        if is_start {
            self.marks.push(Mark {
                is_text: opcode == TEXT,
                is_deflated,
            });
        }
        Ok(if is_deflated {
            byte & FIN | BINARY
        } else {
            byte
        })
    }

    /// The length is known: counts it and goes on to the mask and payload.
    fn payload(&mut self, bytes: u64) -> Result<State, Violation> {
        if self.first & CONTROL != 0 {
            if bytes > CONTROL_BYTES_MAX {
                return Err(Violation::LongControl);
            }
        } else {
            self.message_bytes = self.message_bytes.saturating_add(bytes);
            self.fragments += 1;
            if self.message_bytes > self.limits.message_bytes_max {
                return Err(Violation::TooLarge);
            }
            if self.fragments > self.limits.fragments_max {
                return Err(Violation::TooManyFragments);
            }
            if self.first & FIN != 0 {
                self.message_bytes = 0;
                self.fragments = 0;
            }
        }
        Ok(State::Payload {
            missing: bytes + MASK_BYTES,
        })
    }
}

/// A reader that passes bytes through until a client breaks a rule.
#[derive(Debug)]
pub(crate) struct Guard<R> {
    inner: R,
    headers: Headers,
    violation: Option<Violation>,
}

impl<R> Guard<R> {
    /// A guard over `inner`; `takes_deflated` when compression was agreed.
    pub(crate) fn new(inner: R, limits: Limits, takes_deflated: bool) -> Self {
        Self {
            inner,
            headers: Headers::new(limits, takes_deflated),
            violation: None,
        }
    }

    /// What the messages that pass are.
    pub(crate) fn marks(&self) -> Marks {
        self.headers.marks.clone()
    }

    /// The rule that was broken, if one was.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The reader below, to drain what still comes after a violation.
    pub(crate) fn inner_mut(&mut self) -> &mut R {
        &mut self.inner
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Guard<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(violation) = this.violation {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        if let Err((sound, violation)) = this.headers.check(&mut buf.filled_mut()[before..]) {
            this.violation = Some(violation);
            buf.set_filled(before + sound);
            if sound == 0 {
                // An empty read would mean the end of the stream.
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        message_bytes_max: 1000,
        fragments_max: 4,
    };
    const CONTINUATION: u8 = 0x0;
    const PING: u8 = 0x9;

    fn frame(first: u8, payload_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload_bytes {
            0..=125 => bytes.push(MASKED | payload_bytes as u8),
            126..=65535 => {
                bytes.push(MASKED | 126);
                bytes.extend((payload_bytes as u16).to_be_bytes());
            }
            _ => {
                bytes.push(MASKED | 127);
                bytes.extend((payload_bytes as u64).to_be_bytes());
            }
        }
        bytes.extend([0; 4]);
        bytes.resize(bytes.len() + payload_bytes, b'x');
        bytes
    }

    /// What the reader behind sees, or the violation; the same however the bytes are cut.
    fn pass(bytes: &[u8], takes_deflated: bool) -> Result<(Vec<u8>, Vec<Mark>), Violation> {
        let mut whole = bytes.to_vec();
        let mut headers = Headers::new(LIMITS, takes_deflated);
        let verdict = headers.check(&mut whole);
        let marks = || std::iter::from_fn(|| headers.marks.pop()).collect();
        let passed = verdict.map(|()| (whole, marks()));

        let mut singly = bytes.to_vec();
        let mut headers = Headers::new(LIMITS, takes_deflated);
        let verdict = singly.iter_mut().enumerate().try_for_each(|(index, byte)| {
            let checked = headers.check(std::slice::from_mut(byte));
            checked.map_err(|(_, violation)| (index, violation))
        });
        let marks = || std::iter::from_fn(|| headers.marks.pop()).collect();
        assert_eq!(passed, verdict.map(|()| (singly, marks())));
        passed.map_err(|(_, violation)| violation)
    }

    fn check(bytes: &[u8]) -> Option<Violation> {
        pass(bytes, false).err()
    }

    #[test]
    fn compressed_messages_are_shown_as_binary_and_marked() {
        let sent = [
            frame(FIN | RSV1 | TEXT, 5),
            frame(FIN | TEXT, 5),
            frame(RSV1 | BINARY, 5),
            frame(FIN | PING, 5),
            frame(FIN | CONTINUATION, 5),
        ];
        let shown = [
            frame(FIN | BINARY, 5),
            frame(FIN | TEXT, 5),
            frame(BINARY, 5),
            frame(FIN | PING, 5),
            frame(FIN | CONTINUATION, 5),
        ];
        let marks = [(true, true), (true, false), (false, true)];
        let marks = marks.map(|(is_text, is_deflated)| Mark {
            is_text,
            is_deflated,
        });
        assert_eq!(
            pass(&sent.concat(), true),
            Ok((shown.concat(), marks.to_vec()))
        );
    }

    #[test]
    fn only_the_first_frame_of_a_message_says_that_it_is_compressed() {
        let continued = [frame(RSV1 | TEXT, 5), frame(FIN | RSV1 | CONTINUATION, 5)].concat();
        for bytes in [
            continued,
            frame(FIN | RSV1 | PING, 5),
            frame(FIN | 0x20 | TEXT, 5),
            frame(FIN | RSV1 | 0x10 | TEXT, 5),
        ] {
            assert_eq!(pass(&bytes, true), Err(Violation::ReservedBits));
        }
    }

    #[test]
    fn passes_messages_fragments_and_controls_between_them() {
        let mut bytes = frame(FIN | TEXT, 5);
        bytes.extend(frame(TEXT, 300));
        bytes.extend(frame(FIN | PING, 125));
        bytes.extend(frame(CONTINUATION, 0));
        bytes.extend(frame(FIN | CONTINUATION, 700));
        bytes.extend(frame(FIN | TEXT, 1000));
        assert_eq!(check(&bytes), None);
    }

    #[test]
    fn stops_what_the_rfc_forbids() {
        assert_eq!(check(&[FIN | TEXT, 5]), Some(Violation::Unmasked));
        assert_eq!(
            check(&frame(FIN | 0x40 | TEXT, 5)),
            Some(Violation::ReservedBits)
        );
        assert_eq!(check(&frame(FIN | 0x3, 5)), Some(Violation::ReservedOpcode));
        assert_eq!(check(&frame(FIN | 0xb, 5)), Some(Violation::ReservedOpcode));
        assert_eq!(check(&frame(PING, 5)), Some(Violation::FragmentedControl));
        assert_eq!(check(&frame(FIN | PING, 126)), Some(Violation::LongControl));
        assert_eq!(
            check(&frame(FIN | CONTINUATION, 5)),
            Some(Violation::Continuation)
        );
        let interleaved = [frame(TEXT, 5), frame(FIN | TEXT, 5)].concat();
        assert_eq!(check(&interleaved), Some(Violation::Interleaved));
        assert_eq!(
            check(&[FIN | TEXT, MASKED | 126, 0, 125]),
            Some(Violation::LongLength)
        );
        let eight = [FIN | TEXT, MASKED | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(check(&eight), Some(Violation::LongLength));
    }

    #[test]
    fn bounds_a_message_over_all_its_fragments() {
        assert_eq!(check(&frame(FIN | TEXT, 1001)), Some(Violation::TooLarge));
        let sum = [frame(TEXT, 600), frame(FIN | CONTINUATION, 401)].concat();
        assert_eq!(check(&sum), Some(Violation::TooLarge));
        let huge = [
            FIN | TEXT,
            MASKED | 127,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
        ];
        assert_eq!(check(&huge), Some(Violation::TooLarge));
        let mut bomb = frame(TEXT, 0);
        for _ in 0..4 {
            bomb.extend(frame(CONTINUATION, 0));
        }
        assert_eq!(check(&bomb), Some(Violation::TooManyFragments));
    }

    #[tokio::test]
    async fn hands_on_what_came_before_a_violation() {
        use tokio::io::AsyncReadExt;
        let sound = frame(FIN | TEXT, 5);
        let bytes = [sound.clone(), frame(FIN | 0x3, 5)].concat();
        let mut guard = Guard::new(&bytes[..], LIMITS, false);
        let mut passed = vec![0; 64];
        let count = guard.read(&mut passed).await.expect("the sound frame");
        assert_eq!(passed[..count], sound);
        guard.read(&mut passed).await.expect_err("the violation");
        assert_eq!(guard.violation(), Some(Violation::ReservedOpcode));
    }
}
