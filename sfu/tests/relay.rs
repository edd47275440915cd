//! Viewers on another shard than the publisher's. That they see the same pictures is in `forward.rs`.

use std::time::Duration;

use redred_sfu::event::Command;
use redred_sfu::id::ShardId;
use redred_sfu::sim::{Publishing, Sim, Watching};

const HOME: ShardId = ShardId(0);
const AWAY: ShardId = ShardId(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_follower_is_fed_once_however_many_watch_there() {
    let mut sim = Sim::new(1, 2);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    for _ in 0..4 {
        sim.watch(stream, AWAY, Watching::default());
    }
    sim.run(seconds(4));
    let (home, away) = (sim.stats(HOME), sim.stats(AWAY));
    assert_eq!(home.relay_bytes.sent, away.relay_bytes.received, "{sim:?}");
    let forwarded = away.bytes_forwarded.audio + away.bytes_forwarded.video;
    assert!(forwarded > 3 * away.relay_bytes.received, "{sim:?}");
    assert_eq!(
        home.packets_forwarded.video, 0,
        "{sim:?}: nobody watches at home"
    );
}

#[test]
fn nothing_is_sent_to_a_shard_where_nobody_watches_any_more() {
    let mut sim = Sim::new(2, 2);
    let stream = sim.open();
    sim.publish(stream, Publishing::default());
    sim.run(seconds(1));
    assert_eq!(sim.stats(HOME).relay_bytes.sent, 0, "{sim:?}");
    let viewer = sim.watch(stream, AWAY, Watching::default());
    sim.run(seconds(2));
    let sent = sim.stats(HOME).relay_bytes.sent;
    assert!(sent > 0, "{sim:?}");
    sim.command(AWAY, Command::Close { peer: viewer });
    sim.run(seconds(2));
    let after = sim.stats(HOME).relay_bytes.sent;
    assert_eq!(after, sent, "{sim:?}");
    // And it can be taken up again.
    let viewer = sim.watch(stream, AWAY, Watching::default());
    sim.run(seconds(3));
    assert!(sim.viewing(viewer).frames.len() > 50, "{sim:?}");
}

#[test]
fn viewers_of_all_shards_who_join_at_once_cost_one_keyframe() {
    let mut sim = Sim::new(3, 3);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    sim.run(seconds(3));
    let before = sim.keyframe_requests(publisher).len();
    let viewers: Vec<_> = (0..6)
        .map(|n| sim.watch(stream, ShardId(n % 3), Watching::default()))
        .collect();
    sim.run(seconds(3));
    for viewer in viewers {
        assert!(sim.viewing(viewer).frames.len() > 40, "{sim:?}");
    }
    let requests = sim.keyframe_requests(publisher).len() - before;
    assert!((1..=2).contains(&requests), "{sim:?}: {requests} requests");
}
