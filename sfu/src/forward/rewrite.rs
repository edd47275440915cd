//! Hot path. One numbering towards a viewer, whatever changes behind it.
//!
//! A viewer's m-line keeps its SSRC for the life of the session while the source behind it changes: another simulcast
//! layer, a publisher that came back, another codec. The [`Rewriter`] of the subscription gives each packet an egress
//! sequence number and timestamp such that the viewer sees one RTP stream.
//!
//! ```text
//! ingress A   10  11  12  14         (13 lost, A later sends 15: dropped after the switch)
//! ingress B                  70  71  73
//! egress      500 501 502 504 505 506 508
//! ```
//!
//! Within a source the distance between ingress and egress stays the same, so a packet that was lost or comes late keeps
//! its place and the viewer's NACKs mean what they say. At a switch the numbers go on without a gap: a gap there
//! would be asked for and never filled.
//!
//! A packet that is left out on purpose (a spatial layer above the viewer's) is closed up behind:
//!
//! ```text
//! ingress     20  21  22  23  24     (21 and 22 are skipped, 23 is late)
//! egress      30          31  32
//! ```
//!
//! One that comes too late for that, its place being taken up by others, is replaced by an empty packet: receivers take
//! that for padding.

use std::time::Instant;

use str0m::rtp::SeqNo;

use super::codec::{Numbering, Numbers};
use super::dependency;
use super::packet::{Egress, Packet, SourceId};
use crate::event::Kind;

/// Sequence numbers behind the highest that may still be filled. A repair takes one or two round trips; at 8 Mbit/s
/// this is more than half a second. Larger costs memory per subscription, smaller throws repaired packets away.
const WINDOW: u64 = 512;
const WINDOW_WORDS: usize = WINDOW as usize / 64;

/// A jump beyond this is no loss to be repaired, and twice this would confuse the viewer's rollover counter, which
/// RFC 3711 section 3.3.1 guesses within half the number space.
const JUMP_MAX: u64 = 1 << 14;

/// Half of the 16-bit numbers: a first number below leaves the viewer's rollover counter unambiguous even when its
/// first packets are lost (RFC 3711 section 3.3.1).
const START_MAX: u64 = 1 << 15;

/// The longest pause that the egress timestamp follows; half the timestamp space at 90 kHz is 6.6 hours.
const PAUSE_SECONDS_MAX: f64 = 3_600.0;

/// Numbers the packets of one subscription.
#[derive(Debug)]
pub struct Rewriter {
    clock: Clock,
    /// The number after the highest one given out.
    next: u64,
    run: Option<Run>,
    /// The newest timestamp given out, and when the packet it was first given to arrived.
    newest: Option<(u32, Instant)>,
    /// Ticks that switches put the timestamps ahead of the time that passed.
    ahead: u32,
    pictures: Pictures,
}

/// What is constant while one source is forwarded.
#[derive(Debug)]
struct Run {
    source: SourceId,
    /// Ingress number of its first packet here, and the egress number that it got.
    first_ingress: u64,
    first_egress: u64,
    highest_ingress: u64,
    seen: Window,
    /// Those that were left out, all of them and those that are still in the window.
    skipped: u64,
    skipped_lately: Window,
    timestamp_offset: u32,
}

/// RTP clock of a kind of media.
#[derive(Clone, Copy, Debug)]
struct Clock {
    rate: f64,
    /// The least that the timestamp advances at a switch.
    step: u32,
}

impl Rewriter {
    /// A rewriter whose first sequence number is drawn from `seed`: between 1 and 32 767.
    pub fn new(kind: Kind, seed: u64) -> Self {
        let clock = match kind {
            // One Opus frame of 20 ms.
            Kind::Audio => Clock {
                rate: 48_000.0,
                step: 960,
            },
            // 10 ms: two layers of one camera deliver the same instant at nearly the same time, and a longer step
            // would show in the rhythm of the pictures.
            Kind::Video => Clock {
                rate: 90_000.0,
                step: 900,
            },
        };
        Self {
            clock,
            next: 1 + seed % (START_MAX - 1),
            run: None,
            newest: None,
            ahead: 0,
            pictures: Pictures::default(),
        }
    }

    /// Numbers a packet, or tells that it may not pass: it is a duplicate, too old, or precedes the switch.
    ///
    /// A packet of another source than the last one's is the switch; whether it may be is decided in
    /// [`super::select`].
    pub fn rewrite(&mut self, packet: &Packet) -> Option<Egress> {
        let seq_no = match &mut self.run {
            Some(run) if run.source == packet.source => match run.place(*packet.seq_no) {
                // Losses among what is skipped may add up to more than one jump.
                Place::Taken(seq_no) if seq_no <= self.next + JUMP_MAX => seq_no,
                Place::Refused => return None,
                Place::Taken(_) | Place::Jumped => {
                    // Leaves one number out, so that the viewer knows that something is missing.
                    self.next += 1;
                    let timestamp_offset = run.timestamp_offset;
                    self.begin(packet, timestamp_offset)
                }
            },
            _ => {
                let offset = self
                    .timestamp_after_switch(packet)
                    .wrapping_sub(packet.timestamp);
                self.pictures.switch();
                self.begin(packet, offset)
            }
        };
        let run = self.run.as_ref()?;
        let timestamp = packet.timestamp.wrapping_add(run.timestamp_offset);
        let is_newest = seq_no >= self.next;
        if is_newest {
            self.next = seq_no + 1;
        }
        match self.newest {
            Some((newest, _)) if !is_after(timestamp, newest) => {}
            _ => self.newest = Some((timestamp, packet.arrived)),
        }

        Some(Egress {
            seq_no: seq_no.into(),
            timestamp,
            marker: packet.marker,
            numbers: self.pictures.number(packet, is_newest),
            limit: None,
            is_empty: false,
        })
    }

    /// Leaves a packet of the source that is being forwarded out. Gives the empty packet that takes its place when packets
    /// behind it have their numbers already.
    pub fn skip(&mut self, packet: &Packet) -> Option<Egress> {
        let run = self.run.as_mut()?;
        if run.source != packet.source {
            return None;
        }
        let ingress = *packet.seq_no;
        // A jump is left to the next packet that passes.
        if ingress > run.highest_ingress + JUMP_MAX {
            return None;
        }
        let is_newest = ingress > run.highest_ingress;
        let Place::Taken(seq_no) = run.place(ingress) else {
            return None;
        };
        if is_newest || seq_no >= self.next {
            run.leave_out(ingress);
            return None;
        }
        Some(Egress {
            seq_no: seq_no.into(),
            timestamp: packet.timestamp.wrapping_add(run.timestamp_offset),
            marker: false,
            numbers: Numbers::default(),
            limit: None,
            is_empty: true,
        })
    }

    /// The sequence number that the next packet after a switch gets.
    pub fn next_seq_no(&self) -> SeqNo {
        self.next.into()
    }

    fn begin(&mut self, packet: &Packet, timestamp_offset: u32) -> u64 {
        let ingress = *packet.seq_no;
        let mut seen = Window::default();
        seen.insert(0);
        self.run = Some(Run {
            source: packet.source,
            first_ingress: ingress,
            first_egress: self.next,
            highest_ingress: ingress,
            seen,
            skipped: 0,
            skipped_lately: Window::default(),
            timestamp_offset,
        });
        self.next
    }

    /// Time goes on by what passed between the arrivals, and by one step at least. What a step adds, a later switch
    /// takes back, so that the picture does not drift away from the sound.
    fn timestamp_after_switch(&mut self, packet: &Packet) -> u32 {
        let Some((newest, arrived)) = self.newest else {
            return packet.timestamp;
        };
        let elapsed = packet.arrived.saturating_duration_since(arrived);
        let ticks = elapsed.as_secs_f64().min(PAUSE_SECONDS_MAX) * self.clock.rate;
        let ticks = ticks as u32;
        let advance = ticks.saturating_sub(self.ahead).max(self.clock.step);
        self.ahead = (self.ahead + advance).saturating_sub(ticks);
        newest.wrapping_add(advance)
    }
}

enum Place {
    Taken(u64),
    Refused,
    Jumped,
}

impl Run {
    fn place(&mut self, ingress: u64) -> Place {
        if ingress < self.first_ingress {
            return Place::Refused;
        }
        if ingress > self.highest_ingress {
            let ahead = ingress - self.highest_ingress;
            if ahead > JUMP_MAX {
                return Place::Jumped;
            }
            self.seen.advance(ahead);
            self.skipped_lately.advance(ahead);
            self.highest_ingress = ingress;
        }
        let behind = self.highest_ingress - ingress;
        if !self.seen.insert(behind) {
            return Place::Refused;
        }
        let skipped_before = self.skipped - self.skipped_lately.count_newer(behind);
        Place::Taken(self.first_egress + (ingress - self.first_ingress) - skipped_before)
    }

    fn leave_out(&mut self, ingress: u64) {
        self.skipped_lately.insert(self.highest_ingress - ingress);
        self.skipped += 1;
    }
}

/// The last [`WINDOW`] ingress numbers: bit 0 of word 0 is the highest.
#[derive(Debug, Default)]
struct Window([u64; WINDOW_WORDS]);

impl Window {
    /// Marks the number `behind` the highest. False when it was marked before, or is too far behind to know.
    fn insert(&mut self, behind: u64) -> bool {
        if behind >= WINDOW {
            return false;
        }
        let word = &mut self.0[(behind / 64) as usize];
        let bit = 1u64 << (behind % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// How many numbers are marked that are less far behind the highest.
    fn count_newer(&self, behind: u64) -> u64 {
        let (words, bits) = ((behind / 64) as usize, behind % 64);
        let whole: u32 = self
            .0
            .iter()
            .take(words)
            .map(|word| word.count_ones())
            .sum();
        let part = self.0.get(words).map_or(0, |word| word & ((1 << bits) - 1));
        u64::from(whole + part.count_ones())
    }

    /// Makes the number `by` above the highest the highest.
    fn advance(&mut self, by: u64) {
        let (words, bits) = ((by / 64) as usize, (by % 64) as u32);
        for index in (0..WINDOW_WORDS).rev() {
            let high = index.checked_sub(words).map_or(0, |from| self.0[from]);
            let low = index.checked_sub(words + 1).map_or(0, |from| self.0[from]);
            self.0[index] = match bits {
                0 => high,
                _ => high << bits | low >> (64 - bits),
            };
        }
    }
}

/// Picture numbers of the codec: the distance between ingress and egress, and the last that went out.
///
/// Receivers order frames by them and take a step back for a frame they had already. A decoder that starts anew at a
/// keyframe usually forgives a jump, but Chromium keeps what it knows of the last pictures by TL0PICIDX, and two layers
/// of one camera number nearly alike.
#[derive(Debug, Default)]
struct Pictures {
    picture_id: Counter,
    tl0_pic_idx: Counter,
    key_idx: Counter,
    frame_number: Counter,
}

/// One such number, wrapping at its own width, which the mask says.
#[derive(Debug, Default)]
struct Counter {
    offset: u16,
    last: Option<u16>,
    is_switching: bool,
}

impl Pictures {
    fn switch(&mut self) {
        for counter in [
            &mut self.picture_id,
            &mut self.tl0_pic_idx,
            &mut self.key_idx,
            &mut self.frame_number,
        ] {
            counter.is_switching = counter.last.is_some();
        }
    }

    fn number(&mut self, packet: &Packet, is_newest: bool) -> Numbers {
        let (picture_id, tl0_pic_idx, key_idx) = match &packet.meta.numbering {
            Numbering::Absent => (None, None, None),
            Numbering::Vp8(vp8) => (vp8.picture_id(), vp8.tl0_pic_idx(), vp8.key_idx()),
            Numbering::Vp9(vp9) => (vp9.picture_id(), vp9.tl0_pic_idx(), None),
        };
        let mut numbers = Numbers::default();
        if let Some(id) = picture_id {
            numbers.picture_id = self.picture_id.next(id, 0x7fff, is_newest);
        }
        if let Some(index) = tl0_pic_idx {
            numbers.tl0_pic_idx = self.tl0_pic_idx.next(index.into(), 0xff, is_newest) as u8;
        }
        if let Some(index) = key_idx {
            numbers.key_idx = self.key_idx.next(index.into(), 0x1f, is_newest) as u8;
        }
        let values = &packet.extensions.user_values;
        if let Some(descriptor) = values.get::<dependency::Descriptor>() {
            let number = descriptor.frame_number();
            numbers.frame_number = self.frame_number.next(number, 0xffff, is_newest);
        }
        numbers
    }
}

impl Counter {
    fn next(&mut self, ingress: u16, mask: u16, is_newest: bool) -> u16 {
        if self.is_switching {
            self.is_switching = false;
            if let Some(last) = self.last {
                self.offset = last.wrapping_add(1).wrapping_sub(ingress);
            }
        }
        let egress = ingress.wrapping_add(self.offset) & mask;
        if is_newest {
            self.last = Some(egress);
        }
        egress
    }
}

/// Whether `a` is newer than `b`, timestamps wrapping.
fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

#[cfg(test)]
mod tests;
