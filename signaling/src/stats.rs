//! What the hub counts: plain numbers, copied out by the shell when it wants them.

use crate::message::{ClientMessage, ServerMessage};

/// Wire types in both directions, each once, for counters with a bounded label set. Anything else counts as `other`, the
/// last.
pub const MESSAGE_TYPES: [&str; MESSAGE_TYPE_COUNT] = {
    let mut types = [OTHER; MESSAGE_TYPE_COUNT];
    let mut next = 0;
    while next < ServerMessage::TYPES.len() {
        types[next] = ServerMessage::TYPES[next];
        next += 1;
    }
    let mut i = 0;
    while i < ClientMessage::TYPES.len() {
        if !contains(ServerMessage::TYPES, ClientMessage::TYPES[i]) {
            types[next] = ClientMessage::TYPES[i];
            next += 1;
        }
        i += 1;
    }
    types
};

const OTHER: &str = "other";

const MESSAGE_TYPE_COUNT: usize = {
    let mut count = ServerMessage::TYPES.len() + 1;
    let mut i = 0;
    while i < ClientMessage::TYPES.len() {
        if !contains(ServerMessage::TYPES, ClientMessage::TYPES[i]) {
            count += 1;
        }
        i += 1;
    }
    count
};

/// Traits, and with them `==` of strings, cannot be used in constants.
const fn contains(types: &[&str], wanted: &str) -> bool {
    let wanted = wanted.as_bytes();
    let mut i = 0;
    while i < types.len() {
        let known = types[i].as_bytes();
        let mut same = 0;
        while same < known.len() && same < wanted.len() && known[same] == wanted[same] {
            same += 1;
        }
        if same == known.len() && same == wanted.len() {
            return true;
        }
        i += 1;
    }
    false
}

/// Messages of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeCount {
    /// The wire type, one of [`MESSAGE_TYPES`].
    pub kind: &'static str,
    /// Received from sessions, whatever became of them.
    pub received: u64,
    /// Handed out in writes.
    pub sent: u64,
}

/// One reading: gauges of this moment and counters since the start.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Gauge: attached sessions that connected without a channel in the path.
    pub sessions_multiplexed: u64,
    /// Gauge: attached sessions that connected to a live channel.
    pub sessions_live: u64,
    /// Gauge: attached sessions that connected to a chat room.
    pub sessions_chat: u64,
    /// Gauge: attached sessions that connected to their notifications.
    pub sessions_notifications: u64,
    /// Gauge: sessions without a socket that may still be resumed.
    pub sessions_resumable: u64,
    /// Gauge: channels with state in memory.
    pub channels: u64,
    /// Gauge: streams whose media has been announced and that have not ended.
    pub live_streams: u64,
    /// Gauge: connections that watch, over WebSocket and WHEP.
    pub live_viewers: u64,
    /// Gauge: bytes in all outboxes.
    pub outbox_bytes: u64,
    /// Counters by wire type.
    pub messages: Vec<TypeCount>,
    /// Sockets that became sessions.
    pub connects: u64,
    /// Of these, resumed sessions.
    pub resumes: u64,
    /// Sockets closed because a limit on sessions was reached.
    pub sessions_refused: u64,
    /// Sessions closed because they read too slowly.
    pub slow_consumers: u64,
    /// Droppable messages that were dropped or overtaken.
    pub messages_dropped: u64,
    /// Messages and comments refused for their pace.
    pub rate_limited: u64,
    /// Messages refused as malformed.
    pub bad_messages: u64,
    /// Sessions closed for abuse.
    pub abuse_closes: u64,
    /// Sessions closed for silence.
    pub idle_closes: u64,
    /// Sessions closed because their token ended.
    pub token_expiries: u64,
    /// WHIP and WHEP connections, and publishers without a session, closed because their token ended.
    pub media_token_expiries: u64,
    /// Subscriptions with `since` that were served without a gap.
    pub recoveries: u64,
    /// Subscriptions with `since` whose gap was larger than the history.
    pub recovery_failures: u64,
    /// Comments stored.
    pub comments: u64,
    /// Gauge: chat rooms with state in memory.
    pub chat_rooms: u64,
    /// Gauge: people with a connection, or without one since a moment ago.
    pub people_online: u64,
    /// Messages stored in rooms.
    pub chat_messages: u64,
    /// Messages that the store had already.
    pub chat_repeats: u64,
    /// Recoveries that were read from the log of a room; they are among `recoveries`.
    pub chat_log_recoveries: u64,
    /// Times that a room found something missing and read its log.
    pub chat_gaps: u64,
    /// Idle rooms forgotten to make room for others.
    pub chat_evictions: u64,
    /// People who came or went.
    pub presence_changes: u64,
    /// Kicks, bans, unbans and timeouts carried out.
    pub moderations: u64,
    /// Publishers refused because another one was present.
    pub publish_conflicts: u64,
    /// Publishers that came back within the grace time.
    pub publisher_returns: u64,
    /// Streams announced.
    pub streams_started: u64,
    /// Streams ended.
    pub streams_ended: u64,
    /// Notifications stored, one for each recipient; a folded one counts again.
    pub notifications: u64,
    /// Of these, folded into one that the recipient had and had not read.
    pub notifications_folded: u64,
    /// Parts of requests to notify that were there already.
    pub notification_repeats: u64,
    /// Batches sent to users who listen.
    pub notification_batches: u64,
    /// Of these, sent before their window ended because they were full.
    pub notification_batches_full: u64,
    /// Times that a stored notification was never told here, found out by the next one, and asked of the store.
    pub notification_gaps: u64,
    /// Messages and streams of which nobody, or not everybody, was notified: the store failed, or too many were waiting.
    pub notices_dropped: u64,
    /// Streams that went live again before their followers were to be told again.
    pub live_notices_suppressed: u64,
    /// Rows deleted because they were too old.
    pub notifications_purged: u64,
    /// Store requests that failed.
    pub store_failures: u64,
    /// Requests refused because a queue or table of the hub was full.
    pub limits_hit: u64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_type_has_one_counter_and_what_is_none_the_last() {
        let once: BTreeSet<&str> = MESSAGE_TYPES.into_iter().collect();
        assert_eq!(once.len(), MESSAGE_TYPES.len());
        let both = ClientMessage::TYPES.iter().chain(ServerMessage::TYPES);
        let mut expected: BTreeSet<&str> = both.copied().collect();
        assert!(expected.insert(OTHER), "no message is called that");
        assert_eq!(once, expected);
        assert_eq!(MESSAGE_TYPES.last(), Some(&OTHER));
    }
}
