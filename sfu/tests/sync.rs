//! Whether sound and pictures of one moment reach a viewer as of one moment.

use std::time::{Duration, UNIX_EPOCH};

use redred_sfu::event::{Codec, Kind, Quality, Selection};
use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{NetemConfig, Publishing, Sim, Watching};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How much older pictures are than sound when they arrive, in milliseconds, as sender reports tell: the mean over the
/// last three seconds.
fn pictures_behind_sound(sim: &Sim, viewer: PeerKey) -> f64 {
    let mean_age = |kind: Kind| {
        let lately = sim
            .received(viewer)
            .iter()
            .filter(|packet| packet.kind == kind && sim.now() - packet.at < seconds(3));
        let ages: Vec<f64> = lately
            .filter_map(|packet| {
                let captured = packet.captured?.duration_since(UNIX_EPOCH).ok()?;
                // Seconds since any zero that is the same for both kinds.
                let arrived = sim.elapsed() - (sim.now() - packet.at);
                Some(arrived.as_secs_f64() - captured.as_secs_f64())
            })
            .collect();
        assert!(
            ages.len() > 80,
            "{sim:?}: {} {kind:?} with reports",
            ages.len()
        );
        ages.iter().sum::<f64>() / ages.len() as f64
    };
    (mean_age(Kind::Video) - mean_age(Kind::Audio)) * 1e3
}

#[test]
fn viewers_are_told_when_pictures_were_captured_and_not_when_they_arrived() {
    for shard in [0, 1] {
        let mut sim = Sim::new(1, 2);
        let stream = sim.open();
        let publishing = Publishing {
            encoding: Duration::from_millis(80),
            ..Publishing::simulcast(Codec::Vp8)
        };
        let publisher = sim.publish(stream, publishing.clone());
        let viewer = sim.watch(stream, ShardId(shard), Watching::default());
        // Sound is reported on every five seconds.
        sim.run(seconds(14));
        let behind = pictures_behind_sound(&sim, viewer);
        assert!((77.0..83.0).contains(&behind), "{sim:?}: {behind} ms");

        // So it stays in another layer, on a network that holds packets up, and with another publisher.
        let selection = Selection {
            quality: Quality::Low,
            audio_only: false,
        };
        sim.select(viewer, selection);
        let link = NetemConfig::new()
            .latency(Duration::from_millis(20))
            .jitter(Duration::from_millis(10));
        sim.link(publisher, link, link);
        sim.run(seconds(30));
        let behind = pictures_behind_sound(&sim, viewer);
        assert!((75.0..85.0).contains(&behind), "{sim:?}: {behind} ms");

        sim.vanish(publisher);
        sim.publish(stream, publishing);
        sim.run(seconds(14));
        let behind = pictures_behind_sound(&sim, viewer);
        assert!((77.0..83.0).contains(&behind), "{sim:?}: {behind} ms");
    }
}
