//! Single rules of the numbering; random streams are in `tests/rewrite.rs`.

use std::sync::Arc;
use std::time::Duration;

use str0m::rtp::ExtensionValues;

use super::*;
use crate::event::Codec;
use crate::forward::codec;

fn packet(start: Instant, source: u64, seq_no: u64, timestamp: u32, ms: u64) -> Packet {
    Packet {
        kind: Kind::Video,
        codec: Codec::H264,
        source: SourceId(source),
        slot: 0,
        seq_no: seq_no.into(),
        timestamp,
        marker: false,
        payload: Arc::from([0u8; 4]),
        extensions: ExtensionValues::default(),
        arrived: start + Duration::from_millis(ms),
        captured: start + Duration::from_millis(ms),
        meta: Default::default(),
    }
}

/// Gives a packet a VP9 payload with these numbers.
fn vp9(mut packet: Packet, picture_id: u16, tl0_pic_idx: u8) -> Packet {
    let [high, low] = (picture_id | 0x8000).to_be_bytes();
    let payload = [0xa8, high, low, 0x00, tl0_pic_idx, 0xff];
    packet.codec = Codec::Vp9;
    packet.meta = codec::inspect(Codec::Vp9, &payload, None);
    packet.payload = Arc::from(payload);
    packet
}

fn vp9_numbers(egress: &Egress) -> (u16, u8) {
    (egress.numbers.picture_id, egress.numbers.tl0_pic_idx)
}

fn dependent(mut packet: Packet, frame_number: u16) -> Packet {
    let [high, low] = frame_number.to_be_bytes();
    let descriptor = dependency::Descriptor::new(&[0xc0, high, low]).expect("long enough");
    packet.extensions.user_values.set(descriptor);
    packet
}

fn frame_number(egress: &Egress) -> u16 {
    egress.numbers.frame_number
}

#[test]
fn the_first_number_is_below_half_of_the_space_whatever_the_seed() {
    for seed in [0, 1, 32_766, 32_767, 65_535, u64::MAX] {
        let next = *Rewriter::new(Kind::Video, seed).next_seq_no();
        assert!((1..START_MAX).contains(&next), "seed {seed} gave {next}");
    }
}

#[test]
fn a_gap_stays_open_until_the_lost_packet_comes() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 99);
    let mut number = |seq_no| {
        let egress = rewriter.rewrite(&packet(start, 1, seq_no, 0, 0))?;
        Some(*egress.seq_no)
    };
    assert_eq!(number(70_000), Some(100));
    assert_eq!(number(70_002), Some(102));
    assert_eq!(number(70_001), Some(101));
    assert_eq!(number(70_001), None, "duplicate");
    assert_eq!(number(69_999), None, "before the start");
    assert_eq!(number(70_600), Some(700));
    assert_eq!(number(70_003), None, "behind the window");
    assert_eq!(number(70_100), Some(200), "inside the window");
}

#[test]
fn a_switch_goes_on_without_a_gap_and_in_time() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 99);
    rewriter.rewrite(&packet(start, 1, 10, 5_000, 0));
    let last = rewriter
        .rewrite(&packet(start, 1, 12, 8_000, 33))
        .expect("passes");
    let first = rewriter
        .rewrite(&packet(start, 2, 7, 900_000, 133))
        .expect("passes");
    assert_eq!(*first.seq_no, *last.seq_no + 1);
    assert_eq!(first.timestamp, last.timestamp + 9_000, "100 ms at 90 kHz");
    let next = rewriter
        .rewrite(&packet(start, 2, 8, 903_000, 166))
        .expect("passes");
    assert_eq!(next.timestamp, first.timestamp + 3_000);
}

#[test]
fn a_switch_at_the_same_instant_still_moves_time() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 1);
    let last = rewriter
        .rewrite(&packet(start, 1, 1, u32::MAX - 10, 0))
        .expect("passes");
    let first = rewriter
        .rewrite(&packet(start, 2, 1, 17, 0))
        .expect("passes");
    assert_eq!(first.timestamp.wrapping_sub(last.timestamp), 900);
}

#[test]
fn a_jump_within_a_source_stays_within_what_a_rollover_counter_follows() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 99);
    let last = rewriter
        .rewrite(&packet(start, 1, 10, 0, 0))
        .expect("passes");
    let far = rewriter
        .rewrite(&packet(start, 1, 40_000, 3_000, 33))
        .expect("passes");
    assert_eq!(*far.seq_no, *last.seq_no + 2);
    assert_eq!(far.timestamp, 3_000);
}

#[test]
fn vp9_picture_numbers_go_on_after_a_switch() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 1);
    let untouched = vp9(packet(start, 1, 1, 0, 0), 0x7fff, 255);
    let last = rewriter.rewrite(&untouched).expect("passes");
    assert_eq!(vp9_numbers(&last), (0x7fff, 255));
    let first = rewriter
        .rewrite(&vp9(packet(start, 2, 1, 0, 33), 500, 9))
        .expect("passes");
    assert_eq!(vp9_numbers(&first), (0, 0));
    let next = rewriter
        .rewrite(&vp9(packet(start, 2, 3, 0, 66), 502, 10))
        .expect("passes");
    assert_eq!(vp9_numbers(&next), (2, 1));
}

#[test]
fn vp8_picture_numbers_go_on_after_a_switch() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 1);
    let vp8 = |source, picture_id: u16, ms| {
        let [high, low] = (picture_id | 0x8000).to_be_bytes();
        let payload = [0x90, 0xe0, high, low, 5, 0x00, 0x10, 0, 0];
        let mut packet = packet(start, source, 1, 0, ms);
        packet.codec = Codec::Vp8;
        packet.meta = codec::inspect(Codec::Vp8, &payload, None);
        packet.payload = Arc::from(payload);
        packet
    };
    let first = rewriter.rewrite(&vp8(1, 100, 0)).expect("passes");
    assert_eq!(first.numbers.picture_id, 100);
    let switched = vp8(2, 7_000, 33);
    let egress = rewriter.rewrite(&switched).expect("passes");
    let mut payload = Vec::new();
    egress.write_payload(&switched, &mut payload);
    assert_eq!(payload[..5], [0x90, 0xe0, 0x80, 101, 6]);
    assert_eq!(payload[5..], switched.payload[5..]);
}

#[test]
fn frame_numbers_of_the_dependency_descriptor_go_on() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 1);
    let first = rewriter.rewrite(&dependent(packet(start, 1, 1, 0, 0), 65_535));
    assert_eq!(frame_number(&first.expect("passes")), 65_535);
    let switched = rewriter.rewrite(&dependent(packet(start, 2, 1, 0, 33), 30));
    assert_eq!(frame_number(&switched.expect("passes")), 0);
    let next = rewriter.rewrite(&dependent(packet(start, 2, 2, 0, 66), 32));
    assert_eq!(frame_number(&next.expect("passes")), 2);
}

#[test]
fn what_is_skipped_leaves_no_gap() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 0);
    let first = rewriter
        .rewrite(&packet(start, 1, 20, 0, 0))
        .expect("is new");
    let next = |rewriter: &mut Rewriter, seq_no| {
        let egress = rewriter.rewrite(&packet(start, 1, seq_no, 0, 0))?;
        Some(*egress.seq_no - *first.seq_no)
    };
    for seq_no in [21, 22] {
        assert!(rewriter.skip(&packet(start, 1, seq_no, 0, 0)).is_none());
    }
    assert_eq!(next(&mut rewriter, 24), Some(2), "23 may still come");
    assert_eq!(next(&mut rewriter, 23), Some(1));
    assert_eq!(next(&mut rewriter, 23), None, "came already");
    assert_eq!(next(&mut rewriter, 22), None, "was left out already");
    assert_eq!(next(&mut rewriter, 25), Some(3));
}

#[test]
fn a_late_packet_that_is_skipped_gets_an_empty_one_in_its_place_if_that_is_taken() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 0);
    let first = *rewriter
        .rewrite(&packet(start, 1, 20, 0, 0))
        .expect("is new")
        .seq_no;
    let forward = |rewriter: &mut Rewriter, seq_no| {
        let egress = rewriter
            .rewrite(&packet(start, 1, seq_no, 7, 0))
            .expect("is new");
        *egress.seq_no - first
    };
    // Nothing behind 21 has a number when it comes, 22 being skipped as well.
    assert!(rewriter.skip(&packet(start, 1, 22, 7, 0)).is_none());
    assert!(rewriter.skip(&packet(start, 1, 21, 7, 0)).is_none());
    assert_eq!(forward(&mut rewriter, 23), 1);
    // 24 is passed by.
    assert_eq!(forward(&mut rewriter, 25), 3);
    let empty = rewriter
        .skip(&packet(start, 1, 24, 7, 0))
        .expect("takes up the number");
    assert_eq!(*empty.seq_no - first, 2);
    assert!(empty.is_empty && !empty.marker);
    assert!(rewriter.skip(&packet(start, 1, 24, 7, 0)).is_none(), "once");
    assert_eq!(forward(&mut rewriter, 26), 4);
}

#[test]
fn skipping_is_remembered_as_long_as_late_packets_are_taken() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 0);
    let first = *rewriter
        .rewrite(&packet(start, 1, 1_000, 0, 0))
        .expect("is new")
        .seq_no;
    // Every third passes, the first of them is late.
    for seq_no in 1_001..1_500 {
        let packet = packet(start, 1, seq_no, 0, 0);
        match seq_no % 3 {
            _ if seq_no == 1_002 => {}
            0 => assert_eq!(
                *rewriter.rewrite(&packet).expect("is new").seq_no - first,
                (seq_no - 999) / 3
            ),
            _ => assert!(rewriter.skip(&packet).is_none()),
        }
    }
    let late = rewriter
        .rewrite(&packet(start, 1, 1_002, 0, 0))
        .expect("has a place");
    assert_eq!(*late.seq_no - first, 1);
}

#[test]
fn losses_among_what_is_skipped_do_not_add_up_to_a_leap() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 0);
    let mut seq_no = 1_000;
    let first = *rewriter
        .rewrite(&packet(start, 1, seq_no, 0, 0))
        .expect("is new")
        .seq_no;
    for _ in 0..4 {
        seq_no += JUMP_MAX;
        assert!(rewriter.skip(&packet(start, 1, seq_no, 0, 0)).is_none());
    }
    let next = rewriter.rewrite(&packet(start, 1, seq_no + 1, 0, 0));
    assert_eq!(*next.expect("is new").seq_no, first + 2);
}

#[test]
fn what_belongs_to_another_source_is_not_skipped() {
    let start = Instant::now();
    let mut rewriter = Rewriter::new(Kind::Video, 0);
    assert!(
        rewriter.skip(&packet(start, 1, 5, 0, 0)).is_none(),
        "nothing was forwarded yet"
    );
    let first = *rewriter
        .rewrite(&packet(start, 1, 6, 0, 0))
        .expect("is new")
        .seq_no;
    assert!(rewriter.skip(&packet(start, 2, 7, 0, 0)).is_none());
    let second = *rewriter
        .rewrite(&packet(start, 1, 7, 0, 0))
        .expect("is new")
        .seq_no;
    assert_eq!(second, first + 1);
}
