//! What a run's media came to: figures, thresholds, distributions and the lines of the table.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::tally::Tally;
use crate::report::Server;
use crate::report::document::{Better, Bound, Check, Counts, Distribution, Metric};
use crate::scenario::Thresholds;

/// The media of a run.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// Publishers and viewers of the scenario.
    pub peers: u64,
    /// All that was counted, from the first peer to the last.
    pub tally: Tally,
    /// Packets that viewers got before the load began: while peers arrived.
    pub received_arrival: u64,
    /// Packets that viewers got while the load was on.
    pub received_load: u64,
    /// How long the load lasted.
    pub load: Duration,
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    float(histogram.value_at_quantile(quantile)) / 1000.0
}

impl Media {
    /// Packets that viewers got each second of the load.
    #[must_use]
    pub fn packets_per_second(&self) -> f64 {
        float(self.received_load) / self.load.as_secs_f64().max(f64::EPSILON)
    }

    /// Lost packets in percent of those that viewers should have got; none where there were none.
    #[must_use]
    pub fn lost_percent(&self) -> Option<f64> {
        let expected = self.tally.lost + self.tally.received - self.tally.duplicated;
        (expected > 0).then(|| float(self.tally.lost) * 100.0 / float(expected))
    }

    /// The server's CPU for each packet that a viewer got, microseconds: all it did under load, whatever else it did.
    #[must_use]
    pub fn us_per_packet(&self, server: &Server) -> Option<f64> {
        (self.received_load > 0)
            .then(|| server.cpu_load.as_secs_f64() * 1e6 / float(self.received_load))
    }

    /// The server's memory for each viewer, KiB: what it grew by until all were there. A server
    /// that had as many before reuses its memory and does not grow.
    #[must_use]
    pub fn kib_per_viewer(&self, server: &Server) -> Option<f64> {
        let grown = server.resident_idle.saturating_sub(server.resident_before);
        let watching = self.tally.watching;
        (watching > 0).then(|| float(grown) / 1024.0 / float(watching))
    }

    /// The server's CPU for each peer that joined, milliseconds: what it used until all were there, without what the packets that
    /// were forwarded meanwhile cost at the price of those under load.
    #[must_use]
    pub fn ms_per_join(&self, server: &Server) -> Option<f64> {
        let joins = self.tally.publishing + self.tally.watching;
        let forwarding = self.us_per_packet(server)? * float(self.received_arrival) / 1e6;
        let joining = (server.cpu_arrival.as_secs_f64() - forwarding).max(0.0);
        (joins > 0).then(|| joining * 1000.0 / float(joins))
    }

    /// The thresholds of media, and what was found.
    #[must_use]
    pub fn checks(&self, limits: &Thresholds) -> Vec<Check> {
        let found = &self.tally;
        let count = |limit: Option<u64>| limit.map(float);
        let timed = |histogram: &Histogram<u64>, quantile| {
            (!histogram.is_empty()).then(|| ms(histogram, quantile))
        };
        let all = [
            (
                "failed_joins",
                count(limits.failed_joins),
                Some(float(found.failed_joins())),
            ),
            (
                "media_lost",
                count(limits.media_lost),
                // Where nobody came nothing could be lost, and nothing was shown to arrive.
                self.lost_percent().map(|_| float(found.lost)),
            ),
            (
                "media_lost_percent",
                limits.media_lost_percent,
                self.lost_percent(),
            ),
            (
                "freezes",
                count(limits.freezes),
                (found.frames > 0).then(|| float(found.freezes.len())),
            ),
            (
                "first_keyframe_p95_ms",
                limits.first_keyframe_p95_ms,
                timed(&found.first_keyframe, 0.95),
            ),
            (
                "latency_p99_ms",
                limits.latency_p99_ms,
                timed(&found.latency, 0.99),
            ),
        ];
        all.into_iter()
            .filter_map(|(name, limit, value)| {
                Some(Check {
                    name: name.to_owned(),
                    bound: Bound::AtMost,
                    limit: limit?,
                    value,
                })
            })
            .collect()
    }

    /// The figures of media; those that need the server have no value where it was not measured.
    #[must_use]
    pub fn metrics(&self, server: Option<&Server>) -> Vec<Metric> {
        let found = &self.tally;
        let (less, more, neither) = (Better::Less, Better::More, Better::Neither);
        let of = |value: fn(&Self, &Server) -> Option<f64>| server.and_then(|s| value(self, s));
        let quantile = |histogram: &Histogram<u64>, quantile| {
            (!histogram.is_empty()).then(|| ms(histogram, quantile))
        };
        let count = |value: u64| Some(float(value));
        let rows = [
            (
                "media_publishing",
                "Publishers there",
                "",
                count(found.publishing),
                more,
            ),
            (
                "media_watching",
                "Viewers there",
                "",
                count(found.watching),
                more,
            ),
            (
                "failed_joins",
                "Failed joins",
                "",
                count(found.failed_joins()),
                less,
            ),
            (
                "media_ended",
                "Connections lost",
                "",
                count(found.ended),
                less,
            ),
            (
                "media_sent",
                "Packets published",
                "",
                count(found.sent),
                neither,
            ),
            (
                "media_unsent",
                "Packets this machine did not take",
                "",
                count(found.unsent),
                less,
            ),
            (
                "media_received",
                "Packets at viewers",
                "",
                count(found.received),
                neither,
            ),
            (
                "media_packets_per_second",
                "Packets at viewers",
                "/s",
                Some(self.packets_per_second()),
                neither,
            ),
            (
                "media_bytes",
                "Bytes at viewers",
                "",
                count(found.bytes),
                neither,
            ),
            ("media_lost", "Packets lost", "", count(found.lost), less),
            (
                "media_lost_percent",
                "Share of packets lost",
                "%",
                self.lost_percent(),
                less,
            ),
            (
                "media_duplicated",
                "Packets twice",
                "",
                count(found.duplicated),
                less,
            ),
            (
                "media_reordered",
                "Packets out of order",
                "",
                count(found.reordered),
                less,
            ),
            (
                "media_strays",
                "Packets of other streams",
                "",
                count(found.strays),
                less,
            ),
            (
                "media_frames",
                "Whole pictures",
                "",
                count(found.frames),
                neither,
            ),
            (
                "media_broken_frames",
                "Broken pictures",
                "",
                count(found.broken_frames),
                less,
            ),
            (
                "media_freezes",
                "Freezes",
                "",
                count(found.freezes.len()),
                less,
            ),
            (
                "media_keyframes",
                "Keyframes published",
                "",
                count(found.keyframes),
                neither,
            ),
            (
                "media_keyframe_requests",
                "Keyframe requests at publishers",
                "",
                count(found.keyframe_requests),
                less,
            ),
            (
                "media_keyframes_wanted",
                "Keyframes that viewers asked for",
                "",
                count(found.keyframes_wanted),
                less,
            ),
            (
                "media_layer_switches",
                "Layer switches at viewers",
                "",
                count(found.layer_switches),
                neither,
            ),
            (
                "media_us_per_packet",
                "Server CPU for a packet",
                "µs",
                of(Self::us_per_packet),
                less,
            ),
            (
                "media_kib_per_viewer",
                "Server memory for a viewer",
                "KiB",
                of(Self::kib_per_viewer),
                less,
            ),
            (
                "media_ms_per_join",
                "Server CPU for a join",
                "ms",
                of(Self::ms_per_join),
                less,
            ),
            (
                "media_latency_p50_ms",
                "Latency, median",
                "ms",
                quantile(&found.latency, 0.5),
                less,
            ),
            (
                "media_latency_p90_ms",
                "Latency, p90",
                "ms",
                quantile(&found.latency, 0.9),
                less,
            ),
            (
                "media_latency_p99_ms",
                "Latency, p99",
                "ms",
                quantile(&found.latency, 0.99),
                less,
            ),
            (
                "media_latency_max_ms",
                "Latency, largest",
                "ms",
                quantile(&found.latency, 1.0),
                less,
            ),
            (
                "media_jitter_p95_ms",
                "Jitter of viewers, p95",
                "ms",
                quantile(&found.jitter, 0.95),
                less,
            ),
            (
                "first_keyframe_p50_ms",
                "First keyframe, median",
                "ms",
                quantile(&found.first_keyframe, 0.5),
                less,
            ),
            (
                "first_keyframe_p95_ms",
                "First keyframe, p95",
                "ms",
                quantile(&found.first_keyframe, 0.95),
                less,
            ),
            (
                "media_lag_p99_ms",
                "Generator's pictures late, p99",
                "ms",
                quantile(&found.lag, 0.99),
                neither,
            ),
        ];
        rows.into_iter()
            .map(|(name, label, unit, value, better)| Metric {
                name: name.to_owned(),
                label: label.to_owned(),
                unit: unit.to_owned(),
                value,
                better,
            })
            .collect()
    }

    /// Times of media.
    #[must_use]
    pub fn distributions(&self) -> Vec<Distribution> {
        let found = &self.tally;
        [
            ("media_latency", "Publisher to viewer", &found.latency),
            ("join_http", "Join: offer to answer", &found.http),
            ("join_ice", "Join: answer to path", &found.ice),
            ("join_dtls", "Join: path to keys", &found.dtls),
            (
                "join_first_packet",
                "Join: keys to first packet",
                &found.first_packet,
            ),
            ("first_keyframe", "First keyframe", &found.first_keyframe),
            ("freezes", "Freezes", &found.freezes),
            ("media_jitter", "Jitter of viewers", &found.jitter),
        ]
        .into_iter()
        .filter(|(_, _, histogram)| !histogram.is_empty())
        .map(|(name, label, histogram)| Distribution::of_us(name, label, histogram))
        .collect()
    }

    /// Failures by reason.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let failed = self.tally.failed.iter();
        Counts {
            name: "failed_joins".to_owned(),
            by: failed
                .map(|(reason, count)| (reason.clone(), *count))
                .collect(),
        }
    }

    /// What a table says of it: names and texts.
    #[must_use]
    pub fn lines(&self, server: Option<&Server>) -> Vec<(&'static str, String)> {
        let found = &self.tally;
        let peers = found.publishing + found.watching;
        let median = |histogram| ms(histogram, 0.5);
        let mut lines = vec![
            (
                "media",
                format!(
                    "{peers} of {} peers there, {} connections lost",
                    self.peers, found.ended
                ),
            ),
            (
                "join",
                format!(
                    "http {:.1}  ice {:.1}  dtls {:.1}  packet {:.1} ms (medians)",
                    median(&found.http),
                    median(&found.ice),
                    median(&found.dtls),
                    median(&found.first_packet)
                ),
            ),
            ("keyframe", times(&found.first_keyframe)),
            ("latency", times(&found.latency)),
            (
                "packets",
                format!(
                    "{} ({:.0}/s), {} lost ({:.3} %), {} twice, {} out of order, jitter {:.1} ms",
                    found.received,
                    self.packets_per_second(),
                    found.lost,
                    self.lost_percent().unwrap_or_default(),
                    found.duplicated,
                    found.reordered,
                    ms(&found.jitter, 0.95)
                ),
            ),
            (
                "pictures",
                format!(
                    "{} whole, {} broken, {} freezes, {} keyframes, {} asked for, {} layer switches",
                    found.frames,
                    found.broken_frames,
                    found.freezes.len(),
                    found.keyframes,
                    found.keyframe_requests,
                    found.layer_switches
                ),
            ),
        ];
        if !found.failed.is_empty() {
            lines.push(("failed joins", format!("{:?}", found.failed)));
        }
        if let Some(server) = server {
            lines.push((
                "server media",
                format!(
                    "{:.2} µs a packet, {:.0} KiB a viewer, {:.2} ms a join",
                    self.us_per_packet(server).unwrap_or_default(),
                    self.kib_per_viewer(server).unwrap_or_default(),
                    self.ms_per_join(server).unwrap_or_default()
                ),
            ));
        }
        lines
    }
}

fn times(histogram: &Histogram<u64>) -> String {
    format!(
        "p50 {:.1}  p90 {:.1}  p99 {:.1}  max {:.1} ms",
        ms(histogram, 0.5),
        ms(histogram, 0.9),
        ms(histogram, 0.99),
        ms(histogram, 1.0)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::record;

    fn media() -> Media {
        let mut tally = Tally {
            publishing: 1,
            watching: 9,
            sent: 1_000,
            received: 8_980,
            lost: 20,
            frames: 100,
            ..Tally::default()
        };
        tally.fail("no ICE");
        record(&mut tally.latency, Duration::from_millis(30));
        record(&mut tally.first_keyframe, Duration::from_millis(300));
        record(&mut tally.freezes, Duration::from_millis(250));
        Media {
            peers: 11,
            tally,
            received_arrival: 1_000,
            received_load: 8_000,
            load: Duration::from_secs(10),
        }
    }

    const SERVER: Server = Server {
        resident_before: 1_000 * 1_024,
        resident_idle: 1_900 * 1_024,
        resident_loaded: 2_000 * 1_024,
        cpu_arrival: Duration::from_millis(12),
        cpu_load: Duration::from_millis(16),
        threads: 4,
    };

    fn thresholds(scale: f64) -> Thresholds {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 or 100"
        )]
        let count = Some((scale * 100.0) as u64);
        Thresholds {
            failed_joins: count,
            media_lost: count,
            media_lost_percent: Some(scale),
            freezes: count,
            first_keyframe_p95_ms: Some(scale * 400.0),
            latency_p99_ms: Some(scale * 40.0),
            ..Thresholds::default()
        }
    }

    #[test]
    fn every_threshold_can_fail_and_can_hold() {
        let strict = media().checks(&thresholds(0.0));
        assert_eq!(strict.len(), 6);
        assert!(strict.iter().all(|check| !check.holds()), "{strict:?}");
        let lenient = media().checks(&thresholds(1.0));
        assert_eq!(lenient.len(), 6);
        assert!(lenient.iter().all(Check::holds), "{lenient:?}");
    }

    #[test]
    fn where_nobody_came_no_threshold_but_that_of_failures_can_hold() {
        let media = Media {
            tally: Tally::default(),
            ..media()
        };
        let checks = media.checks(&thresholds(1.0));
        let holding: Vec<_> = checks.iter().filter(|check| check.holds()).collect();
        assert_eq!(holding.len(), 1, "{holding:?}");
        assert_eq!(holding[0].name, "failed_joins");
    }

    #[test]
    fn what_the_server_used_is_shared_out_over_packets_viewers_and_joins() {
        let media = media();
        let close = |value: Option<f64>, expected: f64| {
            let value = value.expect("measured");
            assert!(
                (value - expected).abs() < 1e-6,
                "{value}, expected {expected}"
            );
        };
        close(media.us_per_packet(&SERVER), 2.0);
        close(media.kib_per_viewer(&SERVER), 100.0);
        // 12 ms, of which 1 000 packets took 2 us each, for 10 peers.
        close(media.ms_per_join(&SERVER), 1.0);
        let metrics = media.metrics(None);
        let value = |name: &str| {
            metrics
                .iter()
                .find(|one| one.name == name)
                .map(|one| one.value)
        };
        assert_eq!(value("media_us_per_packet"), Some(None));
        assert_eq!(value("media_lost"), Some(Some(20.0)));
    }
}
