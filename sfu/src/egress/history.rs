//! Hot path. What a line sent lately, and how much of it may be sent again.
//!
//! An entry names a packet in a [`super::ring::Ring`] and says how it was numbered here: some thirty bytes instead of a
//! packet.

use str0m::media::Pt;

use crate::forward::codec::Numbers;
use crate::forward::packet::Egress;

/// Packets remembered, a power of two: as many as the numbering takes late ones. More than half a second at 8 Mbit/s.
const SENT_MAX: usize = 512;

/// A packet is repeated so many times at most: each try costs the viewer a round trip, after some of which it gives up.
const REPEATS_MAX: u8 = 10;

/// Repeats may take this part of what is sent otherwise. With more, a viewer whose network is too slow gets even more of
/// what it cannot take; with less, a fifth of loss would not be repaired.
const REPEAT_PART: u32 = 4;

/// Bytes of repeats that may come at once.
const REPEAT_BURST_BYTES: u32 = 128 << 10;

/// Where a packet lies that a viewer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The track's number.
    pub(crate) track: u16,
    /// The layer's slot.
    pub(crate) slot: u8,
    /// In the ring of the layer.
    pub(crate) position: u32,
}

/// What a viewer got under one sequence number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Counts from the first packet; lines are shorter than 2^32 packets.
    seq_no: u32,
    timestamp: u32,
    place: Place,
    numbers: Numbers,
    limit: Option<u8>,
    pt: Pt,
    marker: bool,
    is_empty: bool,
    repeats: u8,
}

impl Sent {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn pt(&self) -> Pt {
        self.pt
    }

    /// The numbering it had.
    pub(crate) fn egress(&self) -> Egress {
        Egress {
            seq_no: u64::from(self.seq_no).into(),
            timestamp: self.timestamp,
            marker: self.marker,
            numbers: self.numbers,
            limit: self.limit,
            is_empty: self.is_empty,
        }
    }
}

/// The last packets of a line.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// By the low bits of the sequence number; none before the first packet.
    sent: Box<[Option<Sent>]>,
    highest: u32,
}

impl History {
    /// Remembers a packet.
    pub(crate) fn push(&mut self, egress: &Egress, pt: Pt, place: Place) {
        if self.sent.is_empty() {
            self.sent = vec![None; SENT_MAX].into_boxed_slice();
        }
        let seq_no = *egress.seq_no as u32;
        self.highest = self.highest.max(seq_no);
        self.sent[seq_no as usize % SENT_MAX] = Some(Sent {
            seq_no,
            timestamp: egress.timestamp,
            place,
            numbers: egress.numbers,
            limit: egress.limit,
            pt,
            marker: egress.marker,
            is_empty: egress.is_empty,
            repeats: 0,
        });
    }

    /// The packet that a NACK means, unless it was repeated often enough.
    pub(crate) fn repeat(&mut self, seq_no: u16) -> Option<Sent> {
        let behind = (self.highest as u16).wrapping_sub(seq_no);
        let seq_no = self.highest.checked_sub(behind.into())?;
        let sent = self.sent.get_mut(seq_no as usize % SENT_MAX)?.as_mut()?;
        if sent.seq_no != seq_no || sent.repeats == REPEATS_MAX {
            return None;
        }
        sent.repeats += 1;
        Some(*sent)
    }

    /// All that is remembered, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Sent> {
        let (sent, highest) = (&self.sent, self.highest);
        (0..sent.len() as u32).rev().filter_map(move |behind| {
            let seq_no = highest.checked_sub(behind)?;
            let sent = sent[seq_no as usize % SENT_MAX]?;
            (sent.seq_no == seq_no).then_some(sent)
        })
    }
}

/// How many bytes may be sent again.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: REPEAT_BURST_BYTES,
        }
    }
}

impl Budget {
    /// So much was sent for the first time.
    pub(crate) fn earn(&mut self, bytes: usize) {
        let earned = bytes as u32 / REPEAT_PART;
        self.bytes = (self.bytes + earned).min(REPEAT_BURST_BYTES);
    }

    /// Takes what a repeat costs; false when there is not enough.
    pub(crate) fn spend(&mut self, bytes: usize) -> bool {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.bytes.checked_sub(bytes));
        if let Some(left) = left {
            self.bytes = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(seq_no: u64) -> Egress {
        Egress {
            seq_no: seq_no.into(),
            timestamp: seq_no as u32 * 3,
            marker: false,
            numbers: Numbers::default(),
            limit: None,
            is_empty: false,
        }
    }

    fn place(position: u32) -> Place {
        Place {
            track: 1,
            slot: 0,
            position,
        }
    }

    fn history(seq_nos: impl Iterator<Item = u64>) -> History {
        let mut history = History::default();
        for seq_no in seq_nos {
            history.push(&egress(seq_no), Pt::from(96), place(seq_no as u32 + 7));
        }
        history
    }

    #[test]
    fn a_nack_finds_what_was_sent_under_its_number_over_the_wrap() {
        let mut history = history(65_000..65_700);
        for seq_no in [65_699u64, 65_536, 65_535, 65_188] {
            let sent = history.repeat(seq_no as u16).expect("is remembered");
            assert_eq!(sent.place(), place(seq_no as u32 + 7));
            assert_eq!(*sent.egress().seq_no, seq_no);
            assert_eq!(sent.egress().timestamp, seq_no as u32 * 3);
        }
        assert!(history.repeat(65_187).is_none(), "too old");
        assert!(history.repeat(65_700u64 as u16).is_none(), "not sent yet");
    }

    #[test]
    fn what_was_left_out_is_not_found() {
        let mut history = history((100..200).filter(|seq_no| seq_no % 2 == 0));
        assert!(history.repeat(150).is_some());
        assert!(history.repeat(151).is_none());
        assert!(History::default().repeat(0).is_none());
    }

    #[test]
    fn a_packet_is_repeated_only_so_often() {
        let mut history = history(1..9);
        let repeats = std::iter::from_fn(|| history.repeat(5)).count();
        assert_eq!(repeats, usize::from(REPEATS_MAX));
        assert!(history.repeat(6).is_some());
    }

    #[test]
    fn what_is_remembered_comes_in_order() {
        let order = [5, 3, 4, 9, 600];
        let history = history(order.into_iter());
        let found: Vec<u64> = history.iter().map(|sent| *sent.egress().seq_no).collect();
        assert_eq!(found, [600], "the others are too far behind");
        let history = self::history([5, 3, 4, 9].into_iter());
        let found: Vec<u64> = history.iter().map(|sent| *sent.egress().seq_no).collect();
        assert_eq!(found, [3, 4, 5, 9]);
    }

    #[test]
    fn repeats_are_a_part_of_what_is_sent() {
        let mut budget = Budget::default();
        let at_once = std::iter::repeat_with(|| budget.spend(1_024)).take_while(|is_paid| *is_paid);
        assert_eq!(at_once.count(), 128);
        for _ in 0..100 {
            budget.earn(1_000);
        }
        assert!(budget.spend(25_000));
        assert!(!budget.spend(1));
    }
}
