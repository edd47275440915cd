//! What a panic inside one peer costs: that peer, and nothing else.

use std::time::Duration;

use redred_sfu::Event;
use redred_sfu::event::{CloseReason, Command, Kind, Quality, Refusal, Selection};
use redred_sfu::id::{PeerKey, ShardId, StreamKey};
use redred_sfu::sim::{Fault, Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How a peer ended, each time it was told.
fn closed(sim: &Sim, peer: PeerKey) -> Vec<CloseReason> {
    let told = sim.events().filter_map(|event| {
        let Event::Closed { peer: key, reason } = event else {
            return None;
        };
        (*key == peer).then_some(*reason)
    });
    told.collect()
}

/// A stream with a publisher and two viewers, the second of which nothing may happen to.
fn world(seed: u64) -> (Sim, StreamKey, [PeerKey; 3]) {
    let mut sim = Sim::new(seed, 1);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    let viewers = [0; 2].map(|_| sim.watch(stream, HOME, Watching::default()));
    sim.run(seconds(2));
    (sim, stream, [publisher, viewers[0], viewers[1]])
}

/// A bystander saw every picture until now.
fn check_unharmed(sim: &Sim, viewer: PeerKey) {
    let viewing = sim.viewing(viewer);
    assert_eq!((viewing.broken, viewing.missing), (0, 0), "{sim:?}");
    let freeze = viewing.longest_freeze(sim.now());
    assert!(freeze < Duration::from_millis(100), "{sim:?}: {freeze:?}");
    assert_eq!(closed(sim, viewer), [], "{sim:?}");
}

#[test]
fn a_fault_in_a_viewer_ends_that_viewer() {
    for (seed, fault) in (1..).zip([Fault::Drive, Fault::Forward, Fault::Assign]) {
        let (mut sim, stream, [publisher, broken, bystander]) = world(seed);
        let held = sim.held(HOME);
        sim.inject_fault(HOME, broken, fault);
        if fault == Fault::Assign {
            let selection = Selection {
                quality: Quality::Low,
                audio_only: false,
            };
            sim.select(broken, selection);
        }
        sim.run(seconds(2));
        assert_eq!(
            closed(&sim, broken),
            [CloseReason::Internal],
            "{sim:?}: {fault:?}"
        );
        assert_eq!(sim.stats(HOME).panics, 1, "{sim:?}");
        assert!(sim.held(HOME) < held, "{sim:?}: it left something behind");
        check_unharmed(&sim, bystander);
        assert_eq!(closed(&sim, publisher), [], "{sim:?}");
        // Whoever comes now is served as ever.
        let next = sim.watch(stream, HOME, Watching::default());
        sim.run(seconds(2));
        assert!(sim.viewing(next).frames.len() > 30, "{sim:?}");
    }
}

#[test]
fn a_fault_in_a_publisher_ends_it_and_viewers_wait_for_the_next_one() {
    for (seed, fault) in (11..).zip([Fault::Drive, Fault::Packet]) {
        let (mut sim, stream, [publisher, viewer, _]) = world(seed);
        sim.inject_fault(HOME, publisher, fault);
        sim.run(seconds(1));
        assert_eq!(
            closed(&sim, publisher),
            [CloseReason::Internal],
            "{sim:?}: {fault:?}"
        );
        assert_eq!(sim.stats(HOME).panics, 1, "{sim:?}");
        assert_eq!(closed(&sim, viewer), [], "{sim:?}");
        let tracks = sim
            .events()
            .filter(|event| matches!(event, Event::Tracks { .. }));
        let is_empty =
            |event: &Event| matches!(event, Event::Tracks { tracks, .. } if tracks.is_empty());
        assert!(
            tracks.last().is_some_and(is_empty),
            "{sim:?}: nobody was told"
        );
        let before = sim.viewing(viewer).frames.len();
        sim.publish(stream, Publishing::default());
        sim.run(seconds(2));
        assert!(sim.viewing(viewer).frames.len() > before + 30, "{sim:?}");
    }
}

#[test]
fn an_offer_that_brings_a_fault_is_refused() {
    let (mut sim, stream, [_, viewer, bystander]) = world(21);
    let held = sim.held(HOME);
    let next = sim.next_key();
    sim.inject_fault(HOME, next, Fault::Offer);
    let offering = Watching {
        offers: true,
        ..Watching::default()
    };
    assert_eq!(sim.watch(stream, HOME, offering), next);
    sim.run(seconds(1));
    let is_refused = |event: &Event| matches!(event, Event::Refused { peer, refusal: Refusal::InvalidSdp(_) } if *peer == next);
    assert!(sim.events().any(is_refused), "{sim:?}");
    assert_eq!(
        (sim.stats(HOME).panics, sim.held(HOME)),
        (1, held),
        "{sim:?}"
    );
    check_unharmed(&sim, viewer);
    check_unharmed(&sim, bystander);
}

#[test]
fn a_fault_in_the_goodbye_is_told_once() {
    let (mut sim, stream, [publisher, viewer, bystander]) = world(31);
    sim.inject_fault(HOME, viewer, Fault::Drive);
    sim.command(HOME, Command::CloseStream { stream });
    assert_eq!(closed(&sim, viewer), [CloseReason::Internal], "{sim:?}");
    for peer in [publisher, bystander] {
        assert_eq!(closed(&sim, peer), [CloseReason::StreamEnded], "{sim:?}");
    }
    assert_eq!(sim.held(HOME), 0, "{sim:?}");
    let sound = sim
        .received(bystander)
        .iter()
        .filter(|p| p.kind == Kind::Audio);
    assert!(sound.count() > 50, "{sim:?}");
}
