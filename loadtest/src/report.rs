//! What a run found: a table for people, JSON for programs, and the verdict.

pub mod document;
mod metrics;

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use self::document::{Bound, Check, Counts, Distribution, Document, FORMAT};
use crate::measure::Recorder;
use crate::media::summary::Media;
use crate::scenario::Thresholds;
use crate::series::Series;

/// A generator whose timers are later than this in one of a hundred cases measures itself.
const LAG_MAX: Duration = Duration::from_millis(50);

/// Part of a core that a generator thread may use before it is called the bottleneck.
const CPU_SHARE_MAX: f64 = 0.9;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario's.
    pub name: String,
    /// The scenario's.
    pub seed: u64,
    /// When the run began.
    pub started: SystemTime,
    /// Sessions of the scenario.
    pub sessions: usize,
    /// Of these, there when the load began.
    pub arrived: usize,
    /// How long they took to arrive.
    pub arrival: Duration,
    /// How long the load lasted.
    pub load: Duration,
    /// All that was counted.
    pub recorder: Recorder,
    /// The media of the scenario's streams.
    pub media: Option<Media>,
    /// The run by second.
    pub series: Series,
    /// From the storm until the last session was back; none when some never were.
    pub recovered_after: Option<Duration>,
    /// Whether there was a storm.
    pub had_storm: bool,
    /// The server, when it runs on this machine.
    pub server: Option<Server>,
    /// The generator itself.
    pub generator: Generator,
    /// What had to hold.
    pub thresholds: Thresholds,
}

/// What the server used.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Resident memory before anybody came.
    pub resident_before: u64,
    /// When all were there and nothing happened.
    pub resident_idle: u64,
    /// At the end of the load.
    pub resident_loaded: u64,
    /// CPU time while sessions arrived.
    pub cpu_arrival: Duration,
    /// CPU time of the load.
    pub cpu_load: Duration,
    /// Threads.
    pub threads: u64,
}

/// What the generator used.
#[derive(Clone, Copy, Debug)]
pub struct Generator {
    /// Its threads.
    pub threads: usize,
    /// CPU time during the load.
    pub cpu: Duration,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::EPSILON)
}

impl Report {
    /// Acknowledged messages a second.
    #[must_use]
    pub fn acked_per_second(&self) -> f64 {
        rate(self.recorder.acked, self.load)
    }

    /// Deliveries a second.
    #[must_use]
    pub fn delivered_per_second(&self) -> f64 {
        rate(self.recorder.delivered, self.load)
    }

    /// Resident memory of the server for each session that came, KiB.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn server_kib_per_session(&self) -> Option<f64> {
        let server = self.server?;
        let grown = server.resident_idle.saturating_sub(server.resident_before);
        Some(grown as f64 / 1024.0 / self.arrived.max(1) as f64)
    }

    /// Why the generator's own figures cannot be trusted; none when they can.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn bottleneck(&self) -> Option<String> {
        let lag = Duration::from_micros(self.recorder.lag.value_at_quantile(0.99));
        let share = self.generator.cpu.as_secs_f64()
            / self.load.as_secs_f64().max(f64::EPSILON)
            / self.generator.threads.max(1) as f64;
        if lag > LAG_MAX {
            return Some(format!("its timers were {} ms late (p99)", lag.as_millis()));
        }
        (share > CPU_SHARE_MAX)
            .then(|| format!("its threads were busy {:.0} % of the time", share * 100.0))
    }

    /// Every threshold of the scenario, and what was found.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub fn checks(&self) -> Vec<Check> {
        let (limits, found) = (&self.thresholds, &self.recorder);
        let missing = self.sessions.saturating_sub(self.arrived) as u64;
        let count = |value: u64| Some(value as f64);
        let limit = |value: Option<u64>| value.map(|value| value as f64);
        let timed =
            |histogram: &Histogram<u64>| (!histogram.is_empty()).then(|| ms(histogram, 0.99));
        let recovered = self.recovered_after.map(|time| time.as_secs_f64() * 1000.0);
        let (most, least) = (Bound::AtMost, Bound::AtLeast);
        let all = [
            (
                "failed_sessions",
                most,
                limit(limits.failed_sessions),
                count(missing),
            ),
            ("lost", most, limit(limits.lost), count(found.lost)),
            (
                "duplicated",
                most,
                limit(limits.duplicated),
                count(found.duplicated),
            ),
            (
                "out_of_order",
                most,
                limit(limits.out_of_order),
                count(found.out_of_order),
            ),
            (
                "delivery_p99_ms",
                most,
                limits.delivery_p99_ms,
                timed(&found.delivery),
            ),
            ("ack_p99_ms", most, limits.ack_p99_ms, timed(&found.ack)),
            (
                "server_kib_per_session",
                most,
                limits.server_kib_per_session,
                self.server_kib_per_session(),
            ),
            ("recovered_ms", most, limits.recovered_ms, recovered),
            (
                "acked_per_second",
                least,
                limits.acked_per_second,
                Some(self.acked_per_second()),
            ),
            (
                "delivered_per_second",
                least,
                limits.delivered_per_second,
                Some(self.delivered_per_second()),
            ),
        ];
        let mut media = self.media.as_ref().map_or_else(
            || Media::default().checks(limits),
            |media| media.checks(limits),
        );
        if self.media.is_none() {
            media.iter_mut().for_each(|check| check.value = None);
        }
        all.into_iter()
            .filter_map(|(name, bound, limit, value)| {
                Some(Check {
                    name: name.to_owned(),
                    bound,
                    limit: limit?,
                    value,
                })
            })
            .chain(media)
            .collect()
    }

    /// Every threshold that does not hold, in words; empty when the run passed.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let checks = self.checks();
        let failed = checks.iter().filter(|check| !check.holds());
        failed.map(Check::words).collect()
    }

    /// The report as it is written to a file and drawn.
    #[must_use]
    pub fn document(&self) -> Document {
        let found = &self.recorder;
        let counts = |name: &str, by: Vec<(String, u64)>| Counts {
            name: name.to_owned(),
            by,
        };
        let text = |map: &std::collections::BTreeMap<String, u64>| {
            map.iter()
                .map(|(reason, count)| (reason.clone(), *count))
                .collect()
        };
        let closed = found.closed.iter();
        let mut kinds = vec![
            counts("failed", text(&found.failed)),
            counts("refused", text(&found.refused)),
            counts(
                "closed",
                closed
                    .map(|(code, count)| (code.to_string(), *count))
                    .collect(),
            ),
        ];
        let times = self.times().into_iter();
        let mut distributions: Vec<Distribution> = times
            .filter(|(_, _, histogram)| !histogram.is_empty())
            .map(|(name, label, histogram)| Distribution::of_us(name, label, histogram))
            .collect();
        if let Some(media) = &self.media {
            kinds.push(media.counts());
            distributions.extend(media.distributions());
        }
        Document {
            format: FORMAT,
            generator: concat!("redred-loadtest ", env!("CARGO_PKG_VERSION")).to_owned(),
            started: humantime::format_rfc3339_seconds(self.started).to_string(),
            name: self.name.clone(),
            seed: self.seed,
            passed: self.violations().is_empty(),
            bottleneck: self.bottleneck(),
            checks: self.checks(),
            metrics: self.metrics(),
            counts: kinds,
            distributions,
            series: self.series.clone(),
        }
    }

    /// The report for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let found = &self.recorder;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<14}{value}");
        };
        if self.sessions > 0 {
            line(
                "sessions",
                format!(
                    "{} of {} in {:.1} s",
                    self.arrived,
                    self.sessions,
                    self.arrival.as_secs_f64()
                ),
            );
            for (name, histogram) in [
                ("connect", &found.connect),
                ("ack", &found.ack),
                ("delivery", &found.delivery),
                ("back", &found.back),
            ] {
                if !histogram.is_empty() {
                    line(
                        name,
                        format!(
                            "p50 {:.1}  p90 {:.1}  p99 {:.1}  max {:.1} ms",
                            ms(histogram, 0.5),
                            ms(histogram, 0.9),
                            ms(histogram, 0.99),
                            ms(histogram, 1.0)
                        ),
                    );
                }
            }
            line(
                "messages",
                format!(
                    "{} sent, {} acknowledged ({:.0}/s)",
                    found.sent,
                    found.acked,
                    self.acked_per_second()
                ),
            );
            line(
                "deliveries",
                format!(
                    "{} ({:.0}/s), {} lost, {} twice, {} out of order",
                    found.delivered,
                    self.delivered_per_second(),
                    found.lost,
                    found.duplicated,
                    found.out_of_order
                ),
            );
        }
        if self.had_storm {
            let after = self.recovered_after;
            line(
                "storm",
                format!(
                    "{} came back, {} recovered, {} told of a gap; all there after {}",
                    found.reconnected,
                    found.recovered,
                    found.unrecovered,
                    after.map_or("never".to_owned(), |time| format!(
                        "{:.1} s",
                        time.as_secs_f64()
                    ))
                ),
            );
        }
        for (name, counts) in [("failed", &found.failed), ("refused", &found.refused)] {
            if !counts.is_empty() {
                line(name, format!("{counts:?}"));
            }
        }
        if !found.closed.is_empty() {
            line("closed", format!("{:?}", found.closed));
        }
        if let Some(media) = &self.media {
            for (name, value) in media.lines(self.server.as_ref()) {
                line(name, value);
            }
        }
        if let Some(server) = self.server.as_ref().filter(|_| self.sessions > 0) {
            line(
                "server",
                format!(
                    "{:.1} KiB a session, {:.2} s CPU to arrive, {:.2} s in {:.1} s of load, {:.2} µs a delivery",
                    self.server_kib_per_session().unwrap_or_default(),
                    server.cpu_arrival.as_secs_f64(),
                    server.cpu_load.as_secs_f64(),
                    self.load.as_secs_f64(),
                    1e6 / rate(found.delivered.max(1), server.cpu_load)
                ),
            );
        }
        line(
            "generator",
            match self.bottleneck() {
                None => format!(
                    "{:.2} s CPU, not the bottleneck",
                    self.generator.cpu.as_secs_f64()
                ),
                Some(why) => format!("WAS THE BOTTLENECK: {why}"),
            },
        );
        let violations = self.violations();
        line(
            "verdict",
            if violations.is_empty() {
                "passed".to_owned()
            } else {
                format!("FAILED: {}", violations.join("; "))
            },
        );
        text
    }
}

#[cfg(test)]
mod tests;
