//! Bytes to envelopes and back; the only place that knows the encoding is JSON.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use crate::envelope::{self, Incoming, Malformed, Metadata};
use crate::error::{Error, ErrorCode};
use crate::message::ServerMessage;
use crate::stats::MESSAGE_TYPES;

/// Reads one message. Depth is bounded by serde_json (128 levels), width by the size limit.
///
/// # Errors
/// `too_large`, `bad_message`, or `invalid_field` about the envelope itself.
pub fn decode(bytes: &[u8], bytes_max: usize) -> Result<Incoming, Malformed> {
    if bytes.len() > bytes_max {
        let message = format!("{} bytes: expected at most {bytes_max}", bytes.len());
        return Err(Error::new(ErrorCode::TooLarge, message).into());
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorCode::BadMessage, format!("not JSON: {error}")))?;
    envelope::open(value)
}

#[derive(Serialize)]
struct Outgoing<'a> {
    #[serde(flatten)]
    message: &'a ServerMessage,
    timestamp: String,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
}

/// Writes one message.
#[must_use]
pub fn encode(message: &ServerMessage, wall_ms: u64, metadata: &Metadata) -> Bytes {
    let outgoing = Outgoing {
        message,
        timestamp: crate::time::rfc3339(wall_ms),
        metadata,
    };
    // Our own types hold no maps with keys other than strings, the one thing that JSON cannot write.
    serde_json::to_vec(&outgoing)
        .expect("server messages are always JSON")
        .into()
}

/// Index of a wire type in [`MESSAGE_TYPES`]; the last, `other`, for what is not there.
#[must_use]
pub(crate) fn type_index(kind: &str) -> usize {
    MESSAGE_TYPES
        .iter()
        .position(|known| *known == kind)
        .unwrap_or(MESSAGE_TYPES.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 64 * 1024;

    fn code(bytes: &[u8]) -> ErrorCode {
        decode(bytes, MAX).expect_err("refused").error.code
    }

    #[test]
    fn what_is_no_envelope_is_a_bad_message() {
        for bad in [
            "",
            "x",
            "{",
            "[]",
            "null",
            "1",
            "\"ping\"",
            "{}",
            r#"{"type":"ping"}"#,
            r#"{"data":{}}"#,
            r#"{"type":"ping","data":{}} {}"#,
        ] {
            assert_eq!(code(bad.as_bytes()), ErrorCode::BadMessage, "{bad}");
        }
        assert_eq!(code(b"\xff\xfe"), ErrorCode::BadMessage);
    }

    #[test]
    fn envelope_fields_of_the_wrong_shape_are_named() {
        for (bad, field) in [
            (r#"{"type":1,"data":{}}"#, "type"),
            (r#"{"type":"ping","data":[]}"#, "data"),
            (r#"{"type":"ping","data":{},"metadata":1}"#, "metadata"),
            (
                r#"{"type":"ping","data":{},"metadata":{"id":1}}"#,
                "metadata.id",
            ),
            (
                r#"{"type":"ping","data":{},"metadata":{"id":""}}"#,
                "metadata.id",
            ),
            (
                r#"{"type":"ping","data":{},"metadata":{"channel":1}}"#,
                "metadata.channel",
            ),
        ] {
            let error = decode(bad.as_bytes(), MAX).expect_err("refused").error;
            assert_eq!(error.code, ErrorCode::InvalidField, "{bad}");
            assert!(error.message.starts_with(&format!("{field}: ")), "{error}");
        }
    }

    #[test]
    fn an_error_answers_the_request_whose_id_could_be_read() {
        let malformed =
            decode(br#"{"type":7,"data":{},"metadata":{"id":"c-1"}}"#, MAX).expect_err("refused");
        assert_eq!(malformed.id.as_deref(), Some("c-1"));
    }

    #[test]
    fn nesting_bombs_and_oversized_messages_are_refused() {
        let bomb = "[".repeat(60_000);
        assert_eq!(code(bomb.as_bytes()), ErrorCode::BadMessage);
        let nested = format!(
            r#"{{"type":"ping","data":{}1{}}}"#,
            r#"{"a":"#.repeat(5000),
            "}".repeat(5000)
        );
        assert_eq!(code(nested.as_bytes()), ErrorCode::BadMessage);
        assert_eq!(code(&vec![b' '; MAX + 1]), ErrorCode::TooLarge);
    }
}
