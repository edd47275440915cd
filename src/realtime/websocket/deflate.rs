//! permessage-deflate (RFC 7692) without context takeover: no connection keeps a window, so a message is compressed once
//! for everybody, and the scratch memory belongs to the thread.

use std::cell::RefCell;

use axum::http::header::{self, HeaderMap, HeaderValue};
use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

const EXTENSION: &str = "permessage-deflate";

/// What ends a flushed DEFLATE stream; it does not travel (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// The largest window of DEFLATE, in bits.
const WINDOW_BITS_MAX: u8 = 15;

/// The smallest window that zlib compresses with. An offer of a server window of 8 bits is declined.
const WINDOW_BITS_MIN: u8 = 9;

/// What a buffer for an inflated message begins with, as a multiple of the message's size on the wire.
const INFLATION: usize = 4;

/// How far back a compressed message may refer. Two sizes, so that a broadcast is compressed at most twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// 32 KiB: for every client that does not ask for less.
    Full,
    /// 512 bytes, which serves whatever less a client asks for.
    Small,
}

impl Window {
    /// How many there are.
    pub(super) const COUNT: usize = 2;

    fn bits(self) -> u8 {
        match self {
            Self::Full => WINDOW_BITS_MAX,
            Self::Small => WINDOW_BITS_MIN,
        }
    }
}

/// What was agreed with a client.
#[derive(Debug)]
pub(super) struct Terms {
    /// The window to compress within.
    pub(super) window: Window,
    /// The value of `Sec-WebSocket-Extensions` in the answer.
    pub(super) answer: HeaderValue,
}

/// The first of a client's offers that can be met (RFC 7692 section 5); none means no compression.
pub(super) fn negotiate(headers: &HeaderMap) -> Option<Terms> {
    headers
        .get_all(header::SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(meet)
}

/// Meets one offer, or declines it when it says anything that RFC 7692 section 7.1 does not provide for.
fn meet(offer: &str) -> Option<Terms> {
    let mut parts = offer.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(EXTENSION) {
        return None;
    }
    let mut seen = Vec::new();
    let mut server_bits = None;
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
            None => (part, None),
        };
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            | ("client_max_window_bits", None) => {}
            // The client may use less than we take; any window can be inflated.
            ("client_max_window_bits", Some(bits)) => _ = window_bits(bits)?,
            ("server_max_window_bits", Some(bits)) => server_bits = Some(window_bits(bits)?),
            _ => return None,
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    let mut answer = format!("{EXTENSION}; server_no_context_takeover; client_no_context_takeover");
    let window = match server_bits {
        None | Some(WINDOW_BITS_MAX) => Window::Full,
        Some(bits) if bits >= WINDOW_BITS_MIN => Window::Small,
        Some(_) => return None,
    };
    if let Some(bits) = server_bits {
        answer.push_str(&format!("; server_max_window_bits={bits}"));
    }
    let answer = HeaderValue::from_str(&answer).expect("names and a number are ASCII");
    Some(Terms { window, answer })
}

/// A parameter's value may stand in quotes (RFC 6455 section 9.1).
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let bits = text.parse().ok().filter(|bits| (8..=15).contains(bits));
    bits.filter(|_| is_plain)
}

/// Memory that one thread compresses with, made when it first does.
#[derive(Default)]
struct Deflaters {
    by_window: [Option<Compress>; Window::COUNT],
    buffer: Vec<u8>,
}

thread_local! {
    static DEFLATERS: RefCell<Deflaters> = RefCell::default();
    static INFLATER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Compresses a message; none when that takes more than `bytes_max` bytes.
pub(super) fn deflate(plain: &[u8], window: Window, bytes_max: usize) -> Option<Bytes> {
    DEFLATERS.with_borrow_mut(|Deflaters { by_window, buffer }| {
        let deflater = by_window[window as usize].get_or_insert_with(|| {
            Compress::new_with_window_bits(Compression::default(), false, window.bits())
        });
        deflater.reset();
        buffer.clear();
        // One more than may be used: a full buffer means that there is more to come.
        buffer.reserve_exact(bytes_max + TAIL.len() + 1);
        let status = deflater.compress_vec(plain, buffer, FlushCompress::Sync);
        let is_whole = status.is_ok()
            && deflater.total_in() == plain.len() as u64
            && buffer.len() < buffer.capacity();
        let deflated = buffer.strip_suffix(&TAIL).filter(|_| is_whole)?;
        (deflated.len() <= bytes_max).then(|| Bytes::copy_from_slice(deflated))
    })
}

/// Why a message does not inflate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InflateError {
    #[error("message inflates to more than it may")]
    TooLarge,
    #[error("message is not DEFLATE data")]
    Invalid,
}

impl InflateError {
    /// The close code it is answered with (RFC 6455 section 7.4.1).
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::TooLarge => 1009,
            Self::Invalid => 1007,
        }
    }
}

/// Inflates a message and stops as soon as it has more than `bytes_max` bytes.
///
/// # Errors
/// When it grows too large or is no DEFLATE data.
pub(super) fn inflate(deflated: &[u8], bytes_max: usize) -> Result<Bytes, InflateError> {
    INFLATER.with_borrow_mut(|inflater| {
        inflater.reset(false);
        let guess = deflated.len().saturating_mul(INFLATION);
        let mut plain = Vec::with_capacity(guess.min(bytes_max) + 1);
        for mut rest in [deflated, &TAIL] {
            loop {
                if plain.len() == plain.capacity() {
                    let room = bytes_max + 1 - plain.len();
                    plain.reserve_exact(room.min(plain.len()));
                }
                let (taken, given) = (inflater.total_in(), plain.len());
                let status = inflater
                    .decompress_vec(rest, &mut plain, FlushDecompress::Sync)
                    .map_err(|_| InflateError::Invalid)?;
                let taken = (inflater.total_in() - taken) as usize;
                rest = &rest[taken..];
                if plain.len() > bytes_max {
                    return Err(InflateError::TooLarge);
                }
                if status == Status::StreamEnd {
                    // A final block ends a stream but not the message (RFC 7692 section 7.2.3.5).
                    inflater.reset(false);
                } else if taken == 0 && plain.len() == given && !rest.is_empty() {
                    return Err(InflateError::Invalid);
                }
                if rest.is_empty() && plain.len() < plain.capacity() {
                    break;
                }
            }
        }
        Ok(Bytes::from(plain))
    })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest::{SHA256, digest};

    use super::*;

    const ANSWER: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(offers: &str) -> Option<(Window, String)> {
        let mut headers = HeaderMap::new();
        let offers = HeaderValue::from_str(offers).expect("a header");
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, offers);
        let terms = negotiate(&headers)?;
        let answer = terms.answer.to_str().expect("ASCII").to_owned();
        Some((terms.window, answer))
    }

    #[test]
    fn offers_are_met_without_context_takeover() {
        let full = Some((Window::Full, ANSWER.to_owned()));
        for offer in [
            "permessage-deflate",
            "Permessage-Deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=10; server_no_context_takeover",
            "permessage-deflate;client_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-deflate; mystery, permessage-deflate",
            "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        ] {
            assert_eq!(answer(offer), full, "{offer}");
        }
    }

    #[test]
    fn a_smaller_window_is_kept_to() {
        for (offer, window, bits) in [
            (
                "permessage-deflate; server_max_window_bits=15",
                Window::Full,
                15,
            ),
            (
                "permessage-deflate; server_max_window_bits=\"14\"",
                Window::Small,
                14,
            ),
            (
                "permessage-deflate; server_max_window_bits=9",
                Window::Small,
                9,
            ),
        ] {
            let expected = format!("{ANSWER}; server_max_window_bits={bits}");
            assert_eq!(answer(offer), Some((window, expected)), "{offer}");
        }
    }

    #[test]
    fn offers_that_cannot_be_met_or_are_malformed_are_declined() {
        for offer in [
            "permessage-bzip2",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; mystery",
            "permessage-deflate;",
            "",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    #[test]
    fn the_examples_of_the_rfc_inflate() {
        // RFC 7692 sections 7.2.3.1, 7.2.3.3 (no compression), 7.2.3.4 (BFINAL) and 7.2.3.5 (two blocks).
        for deflated in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            &[
                0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
            ],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[
                0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
            ],
        ] {
            assert_eq!(inflate(deflated, 5).expect("inflates"), "Hello");
        }
        assert_eq!(inflate(&[0x00], 0).expect("an empty message"), "");
    }

    #[test]
    fn what_is_compressed_inflates_to_the_same() {
        let text = "a comment like any other, ".repeat(2000);
        for window in [Window::Full, Window::Small] {
            for length in [1, 40, 512, 1800, 52_000] {
                let plain = &text.as_bytes()[..length];
                let Some(deflated) = deflate(plain, window, length - 1) else {
                    assert!(length < 512, "{length} bytes did not shrink");
                    continue;
                };
                assert!(deflated.len() < plain.len());
                assert_eq!(inflate(&deflated, length).expect("inflates"), plain);
            }
        }
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let noise: Vec<u8> = (0..100_u32)
            .flat_map(|n| digest(&SHA256, &n.to_be_bytes()).as_ref().to_vec())
            .collect();
        for window in [Window::Full, Window::Small] {
            assert_eq!(deflate(&noise, window, noise.len()), None);
            assert_eq!(deflate(b"", window, 0), None);
        }
    }

    #[test]
    fn a_message_that_inflates_too_far_is_stopped() {
        let bomb = deflate(&vec![b' '; 10_000_000], Window::Full, 65_536).expect("shrinks");
        assert_eq!(inflate(&bomb, 65_536), Err(InflateError::TooLarge));
        let just = deflate(&vec![b' '; 65_536], Window::Full, 65_536).expect("shrinks");
        assert_eq!(inflate(&just, 65_536).expect("fits").len(), 65_536);
        assert_eq!(inflate(&just, 65_535), Err(InflateError::TooLarge));
    }

    #[test]
    fn what_is_no_deflate_data_is_told() {
        // Block type 3 does not exist; a match that reaches before the beginning of the message needs context takeover.
        for wrong in [&[0x06][..], &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
            assert_eq!(inflate(wrong, 100), Err(InflateError::Invalid), "{wrong:?}");
        }
    }
}
