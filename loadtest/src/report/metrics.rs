//! The figures of a whole run, each with what programs and people call it.

use hdrhistogram::Histogram;

use super::document::{Better, Metric};
use super::{Report, ms};

/// The quantiles that are told.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];

impl Report {
    /// The figures of the whole run. Those of sessions, of a storm, of media and of the server are there when these were.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics = vec![
            plain(
                "arrival_s",
                "Time to arrive",
                "s",
                self.arrival.as_secs_f64(),
            ),
            plain("load_s", "Length of the load", "s", self.load.as_secs_f64()),
        ];
        if self.sessions > 0 {
            metrics.extend(self.messaging());
        }
        if let Some(media) = &self.media {
            metrics.extend(media.metrics(self.server.as_ref()));
        }
        metrics.extend(self.resources());
        metrics
    }

    fn messaging(&self) -> Vec<Metric> {
        let found = &self.recorder;
        let mut metrics = vec![
            plain("sessions", "Sessions", "", float(self.sessions as u64)),
            more(
                "arrived",
                "Sessions that came",
                "",
                float(self.arrived as u64),
            ),
            plain("sent", "Messages sent", "", float(found.sent)),
            plain("acked", "Messages acknowledged", "", float(found.acked)),
            more(
                "acked_per_second",
                "Acknowledged",
                "/s",
                self.acked_per_second(),
            ),
            plain("delivered", "Deliveries", "", float(found.delivered)),
            more(
                "delivered_per_second",
                "Delivered",
                "/s",
                self.delivered_per_second(),
            ),
            plain("received_mib", "Received", "MiB", mib(found.bytes)),
            less("lost", "Lost", "", float(found.lost)),
            less("duplicated", "Arrived twice", "", float(found.duplicated)),
            less(
                "out_of_order",
                "Out of order",
                "",
                float(found.out_of_order),
            ),
        ];
        if self.had_storm {
            let after = self.recovered_after;
            let mut recovered = less("recovered_ms", "Storm until all were back", "ms", 0.0);
            recovered.value = after.map(|time| time.as_secs_f64() * 1000.0);
            metrics.extend([
                plain("reconnected", "Came back", "", float(found.reconnected)),
                plain(
                    "recovered",
                    "Got what they missed",
                    "",
                    float(found.recovered),
                ),
                less("unrecovered", "Told of a gap", "", float(found.unrecovered)),
                recovered,
            ]);
        }
        for (name, label, histogram) in self.times() {
            if !histogram.is_empty() {
                metrics.extend(QUANTILES.iter().map(|(what, quantile)| {
                    let (name, label) = (format!("{name}_{what}_ms"), format!("{label}, {what}"));
                    less(&name, &label, "ms", ms(histogram, *quantile))
                }));
            }
        }
        metrics
    }

    fn resources(&self) -> Vec<Metric> {
        let found = &self.recorder;
        let (own, lag) = (&self.generator, ms(&found.lag, 0.99));
        let mut metrics = Vec::new();
        if let Some(server) = &self.server {
            if self.sessions > 0 {
                let mut memory = less(
                    "server_kib_per_session",
                    "Server memory a session",
                    "KiB",
                    0.0,
                );
                memory.value = self.server_kib_per_session();
                metrics.push(memory);
            }
            if found.delivered > 0 {
                let each = server.cpu_load.as_secs_f64() * 1e6 / float(found.delivered);
                metrics.push(less(
                    "server_us_per_delivery",
                    "Server CPU a delivery",
                    "µs",
                    each,
                ));
            }
            let (arrival, load) = (
                server.cpu_arrival.as_secs_f64(),
                server.cpu_load.as_secs_f64(),
            );
            metrics.extend([
                less(
                    "server_resident_mib",
                    "Server memory under load",
                    "MiB",
                    mib(server.resident_loaded),
                ),
                less("server_cpu_arrival_s", "Server CPU to arrive", "s", arrival),
                less("server_cpu_load_s", "Server CPU under load", "s", load),
                plain(
                    "server_threads",
                    "Server threads",
                    "",
                    float(server.threads),
                ),
            ]);
        }
        metrics.extend([
            plain(
                "generator_threads",
                "Generator threads",
                "",
                float(own.threads as u64),
            ),
            plain(
                "generator_cpu_s",
                "Generator CPU under load",
                "s",
                own.cpu.as_secs_f64(),
            ),
            plain(
                "generator_lag_p99_ms",
                "Generator timers late, p99",
                "ms",
                lag,
            ),
        ]);
        metrics
    }

    /// The times of sessions: what programs and people call them.
    pub(super) fn times(&self) -> [(&'static str, &'static str, &Histogram<u64>); 4] {
        let found = &self.recorder;
        [
            ("connect", "Connect", &found.connect),
            ("ack", "Acknowledge", &found.ack),
            ("delivery", "Deliver", &found.delivery),
            ("back", "Come back", &found.back),
        ]
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn mib(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

fn plain(name: &str, label: &str, unit: &str, value: f64) -> Metric {
    Metric {
        name: name.to_owned(),
        label: label.to_owned(),
        unit: unit.to_owned(),
        value: Some(value),
        better: Better::Neither,
    }
}

fn less(name: &str, label: &str, unit: &str, value: f64) -> Metric {
    Metric {
        better: Better::Less,
        ..plain(name, label, unit, value)
    }
}

fn more(name: &str, label: &str, unit: &str, value: f64) -> Metric {
    Metric {
        better: Better::More,
        ..plain(name, label, unit, value)
    }
}
