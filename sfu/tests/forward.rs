//! From a publisher to its viewers, in simulated time: what a viewer sees when nothing goes wrong, when the network
//! loses packets, and when the publisher comes back.

use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{Codec, Kind};
use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{NetemConfig, Probability, Publishing, RandomLoss, Sim, Watching};

const HOME: ShardId = ShardId(0);
const CODECS: [Codec; 4] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1];

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A viewer's packets are one RTP stream per kind: one SSRC, numbers below 65 536 at first, time that goes on.
fn check_continuity(sim: &Sim, viewer: PeerKey) {
    for kind in [Kind::Audio, Kind::Video] {
        let mut packets: Vec<_> = sim
            .received(viewer)
            .iter()
            .filter(|packet| packet.kind == kind)
            .collect();
        packets.sort_by_key(|packet| packet.seq_no);
        let Some(first) = packets.first() else {
            continue;
        };
        assert!(*first.seq_no < 65_536, "{sim:?}");
        for pair in packets.windows(2) {
            assert_eq!(
                pair[0].ssrc, pair[1].ssrc,
                "{sim:?}: {kind:?} changed its SSRC"
            );
            assert!(pair[0].seq_no < pair[1].seq_no, "{sim:?}: one number twice");
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(step < 1 << 31, "{sim:?}: {kind:?} time went back");
        }
    }
}

/// Pictures shown with nothing broken between them, and no freeze longer than `freeze`.
fn check_smooth(sim: &Sim, viewer: PeerKey, pictures: usize, freeze: Duration) {
    let viewing = sim.viewing(viewer);
    assert!(
        viewing.frames.len() >= pictures,
        "{sim:?}: {} pictures, {} broken",
        viewing.frames.len(),
        viewing.broken
    );
    let longest = viewing.longest_freeze(sim.now());
    assert!(longest <= freeze, "{sim:?}: froze for {longest:?}");
}

#[test]
fn every_codec_reaches_a_viewer_whole() {
    for (seed, codec) in (100..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::of(codec));
        sim.run(seconds(2));
        assert!(sim.is_connected(publisher), "{sim:?}");
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(4));
        check_continuity(&sim, viewer);
        check_smooth(&sim, viewer, 90, ms(100));
        let viewing = sim.viewing(viewer);
        assert_eq!(
            (viewing.broken, viewing.missing),
            (0, 0),
            "{sim:?}: {codec:?}"
        );
        let received = sim.received(viewer);
        assert!(
            received.iter().any(|packet| packet.kind == Kind::Audio),
            "{sim:?}: no sound"
        );
        assert!(
            received
                .iter()
                .all(|packet| packet.kind == Kind::Audio || packet.codec == codec),
            "{sim:?}"
        );
    }
}

#[test]
fn viewer_who_offers_sees_the_same() {
    let mut sim = Sim::new(200, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    sim.run(seconds(1));
    let watching = Watching {
        offers: true,
        ..Watching::default()
    };
    let viewer = sim.watch(stream, HOME, watching);
    sim.run(seconds(4));
    check_continuity(&sim, viewer);
    check_smooth(&sim, viewer, 90, ms(100));
}

#[test]
fn viewer_may_come_before_the_publisher() {
    let mut sim = Sim::new(300, 1);
    let stream = sim.open();
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(1));
    sim.publish(stream, Publishing::default());
    sim.run(seconds(4));
    check_continuity(&sim, viewer);
    check_smooth(&sim, viewer, 80, ms(100));
}

#[test]
fn viewers_of_another_shard_see_the_same() {
    let mut sim = Sim::new(400, 2);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    sim.run(seconds(1));
    let viewers: Vec<PeerKey> = (0..4)
        .map(|number| sim.watch(stream, ShardId(number % 2), Watching::default()))
        .collect();
    sim.run(seconds(4));
    for viewer in viewers {
        check_continuity(&sim, viewer);
        check_smooth(&sim, viewer, 80, ms(100));
    }
    assert!(sim.is_connected(publisher));
}

#[test]
fn losses_towards_a_viewer_are_repaired() {
    let mut sim = Sim::new(500, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    let lossy = sim.watch(stream, HOME, Watching::default());
    let other = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let link = NetemConfig::new().latency(ms(20));
    let loss = RandomLoss::new(Probability::new(0.05));
    sim.link(lossy, link, link.loss(loss));
    sim.run(seconds(10));
    check_continuity(&sim, lossy);
    check_smooth(&sim, lossy, 330, ms(400));
    assert!(
        sim.stats(HOME).nacks.received > 10,
        "{sim:?}: nothing was lost"
    );
    let viewing = sim.viewing(other);
    assert_eq!(
        (viewing.broken, viewing.missing),
        (0, 0),
        "{sim:?}: a bystander"
    );
}

#[test]
fn losses_from_the_publisher_are_repaired() {
    let mut sim = Sim::new(600, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let link = NetemConfig::new().latency(ms(20));
    let loss = RandomLoss::new(Probability::new(0.05));
    sim.link(publisher, link.loss(loss), link);
    sim.run(seconds(10));
    check_continuity(&sim, viewer);
    check_smooth(&sim, viewer, 330, ms(400));
    assert!(sim.stats(HOME).nacks.sent > 10, "{sim:?}: nothing was lost");
}

#[test]
fn reordered_and_doubled_packets_reach_the_viewer_once() {
    let mut sim = Sim::new(700, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let link = NetemConfig::new()
        .latency(ms(20))
        .jitter(ms(5))
        .duplicate(Probability::new(0.1));
    sim.link(publisher, link, NetemConfig::new());
    sim.run(seconds(5));
    check_continuity(&sim, viewer);
    check_smooth(&sim, viewer, 190, ms(200));
    assert_eq!(sim.viewing(viewer).missing, 0, "{sim:?}");
}

#[test]
fn a_publisher_who_comes_back_is_seen_without_the_viewer_doing_anything() {
    for (seed, codec) in (800..).zip(CODECS) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let first = sim.publish(stream, Publishing::of(codec));
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(3));
        sim.vanish(first);
        sim.run(seconds(3));
        assert!(
            sim.events()
                .any(|event| *event == Event::Silent { peer: first }),
            "{sim:?}: nobody noticed"
        );
        let before = sim.viewing(viewer).frames.len();
        sim.publish(stream, Publishing::of(codec));
        sim.run(seconds(3));
        check_continuity(&sim, viewer);
        let viewing = sim.viewing(viewer);
        assert!(
            viewing.frames.len() > before + 60,
            "{sim:?}: {codec:?} did not go on"
        );
        assert!(viewing.frames[before].keyframe, "{sim:?}");
        assert_eq!(viewing.missing, 0, "{sim:?}: a gap that nobody can fill");
        check_pictures(&sim, viewer, codec);
    }
}

/// Picture numbers go on over the change of publishers, each by one per picture.
fn check_pictures(sim: &Sim, viewer: PeerKey, codec: Codec) {
    if codec == Codec::H264 {
        return;
    }
    let mask = if codec == Codec::Av1 { 0xffff } else { 0x7fff };
    let mut packets: Vec<_> = sim
        .received(viewer)
        .iter()
        .filter(|packet| packet.kind == Kind::Video)
        .collect();
    packets.sort_by_key(|packet| packet.seq_no);
    for pair in packets.windows(2) {
        let (Some(before), Some(after)) = (pair[0].picture, pair[1].picture) else {
            panic!("{sim:?}: {codec:?} lost its picture number");
        };
        let step = after.wrapping_sub(before) & mask;
        assert!(
            step <= 1,
            "{sim:?}: {codec:?} pictures leap from {before} to {after}"
        );
    }
}

#[test]
fn a_publisher_may_come_back_with_another_codec() {
    let mut sim = Sim::new(900, 1);
    let stream = sim.open();
    let first = sim.publish(stream, Publishing::of(Codec::Vp8));
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(3));
    sim.vanish(first);
    sim.publish(stream, Publishing::of(Codec::H264));
    sim.run(seconds(4));
    check_continuity(&sim, viewer);
    let codecs: Vec<Codec> = {
        let mut codecs: Vec<Codec> = sim
            .received(viewer)
            .iter()
            .filter(|packet| packet.kind == Kind::Video)
            .map(|packet| packet.codec)
            .collect();
        codecs.dedup();
        codecs
    };
    assert_eq!(codecs, [Codec::Vp8, Codec::H264], "{sim:?}");
}

#[test]
fn a_viewer_who_cannot_decode_the_stream_is_told_so() {
    let mut sim = Sim::new(1000, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::of(Codec::H264));
    sim.run(seconds(1));
    let watching = Watching {
        codecs: vec![Codec::Opus, Codec::Vp8],
        ..Watching::default()
    };
    let viewer = sim.watch(stream, HOME, watching);
    sim.run(seconds(3));
    let told = Event::Undecodable {
        peer: viewer,
        kind: Kind::Video,
        codec: Codec::H264,
    };
    assert!(sim.events().any(|event| *event == told), "{sim:?}");
    let kinds: Vec<Kind> = sim
        .received(viewer)
        .iter()
        .map(|packet| packet.kind)
        .collect();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| *kind == Kind::Audio),
        "{sim:?}"
    );
}

#[test]
fn sound_alone_and_pictures_alone_are_streams_too() {
    let sound = Publishing {
        video: None,
        ..Publishing::default()
    };
    let pictures = Publishing {
        audio: false,
        ..Publishing::default()
    };
    for (seed, publishing, kind) in [(1100, sound, Kind::Audio), (1101, pictures, Kind::Video)] {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        sim.publish(stream, publishing);
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(3));
        let received = sim.received(viewer);
        assert!(received.len() > 80, "{sim:?}: {} packets", received.len());
        assert!(received.iter().all(|packet| packet.kind == kind), "{sim:?}");
        check_continuity(&sim, viewer);
    }
}

#[test]
fn redundant_sound_is_passed_on_untouched_to_who_takes_it_and_unwrapped_for_others() {
    for shard in [0, 1] {
        let mut sim = Sim::new(1300, 2);
        let stream = sim.open();
        let publishing = Publishing {
            red: true,
            ..Publishing::default()
        };
        let publisher = sim.publish(stream, publishing);
        sim.run(seconds(1));
        let viewers = [true, false].map(|red| {
            let watching = Watching {
                red,
                ..Watching::default()
            };
            sim.watch(stream, ShardId(shard), watching)
        });
        sim.run(seconds(3));
        let sent = sim.sounds(publisher);
        for (viewer, takes_red) in viewers.into_iter().zip([true, false]) {
            check_continuity(&sim, viewer);
            let sounds: Vec<_> = sim
                .received(viewer)
                .iter()
                .filter(|packet| packet.kind == Kind::Audio)
                .collect();
            assert!(sounds.len() > 100, "{sim:?}: {} sounds", sounds.len());
            // The newest block is last and as long as the one before.
            let expected = sent.iter().map(|red| match takes_red {
                true => &red[..],
                false => &red[5 + (red.len() - 5) / 2..],
            });
            let is_first = |payload: &&[u8]| *payload == &sounds[0].payload[..];
            let expected: Vec<&[u8]> = expected.skip_while(|p| !is_first(p)).collect();
            let got: Vec<&[u8]> = sounds.iter().map(|packet| &packet.payload[..]).collect();
            assert!(
                sounds.iter().all(|packet| packet.is_red == takes_red),
                "{sim:?}"
            );
            assert_eq!(got, expected[..got.len()], "{sim:?}");
        }
    }
}

#[test]
fn a_camera_that_was_off_goes_on_where_it_was() {
    let mut sim = Sim::new(1200, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(3));
    sim.set_sending(publisher, None, false);
    sim.run(seconds(4));
    let before = sim.viewing(viewer).frames.len();
    sim.set_sending(publisher, None, true);
    sim.run(seconds(2));
    let viewing = sim.viewing(viewer);
    assert!(viewing.frames.len() > before + 50, "{sim:?}");
    assert_eq!(viewing.broken, 0, "{sim:?}");
    check_continuity(&sim, viewer);
}
