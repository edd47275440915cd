//! A viewer of a simulcast track, from the packets that arrive to those it gets.

#![allow(
    clippy::disallowed_methods,
    reason = "one instant is the base of simulated time"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redred_sfu::event::{Codec, Kind, LayerReason, Quality, Selection};
use redred_sfu::forward::codec;
use redred_sfu::forward::packet::{Packet, SourceId};
use redred_sfu::forward::{Forwarded, Forwarder};
use redred_sfu::id::ShardId;
use redred_sfu::layer::{Facts, Ladder};
use redred_sfu::sim::{NetemConfig, Probability, Publishing, RandomLoss, Sim, Viewing, Watching};
use str0m::rtp::ExtensionValues;

const SEED: u64 = 0x5eed;
const WIDTHS: [u16; 3] = [320, 640, 1280];

/// Three VP8 encoders on one camera at 30 frames a second, two packets a frame.
struct Camera {
    start: Instant,
    frame: u64,
    seq_nos: [u64; 3],
    wanted: [bool; 3],
}

impl Camera {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            frame: 0,
            seq_nos: [60_000, 65_530, 12],
            wanted: [true; 3],
        }
    }

    fn request(&mut self, slot: u8) {
        self.wanted[usize::from(slot)] = true;
    }

    /// The packets of the next picture, all layers.
    fn shoot(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for slot in 0..3 {
            let keyframe = std::mem::take(&mut self.wanted[slot]);
            for part in 0..2 {
                packets.push(self.packet(slot, keyframe, part));
                self.seq_nos[slot] += 1;
            }
        }
        self.frame += 1;
        packets
    }

    fn packet(&self, slot: usize, keyframe: bool, part: u8) -> Packet {
        let picture_id = (self.frame as u16 + 100 * slot as u16) & 0x7fff | 0x8000;
        let [high, low] = picture_id.to_be_bytes();
        let starts = if part == 0 { 0x90 } else { 0x80 };
        let tl0_pic_idx = (self.frame as u8).wrapping_add(slot as u8);
        let mut payload = vec![starts, 0xe0, high, low, tl0_pic_idx, 0];
        if part == 0 && keyframe {
            payload.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a]);
            payload.extend(WIDTHS[slot].to_le_bytes());
            payload.extend((WIDTHS[slot] / 16 * 9).to_le_bytes());
        } else {
            payload.extend([0x11, 0, 0]);
        }
        Packet {
            kind: Kind::Video,
            codec: Codec::Vp8,
            source: SourceId(slot as u64 + 1),
            slot: slot as u8,
            seq_no: self.seq_nos[slot].into(),
            timestamp: (self.frame as u32)
                .wrapping_mul(3_000)
                .wrapping_add(slot as u32 * 77_777),
            marker: part == 1,
            meta: codec::inspect(Codec::Vp8, &payload, None),
            payload: Arc::from(payload),
            extensions: ExtensionValues::default(),
            arrived: self.start + Duration::from_micros(self.frame * 33_333 + slot as u64 * 1_000),
            captured: self.start + Duration::from_micros(self.frame * 33_333 + slot as u64 * 1_000),
        }
    }
}

struct Viewer {
    forwarder: Forwarder,
    received: Vec<(Packet, Forwarded)>,
}

impl Viewer {
    fn new(selection: Selection, ladder: &Ladder) -> Self {
        Self {
            forwarder: Forwarder::new(Kind::Video, selection, ladder, SEED),
            received: Vec::new(),
        }
    }

    fn watch(&mut self, camera: &mut Camera, pictures: usize) {
        for _ in 0..pictures {
            if let Some(slot) = self.forwarder.wants_keyframe() {
                camera.request(slot);
            }
            for packet in camera.shoot() {
                if let Some(forwarded) = self.forwarder.forward(&packet) {
                    self.received.push((packet, forwarded));
                }
            }
        }
    }

    fn switches(&self) -> Vec<(u8, LayerReason)> {
        self.received
            .iter()
            .filter_map(|(packet, forwarded)| Some((packet.slot, forwarded.switched?)))
            .collect()
    }

    /// What the viewer received is one stream without a hole, and layers change at keyframes only.
    fn check(&self) {
        for pair in self.received.windows(2) {
            let [(before, one), (packet, other)] = pair else {
                unreachable!("windows of two");
            };
            assert_eq!(*other.egress.seq_no, *one.egress.seq_no + 1, "seed {SEED}");
            let forward = other.egress.timestamp.wrapping_sub(one.egress.timestamp);
            assert!(forward < 10_000, "seed {SEED}: leapt by {forward}");
            assert_eq!(
                other.switched.is_some(),
                before.slot != packet.slot,
                "seed {SEED}"
            );
            if other.switched.is_some() {
                assert!(packet.meta.keyframe, "seed {SEED}");
                assert!(forward > 0, "seed {SEED}: two pictures at one time");
                let next = (one.egress.numbers.picture_id + 1) & 0x7fff;
                assert_eq!(other.egress.numbers.picture_id, next, "seed {SEED}");
            }
        }
        assert!(*self.received[0].1.egress.seq_no < 65_536, "seed {SEED}");
    }
}

fn ladder(alive: [bool; 3]) -> Ladder {
    let rids = ["q", "h", "f"];
    let facts: Vec<Facts<'_>> = (0..3)
        .map(|slot| Facts {
            rid: Some(rids[slot]),
            dimensions: Some((WIDTHS[slot], WIDTHS[slot] / 16 * 9)),
            is_alive: alive[slot],
            spatial: 0,
        })
        .collect();
    Ladder::new(&facts)
}

fn choosing(quality: Quality) -> Selection {
    Selection {
        quality,
        audio_only: false,
    }
}

#[test]
fn viewer_gets_the_top_layer_and_switches_at_keyframes_only() {
    let all = ladder([true; 3]);
    let mut camera = Camera::new();
    let mut viewer = Viewer::new(Selection::default(), &all);
    viewer.watch(&mut camera, 30);
    viewer.forwarder.select(choosing(Quality::Low), &all);
    viewer.watch(&mut camera, 30);
    viewer.forwarder.select(choosing(Quality::Medium), &all);
    viewer.watch(&mut camera, 30);
    viewer.forwarder.select(choosing(Quality::Auto), &all);
    viewer.watch(&mut camera, 30);
    viewer.check();
    assert_eq!(
        viewer.switches(),
        [
            (2, LayerReason::Started),
            (0, LayerReason::Chosen),
            (1, LayerReason::Chosen),
            (2, LayerReason::Chosen),
        ]
    );
    let pictures: HashSet<u128> = viewer
        .received
        .iter()
        .map(|(packet, _)| (packet.arrived - camera.start).as_millis() / 33)
        .collect();
    assert_eq!(pictures.len(), 120, "no picture was missed");
}

#[test]
fn viewer_follows_the_publisher_down_and_up_again() {
    let mut camera = Camera::new();
    let mut viewer = Viewer::new(Selection::default(), &ladder([true; 3]));
    viewer.watch(&mut camera, 10);
    viewer.forwarder.handle_ladder(&ladder([true, true, false]));
    viewer.watch(&mut camera, 10);
    viewer.forwarder.handle_ladder(&ladder([true; 3]));
    viewer.watch(&mut camera, 10);
    viewer.check();
    assert_eq!(
        viewer.switches(),
        [
            (2, LayerReason::Started),
            (1, LayerReason::Published),
            (2, LayerReason::Published),
        ]
    );
}

#[test]
fn changing_often_keeps_the_clock_of_the_pictures_near_that_of_the_sound() {
    let all = ladder([true; 3]);
    let mut camera = Camera::new();
    let mut viewer = Viewer::new(Selection::default(), &all);
    viewer.watch(&mut camera, 1);
    for round in 0..100 {
        let quality = if round % 2 == 0 {
            Quality::Low
        } else {
            Quality::High
        };
        viewer.forwarder.select(choosing(quality), &all);
        viewer.watch(&mut camera, 3);
    }
    viewer.check();
    let (first, last) = (
        &viewer.received[0],
        &viewer.received[viewer.received.len() - 1],
    );
    let media_ms = f64::from(
        last.1
            .egress
            .timestamp
            .wrapping_sub(first.1.egress.timestamp),
    ) / 90.0;
    let arrival_ms = (last.0.arrived - first.0.arrived).as_secs_f64() * 1e3;
    assert!(
        (media_ms - arrival_ms).abs() < 50.0,
        "after 100 changes, {media_ms} ms of pictures took {arrival_ms} ms"
    );
}

const HOME: ShardId = ShardId(0);
const CODECS: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

#[test]
fn a_viewer_chooses_a_layer_and_gets_it_at_the_next_keyframe() {
    for (seed, codec) in (30..).zip(CODECS) {
        for shard in [0, 1] {
            let mut sim = Sim::new(seed, 2);
            let stream = sim.open();
            let publisher = sim.publish(stream, Publishing::simulcast(codec));
            sim.run(Duration::from_secs(2));
            // The keyframe takes its time, so that a switch before it would show.
            let link = NetemConfig::new().latency(Duration::from_millis(60));
            sim.link(publisher, link, link);
            let viewer = sim.watch(stream, ShardId(shard), Watching::default());
            sim.run(Duration::from_secs(3));
            for quality in [Quality::Low, Quality::Medium, Quality::High] {
                sim.select(viewer, choosing(quality));
                sim.run(Duration::from_secs(3));
            }
            let viewing = sim.viewing(viewer);
            assert_eq!(viewing.layers(), [2, 0, 1, 2], "{sim:?}: {codec:?}");
            check_only_switches_cut_pictures(&sim, &viewing);
            for pair in viewing.frames.windows(2) {
                assert!(
                    pair[0].layer == pair[1].layer || pair[1].keyframe,
                    "{sim:?}"
                );
                let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
                assert!((1..20_000).contains(&step), "{sim:?}: time leaps by {step}");
            }
            let freeze = viewing.longest_freeze(sim.now());
            assert!(
                freeze < Duration::from_millis(100),
                "{sim:?}: froze for {freeze:?}"
            );
        }
    }
}

#[test]
fn a_layer_the_publisher_stops_is_replaced_by_the_next_best() {
    let mut sim = Sim::new(40, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(Duration::from_secs(3));
    sim.set_sending(publisher, Some("f"), false);
    sim.run(Duration::from_secs(4));
    assert_eq!(sim.viewing(viewer).layers().last(), Some(&1), "{sim:?}");
    sim.set_sending(publisher, Some("f"), true);
    sim.run(Duration::from_secs(3));
    let viewing = sim.viewing(viewer);
    assert_eq!(viewing.layers().last(), Some(&2), "{sim:?}");
    check_only_switches_cut_pictures(&sim, &viewing);
}

#[test]
fn changing_layers_on_a_lossy_link_mends_itself() {
    let mut sim = Sim::new(50, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(Duration::from_secs(3));
    let link = NetemConfig::new().latency(Duration::from_millis(15));
    sim.link(
        viewer,
        link,
        link.loss(RandomLoss::new(Probability::new(0.03))),
    );
    for round in 0..6 {
        let quality = if round % 2 == 0 {
            Quality::Low
        } else {
            Quality::High
        };
        sim.select(viewer, choosing(quality));
        sim.run(Duration::from_secs(2));
    }
    let viewing = sim.viewing(viewer);
    assert!(
        viewing.layers().len() >= 6,
        "{sim:?}: {:?}",
        viewing.layers()
    );
    let freeze = viewing.longest_freeze(sim.now());
    assert!(
        freeze < Duration::from_millis(500),
        "{sim:?}: froze for {freeze:?}"
    );
}

#[test]
fn a_viewer_of_sound_alone_gets_no_pictures_until_it_wants_them() {
    let mut sim = Sim::new(60, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    let sound_only = Selection {
        audio_only: true,
        ..Selection::default()
    };
    let watching = Watching {
        selection: sound_only,
        ..Watching::default()
    };
    let viewer = sim.watch(stream, HOME, watching);
    sim.run(Duration::from_secs(3));
    assert!(sim.viewing(viewer).frames.is_empty(), "{sim:?}");
    assert!(!sim.received(viewer).is_empty(), "{sim:?}: no sound either");
    sim.select(viewer, Selection::default());
    sim.run(Duration::from_secs(2));
    let before = sim.viewing(viewer).frames.len();
    assert!(before > 20, "{sim:?}");
    sim.select(viewer, sound_only);
    sim.run(Duration::from_secs(2));
    assert!(sim.viewing(viewer).frames.len() <= before + 1, "{sim:?}");
}

/// Layers arrive interleaved, so the keyframe of one may cut off the last picture of another; nothing else is broken.
fn check_only_switches_cut_pictures(sim: &Sim, viewing: &Viewing) {
    let switches = viewing.layers().len() - 1;
    assert!(
        viewing.broken <= switches,
        "{sim:?}: {} pictures broken",
        viewing.broken
    );
    assert_eq!(viewing.missing, 0, "{sim:?}");
}
