//! What the media half of a scenario asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Live streams with synthetic media, and their viewers.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// How many streams, each of a publisher of its own.
    #[serde(default = "one")]
    pub streams: usize,
    /// Viewers of each.
    pub viewers: usize,
    /// Bits of the video a second, in thousands.
    #[serde(default = "bitrate_kbps")]
    pub bitrate_kbps: u32,
    /// Pictures a second.
    #[serde(default = "fps")]
    pub fps: u32,
    /// From one keyframe to the next that nobody asked for; zero for none.
    #[serde(with = "humantime_serde", default)]
    pub keyframe_interval: Duration,
    /// Whether there are 50 packets of sound a second too.
    #[serde(default = "yes")]
    pub audio: bool,
}

fn one() -> usize {
    1
}

fn bitrate_kbps() -> u32 {
    1_500
}

fn fps() -> u32 {
    30
}

fn yes() -> bool {
    true
}

impl Streams {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// The text names the key.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            (1..=10_000).contains(&self.streams),
            "streams.streams: expected 1 to 10000"
        );
        anyhow::ensure!(
            self.viewers <= 100_000,
            "streams.viewers: expected at most 100000"
        );
        anyhow::ensure!(
            (1..=120).contains(&self.fps),
            "streams.fps: expected 1 to 120"
        );
        anyhow::ensure!(
            (16..=50_000).contains(&self.bitrate_kbps),
            "streams.bitrate_kbps: expected 16 to 50000"
        );
        Ok(())
    }
}
