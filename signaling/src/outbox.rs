//! Hot path. The bounded queue towards one session, and what happens when it is full.
//!
//! At most one write is in flight. While it is, messages queue up; a reader that is too slow first loses droppable
//! messages, and is closed when that is not enough.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::config;
use crate::message::Class;

/// One encoded message; a broadcast shares its bytes between outboxes and the history.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The text message.
    pub bytes: Bytes,
    /// Index of its type in [`crate::stats::MESSAGE_TYPES`].
    pub kind: u8,
    /// What a full outbox may do with it.
    pub class: Class,
    /// Number of its channel, so that a newer message replaces only one of the same channel.
    pub channel: u32,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued; this many others (or itself) were dropped or replaced for it.
    Queued {
        /// Droppable messages lost.
        dropped: u64,
    },
    /// There is no room even without droppable messages: the session must be closed.
    Overflow,
}

/// The queue towards one session.
#[derive(Debug)]
pub struct Outbox {
    queue: VecDeque<Frame>,
    queued_bytes: usize,
    in_flight_bytes: usize,
    in_flight_messages: usize,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            in_flight_bytes: 0,
            in_flight_messages: 0,
        }
    }

    /// Bytes queued and in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.queued_bytes + self.in_flight_bytes
    }

    /// Messages queued and in flight.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.queue.len() + self.in_flight_messages
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a write has not been reported as written.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.in_flight_messages > 0
    }

    /// Queues a message, making room by the rules.
    pub fn push(&mut self, frame: Frame, limits: &config::Outbox) -> Pushed {
        let mut dropped = 0;
        if frame.class == Class::Latest
            && let Some(older) = self.queue.iter_mut().rev().find(|queued| {
                queued.class == Class::Latest
                    && queued.kind == frame.kind
                    && queued.channel == frame.channel
            })
        {
            self.queued_bytes = self.queued_bytes - older.bytes.len() + frame.bytes.len();
            *older = frame;
            // The newer one may be longer; what it no longer fits into is found out by the next message.
            return Pushed::Queued { dropped: 1 };
        }
        if !self.has_room(frame.bytes.len(), limits) {
            dropped += self.drop_droppable();
            if !self.has_room(frame.bytes.len(), limits) {
                if frame.class == Class::Kept {
                    return Pushed::Overflow;
                }
                return Pushed::Queued {
                    dropped: dropped + 1,
                };
            }
        }
        self.queued_bytes += frame.bytes.len();
        self.queue.push_back(frame);
        Pushed::Queued { dropped }
    }

    fn has_room(&self, bytes: usize, limits: &config::Outbox) -> bool {
        self.messages() < limits.messages_max && self.bytes() + bytes <= limits.bytes_max
    }

    fn drop_droppable(&mut self) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|frame| frame.class == Class::Kept);
        self.queued_bytes = self.queue.iter().map(|frame| frame.bytes.len()).sum();
        (before - self.queue.len()) as u64
    }

    /// The next batch to write, empty when one is in flight or nothing waits. `sent` hears the type of each message.
    pub fn next_batch(&mut self, limits: &config::Outbox, mut sent: impl FnMut(u8)) -> Vec<Bytes> {
        let mut batch = Vec::new();
        if self.is_in_flight() {
            return batch;
        }
        while let Some(frame) = self.queue.front() {
            let size = frame.bytes.len();
            let is_full = batch.len() >= limits.batch_frames_max
                || self.in_flight_bytes + size > limits.batch_bytes_max;
            if is_full && !batch.is_empty() {
                break;
            }
            let Some(frame) = self.queue.pop_front() else {
                break;
            };
            self.queued_bytes -= size;
            self.in_flight_bytes += size;
            sent(frame.kind);
            batch.push(frame.bytes);
        }
        self.in_flight_messages = batch.len();
        batch
    }

    /// The write in flight has left.
    pub fn written(&mut self) {
        self.in_flight_bytes = 0;
        self.in_flight_messages = 0;
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> config::Outbox {
        config::Outbox {
            bytes_max: 100,
            messages_max: 4,
            batch_frames_max: 2,
            batch_bytes_max: 50,
        }
    }

    fn frame(text: &'static str, class: Class) -> Frame {
        Frame {
            bytes: Bytes::from_static(text.as_bytes()),
            kind: 1,
            class,
            channel: 1,
        }
    }

    fn batch(outbox: &mut Outbox) -> Vec<Bytes> {
        outbox.next_batch(&limits(), |_| ())
    }

    #[test]
    fn one_batch_at_a_time_leaves_in_order() {
        let mut outbox = Outbox::new();
        for text in ["a", "b", "c"] {
            outbox.push(frame(text, Class::Kept), &limits());
        }
        assert_eq!(batch(&mut outbox), ["a", "b"]);
        assert!(batch(&mut outbox).is_empty(), "one is in flight");
        outbox.written();
        assert_eq!(batch(&mut outbox), ["c"]);
    }

    #[test]
    fn droppable_messages_go_first_and_kept_ones_overflow() {
        let mut outbox = Outbox::new();
        outbox.push(frame("a", Class::Kept), &limits());
        outbox.push(frame("r", Class::Droppable), &limits());
        outbox.push(frame("b", Class::Kept), &limits());
        outbox.push(frame("v", Class::Latest), &limits());
        let pushed = outbox.push(frame("c", Class::Kept), &limits());
        assert_eq!(pushed, Pushed::Queued { dropped: 2 });
        outbox.push(frame("d", Class::Kept), &limits());
        let pushed = outbox.push(frame("r", Class::Droppable), &limits());
        assert_eq!(pushed, Pushed::Queued { dropped: 1 }, "the new one itself");
        assert_eq!(
            outbox.push(frame("e", Class::Kept), &limits()),
            Pushed::Overflow
        );
        assert_eq!(outbox.messages(), 4);
    }

    #[test]
    fn a_newer_count_replaces_the_one_that_waits() {
        let mut outbox = Outbox::new();
        outbox.push(frame("1 viewer", Class::Latest), &limits());
        outbox.push(frame("a", Class::Kept), &limits());
        let pushed = outbox.push(frame("2 viewers", Class::Latest), &limits());
        assert_eq!(pushed, Pushed::Queued { dropped: 1 });
        assert_eq!(batch(&mut outbox), ["2 viewers", "a"]);
        assert_eq!(outbox.bytes(), 10);
    }

    #[test]
    fn bytes_in_flight_count() {
        let mut outbox = Outbox::new();
        let sixty = "x".repeat(60);
        let big = |class| Frame {
            bytes: Bytes::from(sixty.clone()),
            kind: 1,
            class,
            channel: 1,
        };
        outbox.push(big(Class::Kept), &limits());
        assert_eq!(batch(&mut outbox).len(), 1, "one frame always goes");
        assert_eq!(outbox.push(big(Class::Kept), &limits()), Pushed::Overflow);
        outbox.written();
        assert_eq!(
            outbox.push(big(Class::Kept), &limits()),
            Pushed::Queued { dropped: 0 }
        );
    }
}
