//! Viewers of spatial layers inside one encoding (SVC), in simulated time.

use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{Codec, LayerInfo, LayerReason, Quality, Selection};
use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{NetemConfig, Probability, Publishing, RandomLoss, Sim, Watching};

const HOME: ShardId = ShardId(0);
const CODECS: [Codec; 2] = [Codec::Vp9, Codec::Av1];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn choosing(quality: Quality) -> Selection {
    Selection {
        quality,
        audio_only: false,
    }
}

/// What a viewer was told of its layer: height and reason.
fn told(sim: &Sim, viewer: PeerKey) -> Vec<(u16, LayerReason)> {
    let layers = sim.events().filter_map(|event| {
        let Event::Layer {
            peer,
            layer,
            reason,
        } = event
        else {
            return None;
        };
        assert_eq!(layer.rid, None, "{sim:?}");
        (*peer == viewer).then_some((layer.height, *reason))
    });
    layers.collect()
}

/// Everything that arrived could be decoded, numbers have no gap, and pictures came in their rhythm.
fn check_whole(sim: &Sim, viewer: PeerKey) {
    let viewing = sim.viewing(viewer);
    assert_eq!((viewing.broken, viewing.missing), (0, 0), "{sim:?}");
    let freeze = viewing.longest_freeze(sim.now());
    assert!(freeze < ms(100), "{sim:?}: froze for {freeze:?}");
}

#[test]
fn a_viewer_steps_down_at_once_and_up_at_a_keyframe() {
    for (seed, codec) in (10..).zip(CODECS) {
        for shard in [0, 1] {
            let mut sim = Sim::new(seed, 2);
            let stream = sim.open();
            let publisher = sim.publish(stream, Publishing::layered(codec, false));
            sim.run(seconds(2));
            // Keyframes take their time, so that a step up before one would show.
            let link = NetemConfig::new().latency(ms(60));
            sim.link(publisher, link, link);
            let viewer = sim.watch(stream, ShardId(shard), Watching::default());
            let bystander = sim.watch(stream, ShardId(shard), Watching::default());
            sim.run(seconds(3));
            let keyframes = |sim: &Sim| sim.keyframe_requests(publisher).len();
            let before = keyframes(&sim);
            for quality in [Quality::Medium, Quality::Low] {
                sim.select(viewer, choosing(quality));
                sim.run(seconds(2));
            }
            assert_eq!(keyframes(&sim), before, "{sim:?}: stepping down needs none");
            for quality in [Quality::Medium, Quality::High] {
                sim.select(viewer, choosing(quality));
                sim.run(seconds(2));
            }
            assert_eq!(keyframes(&sim), before + 2, "{sim:?}: one for each step up");
            assert_eq!(
                sim.viewing(viewer).layers(),
                [2, 1, 0, 1, 2],
                "{sim:?}: {codec:?}"
            );
            assert_eq!(
                told(&sim, viewer),
                [
                    (720, LayerReason::Started),
                    (360, LayerReason::Chosen),
                    (180, LayerReason::Chosen),
                    (360, LayerReason::Chosen),
                    (720, LayerReason::Chosen),
                ],
                "{sim:?}"
            );
            check_whole(&sim, viewer);
            assert_eq!(sim.viewing(bystander).layers(), [2], "{sim:?}");
            check_whole(&sim, bystander);
        }
    }
}

#[test]
fn a_lower_layer_costs_a_viewer_less() {
    for (seed, codec) in (20..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        sim.publish(stream, Publishing::layered(codec, false));
        sim.run(seconds(1));
        let viewers = [Quality::Low, Quality::Medium, Quality::High].map(|quality| {
            let watching = Watching {
                selection: choosing(quality),
                ..Watching::default()
            };
            sim.watch(stream, HOME, watching)
        });
        sim.run(seconds(4));
        let packets = viewers.map(|viewer| {
            check_whole(&sim, viewer);
            sim.received(viewer)
                .iter()
                .filter(|packet| packet.codec == codec)
                .count()
        });
        assert_eq!(
            viewers.map(|viewer| sim.viewing(viewer).layers()),
            [[0], [1], [2]],
            "{sim:?}"
        );
        let pictures = viewers.map(|viewer| sim.viewing(viewer).frames.len());
        assert!(
            pictures.iter().all(|count| *count > 100),
            "{sim:?}: {pictures:?}"
        );
        let (low, high) = (packets[0] as f64, packets[2] as f64);
        assert!((2.5..3.5).contains(&(high / low)), "{sim:?}: {packets:?}");
    }
}

#[test]
fn layers_that_do_not_contain_each_other_change_at_keyframes() {
    for (seed, codec) in (30..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::layered(codec, true));
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(3));
        for quality in [Quality::Medium, Quality::Low, Quality::High] {
            let before = sim.keyframe_requests(publisher).len();
            sim.select(viewer, choosing(quality));
            sim.run(seconds(2));
            let requests = sim.keyframe_requests(publisher).len() - before;
            // From all layers to some there is nothing to wait for; VP9 does not tell its mode, and gets the layers below.
            let is_free =
                quality == Quality::Medium || (codec, quality) == (Codec::Vp9, Quality::Low);
            assert_eq!(
                requests,
                usize::from(!is_free),
                "{sim:?}: {codec:?} {quality:?}"
            );
        }
        assert_eq!(
            sim.viewing(viewer).layers(),
            [2, 1, 0, 2],
            "{sim:?}: {codec:?}"
        );
        check_whole(&sim, viewer);
    }
}

#[test]
fn a_layer_that_the_publisher_adds_is_seen_without_a_keyframe() {
    for (seed, codec) in (40..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::layered(codec, false));
        sim.set_spatial(publisher, 1);
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(3));
        let before = sim.keyframe_requests(publisher).len();
        sim.set_spatial(publisher, 3);
        sim.run(seconds(2));
        sim.set_spatial(publisher, 2);
        sim.run(seconds(2));
        assert_eq!(
            sim.viewing(viewer).layers(),
            [0, 2, 1],
            "{sim:?}: {codec:?}"
        );
        assert_eq!(sim.keyframe_requests(publisher).len(), before, "{sim:?}");
        check_whole(&sim, viewer);
    }
}

#[test]
fn losses_on_both_sides_are_repaired_in_a_lower_layer() {
    for (seed, codec) in (50..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::layered(codec, false));
        let watching = Watching {
            selection: choosing(Quality::Medium),
            ..Watching::default()
        };
        let viewer = sim.watch(stream, HOME, watching);
        sim.run(seconds(3));
        let link = NetemConfig::new().latency(ms(15));
        let loss = RandomLoss::new(Probability::new(0.03));
        sim.link(publisher, link.loss(loss), link);
        sim.link(viewer, link, link.loss(loss));
        sim.run(seconds(10));
        sim.link(publisher, link, link);
        sim.link(viewer, link, link);
        sim.run(seconds(1));
        let viewing = sim.viewing(viewer);
        assert_eq!(viewing.layers(), [1], "{sim:?}: {codec:?}");
        assert_eq!(viewing.missing, 0, "{sim:?}: a gap that was never filled");
        let freeze = viewing.longest_freeze(sim.now());
        assert!(freeze < ms(500), "{sim:?}: froze for {freeze:?}");
        assert!(
            viewing.frames.len() > 370,
            "{sim:?}: {} of 400",
            viewing.frames.len()
        );
    }
}

#[test]
fn changing_layers_on_a_lossy_link_mends_itself() {
    for (seed, codec) in (60..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::layered(codec, false));
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(3));
        let link = NetemConfig::new().latency(ms(15)).jitter(ms(4));
        let loss = RandomLoss::new(Probability::new(0.05));
        sim.link(publisher, link.loss(loss), link);
        sim.link(viewer, link, link.loss(loss));
        for quality in [Quality::Low, Quality::High].into_iter().cycle().take(8) {
            sim.select(viewer, choosing(quality));
            sim.run(seconds(2));
        }
        let layers = sim.viewing(viewer).layers();
        assert!(layers.len() >= 8, "{sim:?}: {layers:?}");
        let freeze = sim.viewing(viewer).longest_freeze(sim.now());
        assert!(
            freeze < ms(1_200),
            "{sim:?}: {codec:?} froze for {freeze:?}"
        );
    }
}

#[test]
fn the_layers_of_the_track_are_told_with_their_sizes() {
    for (seed, codec) in (70..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        sim.publish(stream, Publishing::layered(codec, false));
        sim.run(seconds(5));
        let stats = sim.events().filter_map(|event| {
            let Event::PublisherStats { stats, .. } = event else {
                return None;
            };
            Some(stats)
        });
        let layers: &Vec<LayerInfo> = &stats.last().expect("told every two seconds").layers;
        let sizes: Vec<(u16, u16)> = layers.iter().map(|l| (l.width, l.height)).collect();
        assert_eq!(
            sizes,
            [(320, 180), (640, 360), (1280, 720)],
            "{sim:?}: {codec:?}"
        );
        let rates: Vec<u64> = layers.iter().map(|layer| layer.bitrate_bps).collect();
        assert!(
            rates[0] > 50_000 && rates[0] < rates[1] && rates[1] < rates[2],
            "{rates:?}"
        );
        assert!(
            layers.iter().all(|layer| layer.fps >= 28),
            "{sim:?}: {layers:?}"
        );
    }
}

#[test]
fn a_publisher_who_comes_back_is_seen_in_the_layer_that_was_chosen() {
    for (seed, codec) in (80..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let first = sim.publish(stream, Publishing::layered(codec, false));
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(2));
        sim.select(viewer, choosing(Quality::Medium));
        sim.run(seconds(1));
        sim.vanish(first);
        sim.publish(stream, Publishing::layered(codec, false));
        sim.run(seconds(2));
        let viewing = sim.viewing(viewer);
        assert_eq!(viewing.layers(), [2, 1], "{sim:?}: {codec:?}");
        assert_eq!((viewing.broken, viewing.missing), (0, 0), "{sim:?}");
        // Without layers inside, the choice has nothing to leave out.
        sim.publish(stream, Publishing::of(codec));
        sim.run(seconds(2));
        let pictures = sim
            .received(viewer)
            .iter()
            .rev()
            .take_while(|p| sim.now() - p.at < seconds(1));
        assert!(
            pictures.filter(|p| p.codec == codec).count() > 50,
            "{sim:?}"
        );
    }
}
