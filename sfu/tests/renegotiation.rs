//! What peers negotiate while media flows: other networks, further lines, lines that go.

use std::collections::HashMap;
use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{Codec, Kind, TrackInfo};
use redred_sfu::id::{PeerKey, ShardId, StreamKey};
use redred_sfu::sim::{Change, Publishing, Received, Sim, Viewing, Watching};

const HOME: ShardId = ShardId(0);
const AWAY: ShardId = ShardId(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
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

/// What arrived within the last second, by SSRC.
fn lately(sim: &Sim, viewer: PeerKey, kind: Kind) -> Vec<Vec<Received>> {
    let mut lines: HashMap<u32, Vec<Received>> = HashMap::new();
    for packet in sim.received(viewer) {
        if packet.kind == kind && sim.now() - packet.at < seconds(1) {
            lines.entry(packet.ssrc).or_default().push(packet.clone());
        }
    }
    let mut lines: Vec<Vec<Received>> = lines.into_values().collect();
    lines.sort_by_key(|line| line[0].ssrc);
    lines
}

/// Nothing was refused or closed.
fn check_peace(sim: &Sim) {
    let bad = |event: &&Event| matches!(event, Event::Refused { .. } | Event::Closed { .. });
    assert_eq!(sim.events().find(bad), None, "{sim:?}");
}

#[test]
fn a_publisher_restarts_ice_by_patch_and_goes_on_from_another_network() {
    for moves in [false, true] {
        let mut sim = Sim::new(1, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::default());
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(2));
        let ufrag = sim.server_ufrag(publisher).map(str::to_owned);
        if moves {
            sim.rehome(publisher);
        }
        sim.restart_ice(publisher);
        let before = sim.viewing(viewer).frames.len();
        sim.run(seconds(4));
        assert_ne!(sim.server_ufrag(publisher), ufrag.as_deref(), "{sim:?}");
        let viewing = sim.viewing(viewer);
        assert!(
            viewing.frames.len() > before + 100,
            "{sim:?}: moves: {moves}"
        );
        assert!(
            viewing.longest_freeze(sim.now()) < ms(600),
            "{sim:?}: moves: {moves}"
        );
        check_peace(&sim);
    }
}

#[test]
fn a_publisher_restarts_ice_with_an_offer() {
    let mut sim = Sim::new(2, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewer = sim.watch(stream, HOME, Watching::default());
    sim.run(seconds(2));
    let ufrag = sim.server_ufrag(publisher).map(str::to_owned);
    sim.rehome(publisher);
    sim.offer_again(publisher, &[Change::RestartIce]);
    let before = sim.viewing(viewer).frames.len();
    sim.run(seconds(4));
    assert_ne!(sim.server_ufrag(publisher), ufrag.as_deref(), "{sim:?}");
    assert!(sim.viewing(viewer).frames.len() > before + 100, "{sim:?}");
    check_peace(&sim);
}

#[test]
fn a_viewer_restarts_ice_by_patch_and_goes_on_from_another_network() {
    for shard in [HOME, AWAY] {
        let mut sim = Sim::new(3, 2);
        let stream = sim.open();
        sim.publish(stream, Publishing::default());
        let watching = Watching {
            offers: true,
            ..Watching::default()
        };
        sim.run(seconds(1));
        let viewer = sim.watch(stream, shard, watching);
        sim.run(seconds(2));
        sim.rehome(viewer);
        sim.restart_ice(viewer);
        let before = sim.viewing(viewer).frames.len();
        sim.run(seconds(4));
        let viewing = sim.viewing(viewer);
        assert!(viewing.frames.len() > before + 90, "{sim:?}");
        let late = viewing
            .frames
            .iter()
            .filter(|frame| sim.now() - frame.at < seconds(1));
        assert!(late.count() >= 29, "{sim:?}");
        check_peace(&sim);
    }
}

#[test]
fn the_sound_of_a_screen_comes_and_goes_beside_that_of_the_microphone() {
    for shard in [HOME, AWAY] {
        let mut sim = Sim::new(4, 2);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::default());
        let viewer = sim.watch(stream, shard, Watching::default());
        sim.run(seconds(2));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (1, 2),
            "{sim:?}"
        );

        sim.offer_again(publisher, &[Change::Add(Kind::Audio)]);
        sim.run(seconds(2));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (2, 3),
            "{sim:?}"
        );
        let sounds = lately(&sim, viewer, Kind::Audio);
        assert_eq!(sounds.len(), 2, "{sim:?}");
        assert!(sounds.iter().all(|line| line.len() >= 45), "{sim:?}");

        // The microphone goes, the screen stays, on whatever line; nobody is offered anything for that.
        sim.offer_again(publisher, &[Change::Remove(Kind::Audio)]);
        sim.run(seconds(2));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (2, 2),
            "{sim:?}"
        );
        let sounds = lately(&sim, viewer, Kind::Audio);
        assert_eq!(sounds.len(), 1, "{sim:?}");
        assert!(sounds[0].len() >= 45, "{sim:?}");

        // One more finds the line that is free.
        sim.offer_again(publisher, &[Change::Add(Kind::Audio)]);
        sim.run(seconds(2));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (2, 3),
            "{sim:?}"
        );
        assert_eq!(lately(&sim, viewer, Kind::Audio).len(), 2, "{sim:?}");
        let viewing = sim.viewing(viewer);
        assert_eq!(
            (viewing.broken, viewing.missing),
            (0, 0),
            "{sim:?}: the pictures"
        );
        assert!(viewing.longest_freeze(sim.now()) < ms(100), "{sim:?}");
        check_peace(&sim);
    }
}

#[test]
fn a_second_picture_is_offered_and_seen_beside_the_first() {
    for shard in [HOME, AWAY] {
        let mut sim = Sim::new(5, 2);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::default());
        let viewer = sim.watch(stream, shard, Watching::default());
        sim.run(seconds(2));
        sim.offer_again(publisher, &[Change::Add(Kind::Video)]);
        sim.run(seconds(2));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (2, 3),
            "{sim:?}"
        );
        // A viewer who comes now is offered both at once.
        let later = sim.watch(stream, shard, Watching::default());
        sim.run(seconds(2));
        assert_eq!(offers(&sim, later), 1, "{sim:?}");
        for viewer in [viewer, later] {
            let pictures = lately(&sim, viewer, Kind::Video);
            let mut layers: Vec<u8> = Vec::new();
            for line in &pictures {
                let viewing = Viewing::of(line);
                assert_eq!(viewing.missing, 0, "{sim:?}");
                assert!(viewing.broken > 20 || viewing.frames.len() > 20, "{sim:?}");
                layers.extend(lately_shown(&sim, viewer, line[0].ssrc));
            }
            layers.sort_unstable();
            assert_eq!(layers, [0, 3], "{sim:?}: one line each");
        }
        sim.offer_again(publisher, &[Change::Remove(Kind::Video)]);
        sim.run(seconds(3));
        assert_eq!(tracks(&sim, stream).len(), 2, "{sim:?}");
        assert_eq!(lately(&sim, viewer, Kind::Video).len(), 1, "{sim:?}");
        assert_eq!(
            lately_shown(&sim, viewer, first_line(&sim, viewer)),
            [3],
            "{sim:?}"
        );
        check_peace(&sim);
    }
}

#[test]
fn a_picture_that_replaces_another_in_one_offer_is_seen_on_the_same_line() {
    for (seed, codec) in (10..).zip([Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1]) {
        let mut sim = Sim::new(seed, 1);
        let stream = sim.open();
        let publisher = sim.publish(stream, Publishing::of(codec));
        let viewer = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(2));
        let changes = [Change::Remove(Kind::Video), Change::Add(Kind::Video)];
        sim.offer_again(publisher, &changes);
        sim.run(seconds(3));
        assert_eq!(
            (offers(&sim, viewer), tracks(&sim, stream).len()),
            (1, 2),
            "{sim:?}"
        );
        let viewing = sim.viewing(viewer);
        assert_eq!(viewing.layers(), [0, 3], "{sim:?}: {codec:?}");
        assert_eq!(
            (viewing.broken, viewing.missing),
            (0, 0),
            "{sim:?}: {codec:?}"
        );
        assert!(
            viewing.longest_freeze(sim.now()) < ms(200),
            "{sim:?}: {codec:?}"
        );
        check_peace(&sim);
    }
}

/// The SSRC of the line on which pictures arrive now.
fn first_line(sim: &Sim, viewer: PeerKey) -> u32 {
    lately(sim, viewer, Kind::Video)[0][0].ssrc
}

/// The layers that were shown on a line within the last second.
fn lately_shown(sim: &Sim, viewer: PeerKey, ssrc: u32) -> Vec<u8> {
    let packets = sim
        .received(viewer)
        .iter()
        .filter(|packet| packet.ssrc == ssrc);
    let packets: Vec<Received> = packets.cloned().collect();
    let mut viewing = Viewing::of(&packets);
    assert_eq!(viewing.missing, 0, "{sim:?}");
    viewing
        .frames
        .retain(|frame| sim.now() - frame.at < seconds(1));
    assert!(
        viewing.frames.len() > 25,
        "{sim:?}: {} pictures",
        viewing.frames.len()
    );
    viewing.layers()
}
