//! What can go wrong for somebody who asked for something, with the contract's codes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::millis;

/// The `code` of an `error`. Clients decide by it; the text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not a JSON envelope.
    BadMessage,
    /// The type is not one that clients send.
    UnknownType,
    /// A field has the wrong shape or is over its limit; the text names it and says what was expected.
    InvalidField,
    /// The message is over the size limit.
    TooLarge,
    /// The caller may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Too much, too fast; `retry_after_ms` says when to try again.
    RateLimited,
    /// It contradicts what is already there, such as a second publisher.
    Conflict,
    /// Nothing both sides can encode and decode (HTTP 406).
    Unsupported,
    /// The store or the media plane cannot serve this right now.
    Unavailable,
    /// `If-Match` names another ICE session than the current one (HTTP 412).
    PreconditionFailed,
    /// `If-Match` is missing (HTTP 428).
    PreconditionRequired,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::BadMessage,
        Self::UnknownType,
        Self::InvalidField,
        Self::TooLarge,
        Self::Forbidden,
        Self::NotFound,
        Self::RateLimited,
        Self::Conflict,
        Self::Unsupported,
        Self::Unavailable,
        Self::PreconditionFailed,
        Self::PreconditionRequired,
    ];

    /// The code as it goes over the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::InvalidField => "invalid_field",
            Self::TooLarge => "too_large",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Conflict => "conflict",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::PreconditionFailed => "precondition_failed",
            Self::PreconditionRequired => "precondition_required",
        }
    }

    /// Whether the same request may succeed later without being changed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Unavailable => true,
            Self::BadMessage
            | Self::UnknownType
            | Self::InvalidField
            | Self::TooLarge
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::Unsupported
            | Self::PreconditionFailed
            | Self::PreconditionRequired => false,
        }
    }
}

/// Which rule refused somebody, so that an app can word it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Banned from the stream.
    Banned,
    /// Kicked a moment ago.
    Kicked,
    /// May not write for a while.
    Timeout,
    /// Slow mode: not yet.
    SlowMode,
    /// The other one blocks the caller.
    Blocked,
}

/// A refused request, for a WebSocket client or an HTTP one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
#[non_exhaustive]
pub struct Error {
    /// What clients decide by.
    pub code: ErrorCode,
    /// What was wrong and what was expected, in one sentence for whoever wrote the client.
    pub message: String,
    /// When trying again makes sense.
    pub retry_after_ms: Option<u64>,
    /// The rule behind `forbidden` or `rate_limited`, where an app words it differently.
    pub rule: Option<Rule>,
}

impl Error {
    /// An error with its text.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
            rule: None,
        }
    }

    /// The same, with the time after which another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        // Never zero: a client that reads 0 would try again in the same millisecond.
        self.retry_after_ms = Some(millis(wait).max(1));
        self
    }

    /// The same, naming the rule.
    #[must_use]
    pub fn by_rule(mut self, rule: Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// `forbidden`.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// `not_found`.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// `conflict`.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// `unavailable`.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// `rate_limited`, with the wait.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        Self::new(ErrorCode::RateLimited, message).retry_after(wait)
    }

    /// `invalid_field`, naming the field and what was expected.
    #[must_use]
    pub fn invalid_field(field: &str, expected: impl std::fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidField, format!("{field}: {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_spelled_the_same_by_serde_and_by_hand() {
        for code in ErrorCode::ALL {
            let json = serde_json::to_string(&code).expect("a string");
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
    }
}
