//! What a run found: a table for people, JSON for programs, and the verdict.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::measure::Recorder;
use crate::media::summary::Media;
use crate::scenario::Thresholds;

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

    /// Every threshold that does not hold, in words; empty when the run passed.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let (limits, found) = (&self.thresholds, &self.recorder);
        let mut violations = Vec::new();
        let mut at_most = |name: &str, limit: Option<f64>, value: Option<f64>| {
            if let Some(limit) = limit {
                match value {
                    Some(value) if value <= limit => {}
                    Some(value) => {
                        violations.push(format!("{name}: {value:.1}, expected at most {limit}"))
                    }
                    None => {
                        violations.push(format!("{name}: not measured, expected at most {limit}"))
                    }
                }
            }
        };
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let count = |value: u64| Some(value as f64);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let limit = |value: Option<u64>| value.map(|value| value as f64);
        let missing = self.sessions.saturating_sub(self.arrived) as u64;
        let timed =
            |histogram: &Histogram<u64>| (!histogram.is_empty()).then(|| ms(histogram, 0.99));
        at_most(
            "failed_sessions",
            limit(limits.failed_sessions),
            count(missing),
        );
        at_most("lost", limit(limits.lost), count(found.lost));
        at_most(
            "duplicated",
            limit(limits.duplicated),
            count(found.duplicated),
        );
        at_most(
            "out_of_order",
            limit(limits.out_of_order),
            count(found.out_of_order),
        );
        at_most(
            "delivery_p99_ms",
            limits.delivery_p99_ms,
            timed(&found.delivery),
        );
        at_most("ack_p99_ms", limits.ack_p99_ms, timed(&found.ack));
        at_most(
            "server_kib_per_session",
            limits.server_kib_per_session,
            self.server_kib_per_session(),
        );
        let recovered = self.recovered_after.map(|time| time.as_secs_f64() * 1000.0);
        at_most("recovered_ms", limits.recovered_ms, recovered);
        let nothing = Media::default();
        for (name, limit, value) in self.media.as_ref().unwrap_or(&nothing).checks(limits) {
            at_most(name, limit, value.filter(|_| self.media.is_some()));
        }
        for (name, limit, value) in [
            (
                "acked_per_second",
                limits.acked_per_second,
                self.acked_per_second(),
            ),
            (
                "delivered_per_second",
                limits.delivered_per_second,
                self.delivered_per_second(),
            ),
        ] {
            if let Some(limit) = limit
                && value < limit
            {
                violations.push(format!("{name}: {value:.1}, expected at least {limit}"));
            }
        }
        violations
    }

    /// The report as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let found = &self.recorder;
        let times = |histogram: &Histogram<u64>| {
            json!({
                "count": histogram.len(),
                "p50_ms": ms(histogram, 0.5), "p90_ms": ms(histogram, 0.9),
                "p99_ms": ms(histogram, 0.99), "max_ms": ms(histogram, 1.0),
            })
        };
        json!({
            "name": self.name, "seed": self.seed,
            "sessions": self.sessions, "arrived": self.arrived,
            "arrival_s": self.arrival.as_secs_f64(), "load_s": self.load.as_secs_f64(),
            "failed": found.failed, "closed": found.closed,
            "sent": found.sent, "acked": found.acked, "refused": found.refused,
            "acked_per_second": self.acked_per_second(),
            "delivered": found.delivered, "delivered_per_second": self.delivered_per_second(),
            "bytes": found.bytes,
            "lost": found.lost, "duplicated": found.duplicated, "out_of_order": found.out_of_order,
            "reconnected": found.reconnected, "recovered": found.recovered, "unrecovered": found.unrecovered,
            "recovered_after_s": self.recovered_after.map(|time| time.as_secs_f64()),
            "connect": times(&found.connect), "ack": times(&found.ack),
            "delivery": times(&found.delivery), "back": times(&found.back),
            "generator": {
                "threads": self.generator.threads,
                "cpu_s": self.generator.cpu.as_secs_f64(),
                "lag": times(&found.lag),
                "bottleneck": self.bottleneck(),
            },
            "server": self.server.map(|server| json!({
                "resident_before": server.resident_before,
                "resident_idle": server.resident_idle,
                "resident_loaded": server.resident_loaded,
                "kib_per_session": self.server_kib_per_session(),
                "cpu_arrival_s": server.cpu_arrival.as_secs_f64(),
                "cpu_load_s": server.cpu_load.as_secs_f64(),
                "threads": server.threads,
            })),
            "media": self.media.as_ref().map(|media| {
                let mut figures = serde_json::Map::new();
                for (name, value) in media.figures(self.server.as_ref()) {
                    figures.insert(name.to_owned(), json!(value));
                }
                for (name, histogram) in media.times() {
                    figures.insert(name.to_owned(), times(histogram));
                }
                figures.insert("failed".to_owned(), json!(media.tally.failed));
                figures
            }),
            "violations": self.violations(),
        })
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
mod tests {
    use super::*;

    fn report(thresholds: Thresholds) -> Report {
        let mut recorder = Recorder {
            acked: 100,
            delivered: 1000,
            lost: 3,
            duplicated: 2,
            out_of_order: 1,
            ..Recorder::default()
        };
        recorder.delivery.saturating_record(80_000);
        recorder.ack.saturating_record(40_000);
        Report {
            name: "test".to_owned(),
            seed: 1,
            sessions: 10,
            arrived: 8,
            arrival: Duration::from_secs(1),
            load: Duration::from_secs(10),
            recorder,
            media: None,
            recovered_after: Some(Duration::from_secs(5)),
            had_storm: true,
            server: Some(Server {
                resident_before: 0,
                resident_idle: 8 * 30 * 1024,
                resident_loaded: 0,
                cpu_arrival: Duration::ZERO,
                cpu_load: Duration::from_secs(1),
                threads: 4,
            }),
            generator: Generator {
                threads: 1,
                cpu: Duration::from_secs(1),
            },
            thresholds,
        }
    }

    #[test]
    fn every_threshold_can_fail_and_can_hold() {
        let strict = Thresholds {
            failed_sessions: Some(1),
            lost: Some(2),
            duplicated: Some(1),
            out_of_order: Some(0),
            delivery_p99_ms: Some(50.0),
            ack_p99_ms: Some(20.0),
            acked_per_second: Some(11.0),
            delivered_per_second: Some(101.0),
            server_kib_per_session: Some(20.0),
            recovered_ms: Some(4000.0),
            ..Thresholds::default()
        };
        assert_eq!(report(strict).violations().len(), 10);
        let lenient = Thresholds {
            failed_sessions: Some(2),
            lost: Some(3),
            duplicated: Some(2),
            out_of_order: Some(1),
            delivery_p99_ms: Some(100.0),
            ack_p99_ms: Some(60.0),
            acked_per_second: Some(9.0),
            delivered_per_second: Some(99.0),
            server_kib_per_session: Some(40.0),
            recovered_ms: Some(6000.0),
            ..Thresholds::default()
        };
        assert_eq!(report(lenient).violations(), Vec::<String>::new());
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let thresholds = Thresholds {
            server_kib_per_session: Some(1000.0),
            recovered_ms: Some(100_000.0),
            ..Thresholds::default()
        };
        let mut report = report(thresholds);
        report.server = None;
        report.recovered_after = None;
        assert_eq!(report.violations().len(), 2);
    }

    #[test]
    fn a_busy_or_late_generator_says_so() {
        let mut busy = report(Thresholds::default());
        assert_eq!(busy.bottleneck(), None);
        busy.generator.cpu = Duration::from_millis(9500);
        assert!(busy.bottleneck().is_some());
        let mut late = report(Thresholds::default());
        late.recorder.lag.saturating_record(80_000);
        assert!(late.bottleneck().is_some());
    }
}
