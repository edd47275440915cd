//! What a run does, read from a TOML file: who comes, what they do, for how long, and what must hold.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::media::impair::Impairment;
use crate::media::plan::Streams;

/// A run. Every part that is left out does not take place.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Shown in reports.
    pub name: String,
    /// Decides every random choice of the run: who writes when, how arrivals spread.
    #[serde(default)]
    pub seed: u64,
    /// Over how long the sessions arrive.
    #[serde(with = "humantime_serde", default = "five_seconds")]
    pub ramp: Duration,
    /// How long the load lasts once all are there.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// Viewers of one live stream who comment.
    pub audience: Option<Audience>,
    /// Members of chat rooms who write to each other.
    pub rooms: Option<Rooms>,
    /// Sessions that do nothing but stay.
    pub idle: Option<Idle>,
    /// Live streams over WHIP and their viewers over WHEP.
    pub streams: Option<Streams>,
    /// What is wrong with the network of those viewers.
    pub impairment: Option<Impairment>,
    /// Connections that break while the load goes on.
    pub storm: Option<Storm>,
    /// What must hold; each that does not fails the run.
    #[serde(default)]
    pub thresholds: Thresholds,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

/// Viewers of one live stream.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// The stream, 1 to 64 of `A-Za-z0-9_.-`.
    pub stream: String,
    /// How many sessions subscribe.
    pub sessions: usize,
    /// Comments a second, of all of them together.
    pub comments_per_second: f64,
    /// Characters of a comment.
    #[serde(default = "comment_characters")]
    pub characters: usize,
    /// How many of them read nothing at all.
    #[serde(default)]
    pub slow_readers: usize,
}

fn comment_characters() -> usize {
    60
}

/// Chat rooms, each of a group of its own.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rooms {
    /// How many rooms.
    pub rooms: usize,
    /// Members of each, all connected and subscribed.
    pub members: usize,
    /// Messages a second, in all rooms together.
    pub messages_per_second: f64,
    /// Characters of a message.
    #[serde(default = "comment_characters")]
    pub characters: usize,
    /// Messages that one writer has open at a time; a writer waits for the acknowledgement when it has that many.
    #[serde(default = "one")]
    pub open_per_writer: usize,
}

fn one() -> usize {
    1
}

/// Sessions that do nothing but stay.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Idle {
    /// How many.
    pub sessions: usize,
}

/// Connections that break, all in one moment, and come back as the SDK does: after a random part of a growing delay.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// When, counted from the beginning of the load.
    #[serde(with = "humantime_serde")]
    pub at: Duration,
    /// Which part of all sessions, 0 to 1.
    pub share: f64,
    /// The first delay; a session comes back after a random part of it.
    #[serde(with = "humantime_serde")]
    pub first_delay: Duration,
}

/// What must hold.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// Sessions that could not connect, at most.
    pub failed_sessions: Option<u64>,
    /// Acknowledged messages that a session should have got and did not, at most.
    pub lost: Option<u64>,
    /// Messages that a session got twice, at most.
    pub duplicated: Option<u64>,
    /// Messages that came before one with a smaller position, at most.
    pub out_of_order: Option<u64>,
    /// 99th percentile from sending to the arrival at other sessions, milliseconds.
    pub delivery_p99_ms: Option<f64>,
    /// 99th percentile from sending to the acknowledgement, milliseconds.
    pub ack_p99_ms: Option<f64>,
    /// Acknowledged messages a second, at least.
    pub acked_per_second: Option<f64>,
    /// Deliveries a second, at least.
    pub delivered_per_second: Option<f64>,
    /// Resident memory of the server for each session, KiB; needs `--server-pid`.
    pub server_kib_per_session: Option<f64>,
    /// From the storm until the last session is back, milliseconds.
    pub recovered_ms: Option<f64>,
    /// Publishers and viewers that did not get as far as a keyframe, at most.
    pub failed_joins: Option<u64>,
    /// Packets that a viewer should have got and did not, after repair, at most.
    pub media_lost: Option<u64>,
    /// The same in percent of all that viewers should have got.
    pub media_lost_percent: Option<f64>,
    /// Gaps of more than 200 ms between whole pictures, at all viewers together, at most.
    pub freezes: Option<u64>,
    /// 95th percentile from the beginning of a viewer's join to its first whole keyframe, milliseconds.
    pub first_keyframe_p95_ms: Option<f64>,
    /// 99th percentile of a packet's time from publisher to viewer, milliseconds.
    pub latency_p99_ms: Option<f64>,
}

impl Scenario {
    /// Reads a scenario, and puts other values where `settings` say, each `path.to.key=value`.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value makes no sense; the text names it.
    pub fn load(path: &Path, settings: &[String]) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse_with(&text, settings).with_context(|| format!("in {}", path.display()))
    }

    /// Reads a scenario from its text.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Self::parse_with(text, &[])
    }

    fn parse_with(text: &str, settings: &[String]) -> anyhow::Result<Self> {
        let mut table: toml::Table = toml::from_str(text)?;
        for setting in settings {
            set(&mut table, setting)?;
        }
        let scenario: Self = table.try_into()?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> anyhow::Result<()> {
        let positive = |value: f64, key: &str| {
            anyhow::ensure!(
                value.is_finite() && (0.0..=1e6).contains(&value),
                "{key}: expected 0 to 1000000"
            );
            Ok(())
        };
        anyhow::ensure!(
            self.sessions() > 0 || self.streams.is_some(),
            "expected [audience], [rooms], [idle] or [streams]"
        );
        if let Some(streams) = &self.streams {
            streams.check()?;
        }
        if let Some(impairment) = &self.impairment {
            impairment.check()?;
            anyhow::ensure!(
                self.streams.is_some(),
                "impairment: expected [streams] that it happens to"
            );
        }
        if let Some(audience) = &self.audience {
            positive(audience.comments_per_second, "audience.comments_per_second")?;
            anyhow::ensure!(
                (40..=500).contains(&audience.characters),
                "audience.characters: expected 40 to 500"
            );
            anyhow::ensure!(
                audience.slow_readers < audience.sessions.max(1),
                "audience.slow_readers: expected fewer than audience.sessions"
            );
        }
        if let Some(rooms) = &self.rooms {
            positive(rooms.messages_per_second, "rooms.messages_per_second")?;
            anyhow::ensure!(
                (40..=4000).contains(&rooms.characters),
                "rooms.characters: expected 40 to 4000"
            );
            anyhow::ensure!(
                rooms.rooms > 0 && rooms.members > 1 && rooms.open_per_writer > 0,
                "rooms: expected a room, two members and one open message at least"
            );
        }
        if let Some(storm) = &self.storm {
            anyhow::ensure!(
                (0.0..=1.0).contains(&storm.share),
                "storm.share: expected 0 to 1"
            );
            anyhow::ensure!(
                storm.at < self.duration,
                "storm.at: expected a moment before the load ends"
            );
        }
        Ok(())
    }

    /// How many sessions there are in all.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.audience
            .as_ref()
            .map_or(0, |audience| audience.sessions)
            + self
                .rooms
                .as_ref()
                .map_or(0, |rooms| rooms.rooms * rooms.members)
            + self.idle.as_ref().map_or(0, |idle| idle.sessions)
    }
}

/// Puts one `path.to.key=value` into a table. A value that is none in TOML is a text.
fn set(table: &mut toml::Table, setting: &str) -> anyhow::Result<()> {
    let wrong = || format!("--set {setting}: expected PATH=VALUE, the path through tables");
    let (path, value) = setting.split_once('=').with_context(wrong)?;
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"));
    let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
    let value = parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.split('.').collect();
    let last = keys
        .pop()
        .filter(|key| !key.is_empty())
        .with_context(wrong)?;
    let mut table = table;
    for key in keys {
        let inner = table
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()));
        table = inner.as_table_mut().with_context(wrong)?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_of_the_repository_can_be_read() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut read = 0;
        for entry in std::fs::read_dir(directory).expect("the folder of scenarios") {
            let path = entry.expect("an entry").path();
            Scenario::load(&path, &[]).unwrap_or_else(|error| panic!("{error:#}"));
            read += 1;
        }
        assert!(read > 0);
    }

    #[test]
    fn settings_take_the_place_of_what_the_file_says() {
        let text = "name = 'x'\nduration = '1s'\nstreams = { viewers = 1 }";
        let settings = [
            "streams.viewers=50",
            "duration=3s",
            "thresholds.media_lost=2",
        ];
        let settings = settings.map(str::to_owned);
        let scenario = Scenario::parse_with(text, &settings).expect("a scenario");
        assert_eq!(scenario.streams.expect("streams").viewers, 50);
        assert_eq!(scenario.duration, Duration::from_secs(3));
        assert_eq!(scenario.thresholds.media_lost, Some(2));
        for wrong in ["streams", "name.x=1", "streams.viewer=1", "=1"] {
            let result = Scenario::parse_with(text, &[wrong.to_owned()]);
            assert!(result.is_err(), "{wrong}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (text, named) in [
            ("name = 'x'\nduration = '1s'", "audience"),
            (
                "name = 'x'\nduration = '1s'\nidle = { sessions = 1 }\nsped = 2",
                "sped",
            ),
            (
                "name = 'x'\nduration = '1s'\nidle = { sessions = 1 }\n\
                 storm = { at = '2s', share = 0.5, first_delay = '1s' }",
                "storm.at",
            ),
            (
                "name = 'x'\nduration = '1s'\nstreams = { viewers = 1, fps = 0 }",
                "streams.fps",
            ),
            (
                "name = 'x'\nduration = '1s'\nstreams = { viewers = 1 }\n\
                 impairment = { loss = 1.5 }",
                "impairment.loss",
            ),
            (
                "name = 'x'\nduration = '1s'\nidle = { sessions = 1 }\n\
                 impairment = { loss = 0.1 }",
                "impairment",
            ),
            (
                "name = 'x'\nduration = '1s'\n\
                 audience = { stream = 'a', sessions = 2, comments_per_second = -1 }",
                "audience.comments_per_second",
            ),
        ] {
            let error = format!("{:#}", Scenario::parse(text).expect_err(text));
            assert!(error.contains(named), "{error}");
        }
    }
}
