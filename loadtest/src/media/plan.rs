//! What the media half of a scenario asks for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most layers that a stream can have.
pub const LAYERS_MAX: usize = 3;

/// What the layers are called, lowest first, when there are three.
const RIDS: [&str; LAYERS_MAX] = ["q", "h", "f"];

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
    /// Bits of the video a second, in thousands; with layers, of the top one.
    #[serde(default = "bitrate_kbps")]
    pub bitrate_kbps: u32,
    /// Pictures a second.
    #[serde(default = "fps")]
    pub fps: u32,
    /// From one keyframe to the next that nobody asked for; zero for none.
    #[serde(with = "humantime_serde", default)]
    pub keyframe_interval: Duration,
    /// How many encodings of the pictures are sent at once (simulcast), 1 to 3. Each has half the width and height of the next.
    #[serde(default = "one_layer")]
    pub layers: u8,
    /// The top layer is sent for so long, then not for so long, and so on; zero for always.
    #[serde(with = "humantime_serde", default)]
    pub layer_pause: Duration,
    /// Whether there are 50 packets of sound a second too.
    #[serde(default = "yes")]
    pub audio: bool,
}

fn one() -> usize {
    1
}

fn one_layer() -> u8 {
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
            layers: one_layer(),
            layer_pause: Duration::ZERO,
            audio: yes(),
        }
    }
}

impl Streams {
    /// What the layers are called, lowest first; none where there is only one.
    #[must_use]
    pub fn rids(&self) -> &'static [&'static str] {
        match self.layers {
            0 | 1 => &[],
            layers => &RIDS[LAYERS_MAX.saturating_sub(layers.into())..],
        }
    }

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
        anyhow::ensure!(
            (1..=LAYERS_MAX).contains(&usize::from(self.layers)),
            "streams.layers: expected 1 to {LAYERS_MAX}"
        );
        anyhow::ensure!(
            self.layer_pause.is_zero() || self.layers > 1,
            "streams.layer_pause: expected more than one layer"
        );
        if self.media == Source::Samples {
            // They have their own, so another value would do nothing.
            let default = Self::default();
            for (key, is_default) in [
                ("bitrate_kbps", self.bitrate_kbps == default.bitrate_kbps),
                ("fps", self.fps == default.fps),
                ("keyframe_interval", self.keyframe_interval.is_zero()),
                ("layers", self.layers == default.layers),
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
        for key in [
            "bitrate_kbps = 500",
            "fps = 15",
            "keyframe_interval = '2s'",
            "layers = 2",
        ] {
            let error = streams(&format!("viewers = 1\nmedia = 'samples'\n{key}"));
            let name = key.split(' ').next().expect("a name");
            assert!(error.expect_err(key).contains(name));
            assert_eq!(streams(&format!("viewers = 1\n{key}")), Ok(()));
        }
    }

    #[test]
    fn layers_are_one_to_three_and_only_the_top_of_several_pauses() {
        let check = |text: &str| {
            let streams: Streams = toml::from_str(text).expect("streams");
            streams.check().map_err(|error| error.to_string())
        };
        for layers in [0, 4] {
            let error = check(&format!("viewers = 1\nlayers = {layers}"));
            assert!(error.expect_err("layers").contains("streams.layers"));
        }
        let error = check("viewers = 1\nlayer_pause = '1s'").expect_err("one layer");
        assert!(error.contains("layer_pause"), "{error}");
        assert_eq!(check("viewers = 1\nlayers = 3\nlayer_pause = '1s'"), Ok(()));
        let rids = |layers| {
            Streams {
                layers,
                ..Streams::default()
            }
            .rids()
        };
        assert_eq!(
            (rids(1), rids(2), rids(3)),
            (&[][..], &["h", "f"][..], &["q", "h", "f"][..])
        );
    }
}
