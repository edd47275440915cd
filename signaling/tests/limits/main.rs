//! Every limit of sessions, channels, live streams and their comments is reached, what happens there is what
//! `config.rs` says, and it is counted.

mod channel;
mod comments;
mod live;
mod session;

use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{Config, SessionId};
use serde_json::Value;

const LIVE: &str = "live:ana";

/// A world with one limit changed.
fn world(limit: impl FnOnce(&mut Config)) -> World {
    let mut config = Config::default();
    limit(&mut config);
    World::new(config)
}

/// The same, with the streamer of `ana` and a viewer subscribed.
fn room(limit: impl FnOnce(&mut Config)) -> (World, SessionId, SessionId) {
    let mut world = world(limit);
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.take(ana);
    world.take(bo);
    (world, ana, bo)
}

/// The code of a refused request, `ack` of one that was carried out.
fn outcome(answer: &Value) -> &str {
    answer["data"]["code"].as_str().unwrap_or("ack")
}
