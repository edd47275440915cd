//! Random sources, losses, reorders, duplicates and switches through the rewriter: what must hold for any of them.

#![allow(
    clippy::disallowed_methods,
    reason = "one instant is the base of simulated time"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use redred_sfu::event::{Codec, Kind};
use redred_sfu::forward::codec::{self, Meta, Numbering};
use redred_sfu::forward::packet::{Packet, SourceId};
use redred_sfu::forward::rewrite::Rewriter;
use str0m::rtp::ExtensionValues;

/// What one source does before the next takes over.
#[derive(Debug, Clone)]
struct Script {
    first_seq_no: u64,
    first_timestamp: u32,
    /// Milliseconds that pass before its first packet.
    pause_ms: u64,
    packets: Vec<Step>,
    /// Goes on under the source before the last one, as when a viewer changes its mind.
    returns: bool,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// Numbers left out before this packet.
    lost: u64,
    /// Places by which it arrives late.
    late: usize,
    is_duplicated: bool,
    starts_frame: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (
        prop_oneof![9 => Just(0u64), 1 => 1u64..40],
        prop_oneof![8 => Just(0usize), 2 => 1usize..6],
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.4),
    )
        .prop_map(|(lost, late, is_duplicated, starts_frame)| Step {
            lost,
            late,
            is_duplicated,
            starts_frame,
        })
}

fn script() -> impl Strategy<Value = Script> {
    (
        prop_oneof![0u64..70_000, 65_500u64..65_540],
        any::<u32>(),
        prop_oneof![Just(0u64), 0u64..200, 0u64..100_000],
        prop::collection::vec(step(), 1..60),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(first_seq_no, first_timestamp, pause_ms, packets, returns)| Script {
                first_seq_no,
                first_timestamp,
                pause_ms,
                packets,
                returns,
            },
        )
}

/// Lays a script out as packets in order of arrival.
fn arrivals(script: &Script, source: SourceId, seq_no: u64, start: Instant) -> Vec<Packet> {
    let mut seq_no = seq_no;
    let mut timestamp = script.first_timestamp;
    let mut frames = 0;
    let mut packets: Vec<(usize, Packet)> = Vec::new();
    for (place, step) in script.packets.iter().enumerate() {
        seq_no += 1 + step.lost;
        if step.starts_frame {
            timestamp = timestamp.wrapping_add(3_000);
            frames += 1;
        }
        let packet = Packet {
            kind: Kind::Video,
            codec: Codec::H264,
            source,
            slot: 0,
            seq_no: seq_no.into(),
            timestamp,
            marker: false,
            payload: Arc::from([0u8; 2]),
            extensions: ExtensionValues::default(),
            arrived: start + Duration::from_millis(33 * frames),
            captured: start + Duration::from_millis(33 * frames),
            meta: Meta::default(),
        };
        if step.is_duplicated {
            packets.push((place + step.late + 1, packet.clone()));
        }
        packets.push((place + step.late, packet));
    }
    packets.sort_by_key(|(place, _)| *place);
    packets.into_iter().map(|(_, packet)| packet).collect()
}

fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_comes_out_as_one(
        scripts in prop::collection::vec(script(), 1..6),
        seed in any::<u64>(),
    ) {
        let mut rewriter = Rewriter::new(Kind::Video, seed);
        let mut now = Instant::now();
        let mut given: HashSet<u64> = HashSet::new();
        let mut highest: Option<u64> = None;
        let mut newest_timestamp: Option<u32> = None;
        let mut sources = 0u64;
        let mut ends: Vec<(SourceId, u64)> = Vec::new();

        for script in &scripts {
            now += Duration::from_millis(script.pause_ms);
            // A source that comes back goes on with its own numbers.
            let back = ends.len().checked_sub(2).filter(|_| script.returns);
            let (source, seq_no) = match back {
                Some(index) => ends[index],
                None => {
                    sources += 1;
                    (SourceId(sources), script.first_seq_no)
                }
            };
            let packets = arrivals(script, source, seq_no, now);
            let highest_before = highest;
            let timestamp_before = newest_timestamp;
            let mut distance: Option<(i128, u32)> = None;
            let mut seen: HashSet<u64> = HashSet::new();
            for packet in &packets {
                now = now.max(packet.arrived);
                let ingress = *packet.seq_no;
                let Some(egress) = rewriter.rewrite(packet) else {
                    let first = *packets[0].seq_no;
                    prop_assert!(
                        seen.contains(&ingress) || ingress < first,
                        "refused a packet that is neither a duplicate nor before the switch"
                    );
                    continue;
                };
                let seq_no = *egress.seq_no;
                prop_assert!(given.insert(seq_no), "{seq_no} was given out twice");
                prop_assert!(seen.insert(ingress), "a duplicate passed");

                let this = (i128::from(seq_no) - i128::from(ingress), egress.timestamp.wrapping_sub(packet.timestamp));
                match distance {
                    // Order and gaps within a source are those of the publisher.
                    Some(first) => prop_assert_eq!(first, this),
                    None => {
                        distance = Some(this);
                        match highest_before {
                            None => prop_assert!(seq_no < 1 << 15, "starts at {seq_no}"),
                            Some(before) => prop_assert_eq!(seq_no, before + 1),
                        }
                        if let Some(before) = timestamp_before {
                            prop_assert!(is_after(egress.timestamp, before), "time stood still");
                        }
                    }
                }
                if let Some(before) = highest_before {
                    prop_assert!(seq_no > before, "went back behind the switch");
                }
                highest = highest.max(Some(seq_no));
                newest_timestamp = match newest_timestamp {
                    Some(newest) if !is_after(egress.timestamp, newest) => Some(newest),
                    _ => Some(egress.timestamp),
                };
            }
            let last = packets.iter().map(|packet| *packet.seq_no).max();
            ends.push((source, last.unwrap_or(seq_no)));
        }
    }

    #[test]
    fn hostile_numbers_give_no_number_twice_and_no_leap(
        packets in prop::collection::vec((0u64..3, any::<u64>(), any::<u32>()), 1..200),
        seed in any::<u64>(),
    ) {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(Kind::Video, seed);
        let mut given = HashSet::new();
        let mut highest: Option<u64> = None;
        for (source, seq_no, timestamp) in packets {
            let packet = Packet {
                kind: Kind::Video,
                codec: Codec::Vp8,
                source: SourceId(source),
                slot: 0,
                // str0m extends 16 bits; 48 of rollover are beyond any real session.
                seq_no: (seq_no >> 1).into(),
                timestamp,
                marker: false,
                payload: Arc::from([0u8; 2]),
                extensions: ExtensionValues::default(),
                arrived: start,
                captured: start,
                meta: Meta::default(),
            };
            if let Some(egress) = rewriter.rewrite(&packet) {
                let seq_no = *egress.seq_no;
                prop_assert!(given.insert(seq_no));
                if let Some(highest) = highest {
                    prop_assert!(seq_no <= highest + (1 << 14), "leapt from {highest} to {seq_no}");
                }
                highest = highest.max(Some(seq_no));
            }
        }
    }

    #[test]
    fn vp9_pictures_are_numbered_on_over_every_switch(
        runs in prop::collection::vec((0u16..0x8000, any::<u8>(), 1u16..40), 1..8),
    ) {
        let start = Instant::now();
        let mut rewriter = Rewriter::new(Kind::Video, 7);
        let mut last: Option<(u16, u8)> = None;
        for (source, (first_id, first_index, count)) in runs.into_iter().enumerate() {
            for picture in 0..count {
                let [high, low] = ((first_id + picture) & 0x7fff | 0x8000).to_be_bytes();
                let index = first_index.wrapping_add(picture as u8);
                let payload = [0xa8, high, low, 0, index, 0xff];
                let packet = Packet {
                    kind: Kind::Video,
                    codec: Codec::Vp9,
                    source: SourceId(source as u64),
                    slot: 0,
                    seq_no: u64::from(picture).into(),
                    timestamp: u32::from(picture) * 3_000,
                    marker: true,
                    payload: Arc::from(payload),
                    extensions: ExtensionValues::default(),
                    arrived: start,
                    captured: start,
                    meta: codec::inspect(Codec::Vp9, &payload, None),
                };
                let egress = rewriter.rewrite(&packet).expect("in order");
                let mut payload = Vec::new();
                egress.write_payload(&packet, &mut payload);
                let Numbering::Vp9(descriptor) =
                    codec::inspect(Codec::Vp9, &payload, None).numbering
                else {
                    panic!("the descriptor is lost");
                };
                let numbers = (
                    descriptor.picture_id().expect("has one"),
                    descriptor.tl0_pic_idx().expect("has one"),
                );
                if let Some((id, index)) = last {
                    prop_assert_eq!(numbers, ((id + 1) & 0x7fff, index.wrapping_add(1)));
                }
                last = Some(numbers);
            }
        }
    }
}
