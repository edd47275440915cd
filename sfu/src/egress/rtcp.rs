//! Hot path. RTCP with a viewer: what it says is read once, and what it is told is written (RFC 3550 section 6, RFC 4585,
//! RFC 5104).
//!
//! ```text
//! +---+-+---------+---------------+-------------------------------+
//! | 2 |P|  count  |     type      |  words that follow the first  |
//! +---+-+---------+---------------+-------------------------------+
//! |                        SSRC of sender                         |
//! +---------------------------------------------------------------+
//! ```
//!
//! Reading takes any bytes: what does not add up ends the packet, and what stands before it counts.

use std::time::Instant;

use str0m::rtp::Ssrc;

use super::header::ntp;
use crate::config::WallClock;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

const GENERIC_NACK: u8 = 1;
const PLI: u8 = 1;
const FIR: u8 = 4;

const HEADER_BYTES: usize = 4;
const SSRC_BYTES: usize = 4;
const SENDER_INFO_BYTES: usize = 20;
const REPORT_BYTES: usize = 24;
const CNAME: u8 = 1;

/// Packets of one compound that are read. Browsers send up to four.
const PACKETS_MAX: usize = 16;

/// NACK entries of one compound that are read, each for 17 packets: more than a line remembers.
const NACKS_MAX: usize = 64;

/// What a viewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// It has received packets of this SSRC.
    Known(Ssrc),
    /// It needs a keyframe.
    Keyframe(Ssrc),
    /// It lacks a packet, and those behind it whose bits are set.
    Nack(Ssrc, Nack),
}

/// A packet that is lacking, and which of the 16 behind it are (RFC 4585 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nack {
    pub(crate) first: u16,
    pub(crate) others: u16,
}

impl Nack {
    /// How many packets are lacking.
    pub(crate) fn count(self) -> u32 {
        1 + self.others.count_ones()
    }

    /// The sequence numbers.
    pub(crate) fn seq_nos(self) -> impl Iterator<Item = u16> {
        let others = (0..16u16).filter(move |bit| self.others >> bit & 1 != 0);
        let others = others.map(move |bit| self.first.wrapping_add(bit + 1));
        std::iter::once(self.first).chain(others)
    }
}

/// Whether a packet of the range that RTP and RTCP share is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    datagram
        .get(1)
        .is_some_and(|second| (192..=223).contains(second))
}

/// Reads a compound packet.
pub(crate) fn read(mut compound: &[u8], mut handle: impl FnMut(Feedback)) {
    let mut nacks = 0;
    for _ in 0..PACKETS_MAX {
        let Some(&[first, kind, words @ ..]) = compound.first_chunk::<HEADER_BYTES>() else {
            return;
        };
        let bytes = HEADER_BYTES + usize::from(u16::from_be_bytes(words)) * 4;
        let Some((packet, rest)) = compound.split_at_checked(bytes) else {
            return;
        };
        if first >> 6 != 2 {
            return;
        }
        compound = rest;
        let (count, body) = (first & 0x1f, &packet[HEADER_BYTES..]);
        match (kind, count) {
            (SENDER_REPORT, _) => {
                read_reports(
                    body.get(SSRC_BYTES + SENDER_INFO_BYTES..),
                    count,
                    &mut handle,
                );
            }
            (RECEIVER_REPORT, _) => read_reports(body.get(SSRC_BYTES..), count, &mut handle),
            (TRANSPORT_FEEDBACK, GENERIC_NACK) => {
                let (Some(media), Some(entries)) = (ssrc(body, 1), body.get(2 * SSRC_BYTES..))
                else {
                    continue;
                };
                for entry in entries.as_chunks::<4>().0 {
                    if nacks == NACKS_MAX {
                        break;
                    }
                    nacks += 1;
                    let [first, others] = [[entry[0], entry[1]], [entry[2], entry[3]]];
                    let nack = Nack {
                        first: u16::from_be_bytes(first),
                        others: u16::from_be_bytes(others),
                    };
                    handle(Feedback::Nack(media, nack));
                }
            }
            (PAYLOAD_FEEDBACK, PLI) => {
                if let Some(media) = ssrc(body, 1) {
                    handle(Feedback::Keyframe(media));
                }
            }
            // The entry tells whom it is for (RFC 5104 section 4.3.1.1); one is what receivers send.
            (PAYLOAD_FEEDBACK, FIR) => {
                if let Some(media) = ssrc(body, 2) {
                    handle(Feedback::Keyframe(media));
                }
            }
            _ => {}
        }
    }
}

fn read_reports(reports: Option<&[u8]>, count: u8, handle: &mut impl FnMut(Feedback)) {
    let reports = reports.unwrap_or_default().chunks_exact(REPORT_BYTES);
    for report in reports.take(count.into()) {
        if let Some(ssrc) = ssrc(report, 0) {
            handle(Feedback::Known(ssrc));
        }
    }
}

/// The SSRC at a place counted in words.
fn ssrc(body: &[u8], word: usize) -> Option<Ssrc> {
    let bytes = body.get(word * 4..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes).into())
}

/// What a sender report says of one SSRC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    pub(super) ssrc: Ssrc,
    pub(super) cname: &'a str,
    /// An RTP timestamp, when it was captured, and the rate of its clock.
    pub(super) newest: (u32, Instant),
    pub(super) clock_rate: u32,
    pub(super) packets: u32,
    pub(super) bytes: u32,
}

/// Appends a compound packet that reports on some SSRCs and names them.
pub(super) fn write_reports<'a>(
    buffer: &mut Vec<u8>,
    now: Instant,
    wall: WallClock,
    reports: impl Iterator<Item = Report<'a>> + Clone,
) {
    for report in reports.clone() {
        let (timestamp, captured) = report.newest;
        let passed = now.saturating_duration_since(captured).as_micros() as u64;
        let ticks = passed * u64::from(report.clock_rate) / 1_000_000;
        write_header(buffer, 0, SENDER_REPORT, 6);
        buffer.extend_from_slice(&report.ssrc.to_be_bytes());
        buffer.extend_from_slice(&ntp(wall.time_of(now)).to_be_bytes());
        buffer.extend_from_slice(&timestamp.wrapping_add(ticks as u32).to_be_bytes());
        buffer.extend_from_slice(&report.packets.to_be_bytes());
        buffer.extend_from_slice(&report.bytes.to_be_bytes());
    }
    let start = buffer.len();
    let count = reports.clone().count() as u8;
    write_header(buffer, count, SOURCE_DESCRIPTION, 0);
    for report in reports {
        let cname = report.cname.as_bytes();
        let cname = &cname[..cname.len().min(u8::MAX.into())];
        buffer.extend_from_slice(&report.ssrc.to_be_bytes());
        buffer.extend_from_slice(&[CNAME, cname.len() as u8]);
        buffer.extend_from_slice(cname);
        // An item of type zero ends the list, and zeros fill the word (RFC 3550 section 6.5).
        buffer.push(0);
        while !(buffer.len() - start).is_multiple_of(4) {
            buffer.push(0);
        }
    }
    let words = ((buffer.len() - start) / 4 - 1) as u16;
    buffer[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

/// Appends the end of some SSRCs.
pub(super) fn write_goodbye(buffer: &mut Vec<u8>, ssrcs: impl Iterator<Item = Ssrc> + Clone) {
    let count = ssrcs.clone().count() as u8;
    write_header(buffer, count, GOODBYE, count.into());
    for ssrc in ssrcs {
        buffer.extend_from_slice(&ssrc.to_be_bytes());
    }
}

fn write_header(buffer: &mut Vec<u8>, count: u8, kind: u8, words: u16) {
    buffer.extend_from_slice(&[2 << 6 | count & 0x1f, kind]);
    buffer.extend_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    fn feedback(compound: &[u8]) -> Vec<Feedback> {
        let mut all = Vec::new();
        read(compound, |feedback| all.push(feedback));
        all
    }

    /// A report on SSRC 0x0a0b0c0d, a NACK, a PLI and a FIR of the same, as a browser sends them.
    fn compound() -> Vec<u8> {
        let media = [0x0a, 0x0b, 0x0c, 0x0d];
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
        bytes.extend(media);
        bytes.extend([0; 20]);
        bytes.extend([0x81, 205, 0, 4, 0, 0, 0, 1]);
        bytes.extend(media);
        bytes.extend([0xff, 0xfe, 0x80, 0x03, 0x00, 0x10, 0, 0]);
        bytes.extend([0x81, 206, 0, 2, 0, 0, 0, 1]);
        bytes.extend(media);
        bytes.extend([0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0]);
        bytes.extend(media);
        bytes.extend([7, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_compound_is_read_to_its_end() {
        let media = Ssrc::from(0x0a0b_0c0d);
        let nack = |first, others| Feedback::Nack(media, Nack { first, others });
        let expected = [
            Feedback::Known(media),
            nack(0xfffe, 0x8003),
            nack(0x10, 0),
            Feedback::Keyframe(media),
            Feedback::Keyframe(media),
        ];
        assert_eq!(feedback(&compound()), expected);
    }

    #[test]
    fn a_nack_counts_on_over_the_wrap() {
        let nack = Nack {
            first: 0xfffe,
            others: 0x8003,
        };
        let seq_nos: Vec<u16> = nack.seq_nos().collect();
        assert_eq!(seq_nos, [0xfffe, 0xffff, 0, 14]);
    }

    #[test]
    fn what_stands_before_a_cut_counts() {
        let whole = compound();
        for end in 0..whole.len() {
            let read = feedback(&whole[..end]);
            assert_eq!(read, feedback(&whole)[..read.len()], "cut at {end}");
        }
    }

    #[test]
    fn a_storm_of_nacks_is_cut_short() {
        let mut bytes = vec![0x81, 205, 1, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        bytes.resize(4 + 4 * 256, 0);
        assert_eq!(feedback(&bytes).len(), NACKS_MAX);
    }

    #[test]
    fn reports_names_and_goodbyes_are_written_as_the_rfc_draws_them() {
        let now = Instant::now();
        let wall = WallClock {
            at: now,
            time: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        let report = |ssrc: u32, cname| Report {
            ssrc: ssrc.into(),
            cname,
            newest: (u32::MAX - 1_000, now),
            clock_rate: 90_000,
            packets: 3,
            bytes: 5_000,
        };
        let mut bytes = Vec::new();
        let later = now + Duration::from_millis(100);
        let both = [report(7, "abc"), report(8, "abcdef")];
        write_reports(&mut bytes, later, wall, both.into_iter());
        write_goodbye(&mut bytes, [7, 8].map(Ssrc::from).into_iter());
        // Two reports, their time and timestamp, the names, and the end.
        assert_eq!(bytes[..8], [0x80, 200, 0, 6, 0, 0, 0, 7]);
        let seconds = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        assert_eq!(seconds, (1_700_000_000u64 + 2_208_988_800) as u32);
        let timestamp = u32::from_be_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        assert_eq!(timestamp, 7_999, "100 ms later");
        let names = &bytes[56..];
        assert_eq!(names[..4], [0x82, 202, 0, 7]);
        assert_eq!(names[4..16], [0, 0, 0, 7, 1, 3, b'a', b'b', b'c', 0, 0, 0]);
        assert_eq!(names[16..26], [0, 0, 0, 8, 1, 6, b'a', b'b', b'c', b'd']);
        let end = &names[32..];
        assert_eq!(end, [0x82, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            feedback(&bytes);
            for at in (0..bytes.len()).step_by(8) {
                bytes[at] = 0x81;
            }
            prop_assert!(feedback(&bytes).len() <= 64 + 16 * 31);
        }
    }
}
