//! The last messages of a channel, for sessions that come back.

use std::collections::VecDeque;

use crate::outbox::Frame;

/// A bounded ring of the newest messages, oldest first, with consecutive `seq`.
#[derive(Debug)]
pub struct History {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// `seq` of the newest message ever added; 0 before the first.
    last_seq: u64,
    messages_max: usize,
    bytes_max: usize,
}

impl History {
    /// An empty history.
    #[must_use]
    pub fn new(messages_max: usize, bytes_max: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            last_seq: 0,
            messages_max,
            bytes_max,
        }
    }

    /// An empty history of a channel that has reached `last_seq`.
    #[must_use]
    pub fn starting_at(last_seq: u64, messages_max: usize, bytes_max: usize) -> Self {
        Self {
            last_seq,
            ..Self::new(messages_max, bytes_max)
        }
    }

    /// `seq` of the newest message; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Adds the message that carries `last_seq() + 1`; the oldest make room.
    pub fn push(&mut self, frame: Frame) {
        self.last_seq += 1;
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.frames.len() > self.messages_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Everything after `seq`, in order; `None` when some of it is no longer here, or `seq` was never reached.
    #[must_use]
    pub fn since(&self, seq: u64) -> Option<impl Iterator<Item = &Frame>> {
        let missed = usize::try_from(self.last_seq.checked_sub(seq)?).ok()?;
        let first = self.frames.len().checked_sub(missed)?;
        Some(self.frames.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Class;

    fn frame(text: &'static str) -> Frame {
        Frame {
            bytes: bytes::Bytes::from_static(text.as_bytes()),
            kind: 0,
            class: Class::Kept,
            channel: 0,
        }
    }

    fn since(history: &History, seq: u64) -> Option<Vec<bytes::Bytes>> {
        Some(history.since(seq)?.map(|f| f.bytes.clone()).collect())
    }

    #[test]
    fn exactly_the_missed_messages_come_back() {
        let mut history = History::new(3, 1000);
        assert_eq!(since(&history, 0), Some(vec![]));
        for text in ["a", "b", "c", "d"] {
            history.push(frame(text));
        }
        assert_eq!(since(&history, 4), Some(vec![]));
        assert_eq!(
            since(&history, 1),
            Some(vec!["b".into(), "c".into(), "d".into()])
        );
        assert_eq!(since(&history, 0), None, "a is gone");
        assert_eq!(
            since(&history, 5),
            None,
            "a position that was never reached"
        );
    }

    #[test]
    fn bytes_bound_the_history_as_well() {
        let mut history = History::new(100, 5);
        history.push(frame("abc"));
        history.push(frame("def"));
        assert_eq!(since(&history, 1), Some(vec!["def".into()]));
        assert_eq!(since(&history, 0), None);
        history.push(frame("too large"));
        assert_eq!(since(&history, 2), None);
        assert_eq!(history.last_seq(), 3);
    }
}
