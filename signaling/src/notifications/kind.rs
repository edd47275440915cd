//! Kinds of notifications, and which are urgent.

use crate::error::Error;
use crate::store::notifications::Priority;

/// Kinds that are told at once; every other one is collected.
const HIGH: [&str; 7] = [
    "comment",
    "reply",
    "mention_post",
    "mention_comment",
    MESSAGE,
    GROUP_MESSAGE,
    STREAM_LIVE,
];

/// A message in a direct room.
pub(super) const MESSAGE: &str = "message";
/// A message in a group.
pub(super) const GROUP_MESSAGE: &str = "group_message";
/// A stream that one follows went live.
pub(super) const STREAM_LIVE: &str = "stream_live";

pub(super) fn priority(kind: &str) -> Priority {
    if HIGH.contains(&kind) {
        Priority::High
    } else {
        Priority::Medium
    }
}

/// Whether a kind is written as kinds are.
///
/// # Errors
/// `invalid_field`, naming `field`.
pub(super) fn check(field: &str, kind: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
    };
    if (1..=64).contains(&kind.len()) && kind.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(Error::invalid_field(field, "expected 1 to 64 of a-z0-9_.-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wait_for_is_high_and_everything_else_medium() {
        for kind in HIGH {
            assert_eq!(priority(kind), Priority::High, "{kind}");
        }
        for kind in ["like", "follow", "follow_back", "badge.won", "messages"] {
            assert_eq!(priority(kind), Priority::Medium, "{kind}");
        }
    }

    #[test]
    fn a_kind_is_a_short_lower_case_name() {
        let longest = "k".repeat(64);
        let too_long = "k".repeat(65);
        for good in ["like", "badge.won-2_x", longest.as_str()] {
            assert!(check("kind", good).is_ok(), "{good}");
        }
        for bad in ["", "Like", "a b", "ä", too_long.as_str()] {
            assert!(check("kind", bad).is_err(), "{bad}");
        }
    }
}
