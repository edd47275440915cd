//! Descriptors written by hand; whole streams of them are in `tests/svc.rs`.

use proptest::prelude::*;

use super::*;
use crate::forward::dependency::Descriptor;

/// Bits as they are written in the specification, spaces aside.
fn bytes(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits
        .bytes()
        .filter(|b| *b != b' ')
        .map(|b| b - b'0')
        .collect();
    bits.chunks(8)
        .map(|byte| {
            byte.iter()
                .zip((0..8).rev())
                .fold(0, |sum, (bit, place)| sum | bit << place)
        })
        .collect()
}

/// Two spatial layers of 320x180 and 640x360 with one decode target each, on a keyframe's first packet. Templates: 0 is a
/// picture of the lower layer, 1 its keyframe, 2 a picture of the upper layer. `extra` follows the structure.
fn keyframe(flags: &str, extra: &str) -> Vec<u8> {
    let structure = concat!(
        "000011 00001",                 // first template number 3, two decode targets
        "00 10 11",                     // layers: 0, 0, 1
        "1011 1010 0010",               // indications: SR, SS, -S
        "1 0001 0  0  1 0001 1 0000 0", // distances: 2; none; 2 and 1
        "11 0 1", // two chains (ns(3)), the first protects target 0, the other target 1
        "0000 0000 0000 0000 0000 0000",
        "1",
        "0000000100111111 0000000010110011",
        "0000001001111111 0000000101100111",
    );
    bytes(&format!(
        "10 000100 0000000000000111 {flags} {structure} {extra}"
    ))
}

fn read(bytes: &[u8]) -> Option<Frame> {
    let mut reader = Reader::default();
    reader.read(&keyframe("10000", ""))?;
    reader.read(bytes)
}

#[test]
fn a_keyframe_tells_the_layers_there_are() {
    let frame = Reader::default()
        .read(&keyframe("10000", ""))
        .expect("is whole");
    let sizes = frame.sizes.expect("has a structure");
    assert_eq!(sizes.as_slice(), [(320, 180), (640, 360)]);
    assert_eq!(frame.spatial.layer, 0);
    assert!(frame.spatial.is_needed_by(0) && frame.spatial.is_needed_by(1));
    assert!(frame.spatial.is_nested);
    let targets = frame.spatial.targets.expect("has targets");
    assert_eq!(
        (targets.width, targets.masks[..2].to_vec()),
        (2, vec![0b01, 0b11])
    );
}

#[test]
fn later_frames_are_placed_by_their_template() {
    let lower = read(&bytes("11 000011 0000000000001000")).expect("known template");
    assert_eq!((lower.spatial.layer, lower.spatial.ends_frame), (0, true));
    assert_eq!(lower.sizes, None);
    let upper = read(&bytes("10 000101 0000000000001001")).expect("known template");
    assert_eq!((upper.spatial.layer, upper.spatial.ends_frame), (1, false));
    assert!(!upper.spatial.is_needed_by(0) && upper.spatial.is_needed_by(1));
}

#[test]
fn a_frame_may_say_by_itself_which_targets_it_belongs_to() {
    let upper = read(&bytes("10 000101 0000000000001001 00100 1010")).expect("is whole");
    assert!(upper.spatial.is_needed_by(0));
}

#[test]
fn what_the_structure_does_not_explain_has_no_place() {
    assert_eq!(
        read(&bytes("10 000110 0000000000001001")),
        None,
        "unknown template"
    );
    assert_eq!(
        Reader::default().read(&bytes("10 000011 0000000000001001")),
        None
    );
    let whole = keyframe("10000", "");
    for end in 0..whole.len() {
        assert_eq!(Reader::default().read(&whole[..end]), None, "cut at {end}");
    }
}

/// Writes a descriptor for a viewer of nothing above a layer and reads what it got.
fn written(arrived: &[u8], layer: u8) -> Vec<u8> {
    let mut reader = Reader::default();
    let mut frame = reader.read(&keyframe("10000", "")).expect("is whole");
    frame = reader.read(arrived).unwrap_or(frame);
    let targets = frame.spatial.targets.expect("has targets");
    let descriptor = Descriptor::new(arrived).expect("fits");
    let edited = descriptor.edited(descriptor.frame_number(), Some((&targets, layer)));
    let mut bytes = vec![0; edited.written_bytes()];
    edited.write_to(&mut bytes);
    bytes
}

#[test]
fn the_targets_that_are_left_out_are_told_and_nothing_else_changes() {
    let short = "11 000011 0000000000001000";
    assert_eq!(
        written(&bytes(short), 0),
        bytes(&format!("{short} 01000 01"))
    );
    let own = "10 000101 0000000000001001 00100 1010";
    let limited = "10 000101 0000000000001001 01100 01 1010";
    assert_eq!(written(&bytes(own), 0)[..5], bytes(limited));
    let told = "10 000101 0000000000001001 01100 11 1010";
    assert_eq!(written(&bytes(told), 0), bytes(limited));
    let structured = written(&keyframe("10000", ""), 0);
    assert_eq!(structured[..structured.len() - 1], keyframe("11000", "01"));
    assert_eq!(structured.last(), Some(&0), "padding");
}

#[test]
fn what_the_publisher_left_out_stays_left_out() {
    let mut reader = Reader::default();
    reader.read(&keyframe("10000", "")).expect("is whole");
    let masks = |reader: &mut Reader, bits: &str| {
        let frame = reader.read(&bytes(bits)).expect("is whole");
        frame.spatial.targets.expect("has targets").masks[1]
    };
    assert_eq!(
        masks(&mut reader, "10 000011 0000000000001001 01000 01"),
        0b01
    );
    assert_eq!(
        masks(&mut reader, "10 000011 0000000000001010"),
        0b01,
        "until told otherwise"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_and_written_without_panic(
        first in proptest::collection::vec(any::<u8>(), 0..90),
        second in proptest::collection::vec(any::<u8>(), 0..255),
        layer in 0..4u8,
    ) {
        let mut reader = Reader::default();
        reader.read(&first);
        for arrived in [&first, &second] {
            let Some(frame) = reader.read(arrived) else { continue };
            let (Some(targets), Some(descriptor)) = (frame.spatial.targets, Descriptor::new(arrived)) else {
                continue;
            };
            let edited = descriptor.edited(descriptor.frame_number(), Some((&targets, layer)));
            let mut bytes = vec![0; edited.written_bytes()];
            edited.write_to(&mut bytes);
            prop_assert!((arrived.len()..=255).contains(&bytes.len()));
            let again = reader.read(&bytes);
            prop_assert_eq!(again.map(|f| f.spatial.needed_by), Some(frame.spatial.needed_by));
        }
    }
}
