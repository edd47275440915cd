//! What the media half of a scenario asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where pictures and sound come from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Made up, in the sizes asked for; nothing in them could be decoded.
    #[default]
    Synthetic,
    /// Encoded ones, replayed bit for bit.
    Samples,
}

/// What pictures are encoded with.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// RFC 6386, in RTP as RFC 7741 has it.
    #[default]
    Vp8,
    /// In RTP as RFC 6184 has it, packetization mode 1.
    H264,
}

/// Live streams and their viewers.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// How many streams, each of a publisher of its own.
    #[serde(default = "one")]
    pub streams: usize,
    /// Viewers of each.
    pub viewers: usize,
    /// Where their pictures and sound come from.
    #[serde(default)]
    pub media: Source,
    /// What the pictures are encoded with.
    #[serde(default)]
    pub codec: VideoCodec,
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

impl Default for Streams {
    /// One stream that nobody watches, with what a scenario has that says nothing else.
    fn default() -> Self {
        Self {
            streams: one(),
            viewers: 0,
            media: Source::default(),
            codec: VideoCodec::default(),
            bitrate_kbps: bitrate_kbps(),
            fps: fps(),
            keyframe_interval: Duration::ZERO,
            audio: yes(),
        }
    }
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
        if self.media == Source::Samples {
            // They have their own, so another value would do nothing.
            let default = Self::default();
            for (key, is_default) in [
                ("bitrate_kbps", self.bitrate_kbps == default.bitrate_kbps),
                ("fps", self.fps == default.fps),
                ("keyframe_interval", self.keyframe_interval.is_zero()),
            ] {
                anyhow::ensure!(is_default, "streams.{key}: samples have their own");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_samples_would_ignore_is_refused() {
        let streams = |text: &str| {
            let streams: Streams = toml::from_str(text).expect("streams");
            streams.check().map_err(|error| error.to_string())
        };
        assert_eq!(
            streams("viewers = 1\nmedia = 'samples'\ncodec = 'h264'"),
            Ok(())
        );
        for key in ["bitrate_kbps = 500", "fps = 15", "keyframe_interval = '2s'"] {
            let error = streams(&format!("viewers = 1\nmedia = 'samples'\n{key}"));
            let name = key.split(' ').next().expect("a name");
            assert!(error.expect_err(key).contains(name));
            assert_eq!(streams(&format!("viewers = 1\n{key}")), Ok(()));
        }
    }
}
