//! How streams and peers begin, change and end, in simulated time.

use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{CloseReason, Codec, Command, Kind, Selection, TrackInfo};
use redred_sfu::id::{PeerKey, ShardId, StreamKey};
use redred_sfu::sim::{NetemConfig, Probability, Publishing, RandomLoss, Sim, Watching};

const HOME: ShardId = ShardId(0);
const AWAY: ShardId = ShardId(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sound_alone() -> Publishing {
    Publishing {
        video: None,
        ..Publishing::default()
    }
}

fn closed(sim: &Sim, peer: PeerKey) -> Option<CloseReason> {
    sim.events().find_map(|event| {
        let Event::Closed { peer: key, reason } = event else {
            return None;
        };
        (*key == peer).then_some(*reason)
    })
}

fn offers(sim: &Sim, viewer: PeerKey) -> usize {
    let is_offer = |event: &&Event| matches!(event, Event::Offer { peer, .. } if *peer == viewer);
    sim.events().filter(is_offer).count()
}

/// The tracks of a stream, as last told.
fn tracks(sim: &Sim, stream: StreamKey) -> Vec<TrackInfo> {
    let told = sim.events().filter_map(|event| {
        let Event::Tracks {
            stream: key,
            tracks,
        } = event
        else {
            return None;
        };
        (*key == stream).then_some(tracks)
    });
    told.last().cloned().unwrap_or_default()
}

fn has_pictures(sim: &Sim, viewer: PeerKey) -> bool {
    let mut received = sim.received(viewer).iter();
    received.any(|packet| packet.kind == Kind::Video)
}

#[test]
fn pictures_that_join_the_sound_are_offered_to_viewers_who_are_there() {
    for shard in [HOME, AWAY] {
        let mut sim = Sim::new(1, 2);
        let stream = sim.open();
        sim.publish(stream, sound_alone());
        let viewer = sim.watch(stream, shard, Watching::default());
        sim.run(seconds(2));
        assert_eq!(offers(&sim, viewer), 1, "{sim:?}");
        assert!(!has_pictures(&sim, viewer), "{sim:?}");

        sim.publish(stream, Publishing::default());
        sim.run(seconds(3));
        assert_eq!(offers(&sim, viewer), 2, "{sim:?}");
        assert!(sim.viewing(viewer).frames.len() > 50, "{sim:?}");

        // What goes away again needs no offer, and neither does what takes its place.
        sim.publish(stream, sound_alone());
        sim.run(seconds(2));
        let before = sim.viewing(viewer).frames.len();
        sim.publish(stream, Publishing::default());
        sim.run(seconds(3));
        assert_eq!(offers(&sim, viewer), 2, "{sim:?}");
        assert!(sim.viewing(viewer).frames.len() > before + 50, "{sim:?}");
    }
}

#[test]
fn a_viewer_who_comes_before_the_publisher_is_offered_what_comes() {
    let mut sim = Sim::new(2, 1);
    let stream = sim.open();
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(1));
    assert_eq!(offers(&sim, viewer), 0, "{sim:?}");
    sim.publish(stream, Publishing::default());
    sim.run(seconds(3));
    assert_eq!(offers(&sim, viewer), 1, "{sim:?}");
    assert!(sim.viewing(viewer).frames.len() > 50, "{sim:?}");
}

#[test]
fn a_second_publisher_takes_the_place_of_the_first() {
    let mut sim = Sim::new(3, 1);
    let stream = sim.open();
    let first = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let second = sim.publish(stream, Publishing::default());
    assert_eq!(closed(&sim, first), Some(CloseReason::Replaced), "{sim:?}");
    let before = sim.viewing(viewer).frames.len();
    sim.run(seconds(3));
    assert!(sim.viewing(viewer).frames.len() > before + 50, "{sim:?}");
    assert_eq!(closed(&sim, second), None, "{sim:?}");
    assert_eq!(closed(&sim, viewer), None, "{sim:?}");
    assert_eq!(sim.stats(HOME).sessions.publishers, 1, "{sim:?}");
}

#[test]
fn the_end_of_a_stream_closes_everybody_and_leaves_nothing() {
    let mut sim = Sim::new(4, 2);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let here = sim.watch(stream, HOME, Watching::default());
    let away = sim.watch(stream, AWAY, Watching::default());
    sim.run(seconds(2));
    for shard in [HOME, AWAY] {
        sim.command(shard, Command::CloseStream { stream });
    }
    for peer in [publisher, here, away] {
        assert_eq!(
            closed(&sim, peer),
            Some(CloseReason::StreamEnded),
            "{sim:?}"
        );
    }
    sim.run(seconds(1));
    assert_eq!((sim.held(HOME), sim.held(AWAY)), (0, 0), "{sim:?}");
}

#[test]
fn who_leaves_takes_everything_along() {
    let mut sim = Sim::new(5, 2);
    let stream = sim.open();
    let held = (sim.held(HOME), sim.held(AWAY));
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, AWAY, Watching::default());
    sim.run(seconds(2));
    sim.command(AWAY, Command::Close { peer: viewer });
    sim.command(HOME, Command::Close { peer: publisher });
    assert_eq!((sim.held(HOME), sim.held(AWAY)), held, "{sim:?}");
    assert_eq!(closed(&sim, viewer), None, "who asked is not told");
    assert_eq!(tracks(&sim, stream), [], "{sim:?}");
}

#[test]
fn a_publisher_who_vanishes_is_silent_first_and_closed_later() {
    let mut sim = Sim::new(6, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    sim.vanish(publisher);
    let silent = Event::Silent { peer: publisher };
    sim.run(Duration::from_millis(1_900));
    assert!(sim.events().all(|event| *event != silent), "{sim:?}");
    sim.run(Duration::from_millis(300));
    assert!(sim.events().any(|event| *event == silent), "{sim:?}");
    assert_eq!(closed(&sim, publisher), None, "{sim:?}");
    sim.run(seconds(9));
    assert_eq!(closed(&sim, publisher), Some(CloseReason::TimedOut));
    assert_eq!(tracks(&sim, stream), [], "{sim:?}");
    assert_eq!(closed(&sim, viewer), None, "viewers wait for a new one");
}

#[test]
fn a_publisher_whose_network_comes_back_goes_on_by_itself() {
    let mut sim = Sim::new(7, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(3));
    let nothing = || NetemConfig::new().loss(RandomLoss::new(Probability::new(1.0)));
    sim.link(publisher, nothing(), nothing());
    sim.run(seconds(4));
    let before = sim.viewing(viewer).frames.len();
    sim.link(publisher, NetemConfig::new(), NetemConfig::new());
    sim.run(seconds(4));
    let states: Vec<&Event> = sim
        .events()
        .filter(|event| {
            matches!(event, Event::Silent { peer } | Event::Connected { peer } if *peer == publisher)
        })
        .collect();
    let expected = [
        Event::Connected { peer: publisher },
        Event::Silent { peer: publisher },
        Event::Connected { peer: publisher },
    ];
    assert_eq!(states, expected.iter().collect::<Vec<_>>(), "{sim:?}");
    assert!(sim.viewing(viewer).frames.len() > before + 30, "{sim:?}");
}

#[test]
fn a_viewer_who_vanishes_is_closed_and_nobody_else_notices() {
    let mut sim = Sim::new(8, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    let gone = sim.watch(stream, HOME, Watching::default());
    let stays = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    sim.vanish(gone);
    sim.run(seconds(12));
    assert_eq!(closed(&sim, gone), Some(CloseReason::TimedOut), "{sim:?}");
    assert_eq!(closed(&sim, stays), None, "{sim:?}");
    let freeze = sim.viewing(stays).longest_freeze(sim.now());
    assert!(freeze < Duration::from_millis(100), "{sim:?}: {freeze:?}");
    assert_eq!(sim.stats(HOME).sessions.viewers, 1, "{sim:?}");
}

#[test]
fn a_peer_that_never_connects_is_closed() {
    let mut sim = Sim::new(9, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    // Nobody of the simulation has this key, so the offer is never answered.
    let viewer = PeerKey(1_000);
    let command = Command::Watch {
        peer: viewer,
        stream,
        offer: None,
        selection: Selection::default(),
    };
    sim.command(HOME, command);
    assert_eq!(offers(&sim, viewer), 1, "{sim:?}");
    sim.run(seconds(29));
    assert_eq!(closed(&sim, viewer), None, "{sim:?}");
    sim.run(seconds(2));
    assert_eq!(closed(&sim, viewer), Some(CloseReason::TimedOut));
}

#[test]
fn a_camera_that_is_off_is_told_as_muted() {
    let mut sim = Sim::new(10, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let is_muted = |sim: &Sim, kind: Kind| {
        let told = tracks(sim, stream);
        told.iter()
            .find(|track| track.kind == kind)
            .map(|t| t.muted)
    };
    assert_eq!(is_muted(&sim, Kind::Video), Some(true), "nothing came yet");
    sim.run(seconds(2));
    assert_eq!(is_muted(&sim, Kind::Video), Some(false), "{sim:?}");
    sim.set_sending(publisher, None, false);
    sim.run(seconds(3));
    assert_eq!(is_muted(&sim, Kind::Video), Some(true), "{sim:?}");
    assert_eq!(is_muted(&sim, Kind::Audio), Some(false), "{sim:?}");
    sim.set_sending(publisher, None, true);
    sim.run(seconds(1));
    assert_eq!(is_muted(&sim, Kind::Video), Some(false), "{sim:?}");
}

#[test]
fn packets_asked_for_again_are_counted_by_direction() {
    let mut sim = Sim::new(12, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::simulcast(Codec::Vp8));
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(4));
    let nacks = sim.stats(HOME).nacks;
    assert_eq!((nacks.sent, nacks.received), (0, 0), "{sim:?}");
    let lossy = || NetemConfig::new().loss(RandomLoss::new(Probability::new(0.05)));
    sim.link(publisher, lossy(), NetemConfig::new());
    sim.run(seconds(5));
    let nacks = sim.stats(HOME).nacks;
    assert!(nacks.sent > 0, "{sim:?}");
    sim.link(publisher, NetemConfig::new(), NetemConfig::new());
    sim.link(viewer, NetemConfig::new(), lossy());
    sim.run(seconds(5));
    let nacks = sim.stats(HOME).nacks;
    assert!(nacks.received > 0, "{sim:?}");
}

#[test]
fn the_publisher_is_measured() {
    let mut sim = Sim::new(11, 1);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    sim.run(seconds(5));
    let stats = sim.events().filter_map(|event| {
        let Event::PublisherStats { stats, .. } = event else {
            return None;
        };
        Some(stats)
    });
    let last = stats.last().expect("told every two seconds");
    assert!((28..=32).contains(&last.fps), "{sim:?}: {} fps", last.fps);
    assert!(last.bitrate_bps > 50_000, "{sim:?}: {}", last.bitrate_bps);
    assert_eq!(last.layers.len(), 1, "{sim:?}");
    assert!(last.layers[0].width > 0, "{sim:?}");
}
