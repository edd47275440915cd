//! The steps of a viewer between layers.

use std::sync::Arc;
use std::time::Instant;

use str0m::rtp::ExtensionValues;

use super::*;
use crate::event::{Codec, Kind, Quality};
use crate::forward::codec::Meta;
use crate::forward::spatial::Spatial;
use crate::layer::Facts;

const LOW: u8 = 0;
const HIGH: u8 = 1;

fn ladder(low: bool, high: bool) -> Ladder {
    let facts = |rid, is_alive| Facts {
        rid: Some(rid),
        is_alive,
        ..Facts::default()
    };
    Ladder::new(&[facts("q", low), facts("h", high)])
}

fn packet(slot: u8, source: u64, keyframe: bool) -> Packet {
    Packet {
        kind: Kind::Video,
        codec: Codec::Vp8,
        source: SourceId(source),
        slot,
        seq_no: 1.into(),
        timestamp: 0,
        marker: false,
        payload: Arc::from([0u8; 4]),
        extensions: ExtensionValues::default(),
        arrived: Instant::now(),
        captured: Instant::now(),
        meta: Meta {
            keyframe,
            ..Meta::default()
        },
    }
}

fn choosing(quality: Quality) -> Selection {
    Selection {
        quality,
        audio_only: false,
    }
}

#[test]
fn a_viewer_starts_with_the_first_keyframe_of_the_best_layer() {
    let mut selector = Selector::new(Selection::default(), &ladder(true, true));
    assert_eq!(selector.wants_keyframe(), Some(HIGH));
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Drop);
    assert_eq!(selector.judge(&packet(LOW, 1, true)), Verdict::Drop);
    assert_eq!(
        selector.judge(&packet(HIGH, 2, true)),
        Verdict::Switch(LayerReason::Started)
    );
    assert_eq!(selector.wants_keyframe(), None);
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Forward);
    assert_eq!(selector.switches(), 1);
}

#[test]
fn a_chosen_layer_takes_over_at_its_keyframe_and_not_before() {
    let all = ladder(true, true);
    let mut selector = Selector::new(Selection::default(), &all);
    selector.judge(&packet(HIGH, 2, true));
    selector.select(choosing(Quality::Low), &all);
    assert_eq!(selector.wants_keyframe(), Some(LOW));
    assert_eq!(selector.judge(&packet(LOW, 1, false)), Verdict::Drop);
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Forward);
    assert_eq!(
        selector.judge(&packet(LOW, 1, true)),
        Verdict::Switch(LayerReason::Chosen)
    );
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Drop);
    assert_eq!(selector.current(), Some(LOW));
}

#[test]
fn a_choice_taken_back_before_its_keyframe_changes_nothing() {
    let all = ladder(true, true);
    let mut selector = Selector::new(Selection::default(), &all);
    selector.judge(&packet(HIGH, 2, true));
    selector.select(choosing(Quality::Low), &all);
    selector.select(choosing(Quality::High), &all);
    assert_eq!(selector.wants_keyframe(), None);
    assert_eq!(selector.judge(&packet(LOW, 1, true)), Verdict::Drop);
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Forward);
    assert_eq!(selector.switches(), 1);
}

#[test]
fn a_layer_that_died_is_left_at_the_next_keyframe_of_another() {
    let mut selector = Selector::new(Selection::default(), &ladder(true, true));
    selector.judge(&packet(HIGH, 2, true));
    selector.handle_ladder(&ladder(true, false));
    assert_eq!(selector.wants_keyframe(), Some(LOW));
    assert_eq!(
        selector.judge(&packet(LOW, 1, true)),
        Verdict::Switch(LayerReason::Published)
    );
    selector.handle_ladder(&ladder(true, true));
    assert_eq!(selector.wants_keyframe(), Some(HIGH));
}

#[test]
fn a_camera_that_is_off_and_on_again_goes_on_without_waiting() {
    let mut selector = Selector::new(Selection::default(), &ladder(true, true));
    selector.judge(&packet(HIGH, 2, true));
    selector.handle_ladder(&ladder(false, false));
    assert_eq!(selector.wants_keyframe(), None);
    selector.handle_ladder(&ladder(true, true));
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Forward);
}

#[test]
fn the_same_layer_under_a_new_source_starts_with_a_keyframe() {
    let mut selector = Selector::new(Selection::default(), &ladder(true, true));
    selector.judge(&packet(HIGH, 2, true));
    assert_eq!(selector.judge(&packet(HIGH, 7, false)), Verdict::Drop);
    assert_eq!(selector.wants_keyframe(), Some(HIGH));
    assert_eq!(
        selector.judge(&packet(HIGH, 7, true)),
        Verdict::Switch(LayerReason::Published)
    );
    assert_eq!(selector.judge(&packet(HIGH, 2, true)), Verdict::Drop);
    assert_eq!(selector.wants_keyframe(), None);
}

#[test]
fn audio_only_drops_pictures_and_coming_back_takes_a_keyframe() {
    let all = ladder(true, true);
    let mut selector = Selector::new(Selection::default(), &all);
    selector.judge(&packet(HIGH, 2, true));
    let audio_only = Selection {
        audio_only: true,
        ..Selection::default()
    };
    selector.select(audio_only, &all);
    assert_eq!(selector.judge(&packet(HIGH, 2, true)), Verdict::Drop);
    assert_eq!(selector.wants_keyframe(), None);
    selector.handle_ladder(&all);
    assert_eq!(selector.judge(&packet(HIGH, 2, true)), Verdict::Drop);
    selector.select(Selection::default(), &all);
    assert_eq!(selector.judge(&packet(HIGH, 2, false)), Verdict::Drop);
    assert_eq!(selector.wants_keyframe(), Some(HIGH));
    assert_eq!(
        selector.judge(&packet(HIGH, 2, true)),
        Verdict::Switch(LayerReason::Chosen)
    );
}

#[test]
fn nothing_alive_yet_means_nothing_is_wanted() {
    let mut selector = Selector::new(Selection::default(), &ladder(false, false));
    assert_eq!(selector.wants_keyframe(), None);
    assert_eq!(selector.judge(&packet(HIGH, 2, true)), Verdict::Drop);
    selector.handle_ladder(&ladder(true, false));
    assert_eq!(
        selector.judge(&packet(LOW, 1, true)),
        Verdict::Switch(LayerReason::Started)
    );
}

/// A packet of a frame in one of three spatial layers, each of which needs those below.
fn spatial(seq_no: u64, timestamp: u32, layer: u8, keyframe: bool) -> Packet {
    let mut packet = packet(LOW, 1, keyframe && layer == 0);
    packet.seq_no = seq_no.into();
    packet.timestamp = timestamp;
    packet.meta.spatial = Some(Spatial {
        layer,
        needed_by: u8::MAX << layer,
        ends_frame: true,
        is_nested: true,
        targets: None,
    });
    packet
}

fn layered() -> Ladder {
    Ladder::new(&[Facts {
        is_alive: true,
        spatial: 3,
        ..Facts::default()
    }])
}

#[test]
fn a_lower_spatial_layer_counts_from_the_next_picture_on() {
    let mut selector = Selector::new(Selection::default(), &layered());
    assert_eq!(
        selector.judge(&spatial(10, 100, 0, true)),
        Verdict::Switch(LayerReason::Started)
    );
    selector.select(choosing(Quality::Low), &layered());
    assert_eq!(selector.wants_keyframe(), None);
    // The picture that has begun is completed.
    assert_eq!(selector.judge(&spatial(11, 100, 1, true)), Verdict::Forward);
    assert_eq!(selector.spatial(), None);
    assert_eq!(
        selector.judge(&spatial(13, 200, 0, false)),
        Verdict::Switch(LayerReason::Chosen)
    );
    assert_eq!(selector.judge(&spatial(14, 200, 1, false)), Verdict::Skip);
    // What is late of the picture before belongs to that.
    let late = spatial(12, 100, 2, true);
    assert_eq!(selector.judge(&late), Verdict::Forward);
    assert_eq!(selector.limit_at(&late), None);
    assert_eq!(selector.spatial(), Some(0));
}

#[test]
fn a_keyframe_whose_upper_layers_were_left_out_already_is_no_step_up() {
    let mut selector = Selector::new(choosing(Quality::Low), &layered());
    selector.judge(&spatial(10, 100, 0, true));
    selector.select(choosing(Quality::High), &layered());
    assert_eq!(selector.wants_keyframe(), Some(LOW));
    assert_eq!(selector.judge(&spatial(21, 200, 1, true)), Verdict::Skip);
    assert_eq!(selector.judge(&spatial(20, 200, 0, true)), Verdict::Forward);
    assert_eq!(selector.wants_keyframe(), Some(LOW), "the next one must do");
    assert_eq!(
        selector.judge(&spatial(30, 300, 0, true)),
        Verdict::Switch(LayerReason::Chosen)
    );
    assert_eq!(selector.judge(&spatial(31, 300, 2, true)), Verdict::Forward);
    assert_eq!(selector.wants_keyframe(), None);
}
