//! What happened in each second of a run: the threads send what they counted, and the collector makes a row of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::measure::Recorder;
use crate::media::tally::Tally;
use crate::process::Usage;

/// Rows that a series holds at most. A longer run gets longer rows: two become one, and the step doubles. An hour has seconds;
/// a day of soaking has steps of 32 s. More would make reports of megabytes, fewer would hide a stall of seconds in an hour.
pub const ROWS_MAX: usize = 3600;

/// Seconds between two readings for which a share of CPU means something.
const ELAPSED_MIN: f64 = 0.5;

/// What one thread counted since it last told.
#[derive(Debug)]
pub struct Interval {
    /// Which thread.
    pub thread: usize,
    /// Seconds of the run that are complete with it.
    pub seconds: u64,
    /// Sessions of the thread that are connected and subscribed.
    pub ready: usize,
    /// What it counted.
    pub recorder: Recorder,
}

/// How two rows become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// The mean of both: rates and shares.
    #[default]
    Mean,
    /// The larger one: latencies and sizes.
    Max,
}

/// One figure over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// What programs call it; no other column of the run is called so.
    pub name: String,
    /// The title of the chart that it is drawn in; columns with the same title share one. None: it is not drawn.
    pub chart: Option<String>,
    /// What the legend of the chart calls it.
    pub label: String,
    /// Shown behind values: `ms`, `/s`, `MiB`, `%`; may be empty.
    pub unit: String,
    /// How rows of a long run are made fewer.
    #[serde(default)]
    pub fold: Fold,
    /// One for each row; none where there was nothing to measure.
    pub values: Vec<Option<f64>>,
}

/// A moment of the run that charts show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// What began.
    pub name: String,
}

/// The rows of a run, kept by column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Seconds that a row stands for.
    pub step_s: u64,
    /// All of the same length.
    pub columns: Vec<Column>,
    /// In the order of time.
    pub marks: Vec<Mark>,
}

/// A value of a row, with all that its column is called.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// See [`Column::name`].
    pub name: &'static str,
    /// See [`Column::chart`].
    pub chart: Option<&'static str>,
    /// See [`Column::label`].
    pub label: &'static str,
    /// See [`Column::unit`].
    pub unit: &'static str,
    /// See [`Column::fold`].
    pub fold: Fold,
    /// None when there was nothing to measure.
    pub value: Option<f64>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            step_s: 1,
            columns: Vec::new(),
            marks: Vec::new(),
        }
    }
}

impl Series {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// The values of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Adds a row of the present step. A column that was not there before has no values until now.
    pub fn push(&mut self, cells: &[Cell]) {
        let rows = self.rows();
        for cell in cells {
            let known = self.columns.iter().position(|one| one.name == cell.name);
            let at = known.unwrap_or_else(|| {
                self.columns.push(Column {
                    name: cell.name.to_owned(),
                    chart: cell.chart.map(str::to_owned),
                    label: cell.label.to_owned(),
                    unit: cell.unit.to_owned(),
                    fold: cell.fold,
                    values: vec![None; rows],
                });
                self.columns.len() - 1
            });
            self.columns[at].values.truncate(rows);
            self.columns[at].values.push(cell.value);
        }
        for column in &mut self.columns {
            column.values.resize(rows + 1, None);
        }
        if rows + 1 >= ROWS_MAX {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.step_s *= 2;
        for column in &mut self.columns {
            let fold = column.fold;
            let pairs = column.values.chunks(2);
            column.values = pairs.map(|pair| merge(pair, fold)).collect();
        }
    }

    /// Notes that something began.
    pub fn mark(&mut self, at: Duration, name: &str) {
        self.marks.push(Mark {
            at_s: at.as_secs_f64(),
            name: name.to_owned(),
        });
    }
}

/// So many values at most, each of which stands for as many of the given ones as is returned with them.
#[must_use]
pub fn thinned(values: &[Option<f64>], fold: Fold, most: usize) -> (usize, Vec<Option<f64>>) {
    let each = values.len().div_ceil(most.max(1)).max(1);
    let chunks = values.chunks(each);
    (each, chunks.map(|chunk| merge(chunk, fold)).collect())
}

#[expect(clippy::cast_precision_loss, reason = "thousands of values")]
fn merge(values: &[Option<f64>], fold: Fold) -> Option<f64> {
    let known: Vec<f64> = values.iter().copied().flatten().collect();
    if known.is_empty() {
        return None;
    }
    Some(match fold {
        Fold::Mean => known.iter().sum::<f64>() / known.len() as f64,
        Fold::Max => known.iter().copied().fold(f64::MIN, f64::max),
    })
}

/// What the processes used and the media came to, read when a second was over.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The server, when it runs on this machine.
    pub server: Option<Usage>,
    /// The generator.
    pub own: Usage,
    /// Viewers that watch, and what was counted of media since the last reading.
    pub media: Option<(u64, Tally)>,
    /// When this was read, from the beginning of the run.
    pub at: Duration,
}

/// Adds up what the threads send, for the whole run and for each of its seconds. It holds the seconds that some thread has not
/// told yet, and nothing else that grows but the series.
#[derive(Debug)]
pub struct Collector {
    /// All that was counted so far.
    pub total: Recorder,
    /// The rows so far.
    pub series: Series,
    /// What each thread has told.
    threads: Vec<Told>,
    /// Counted in seconds that are not complete, by second.
    open: BTreeMap<u64, Recorder>,
    /// Rows that are complete.
    complete: u64,
    /// Counted in the rows of a step that is longer than a second and not over.
    step: Recorder,
    /// The same of media, and how many watch.
    media: Option<(u64, Tally)>,
    last: Reading,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    seconds: u64,
    ready: usize,
}

impl Collector {
    /// Waits for intervals of so many threads.
    #[must_use]
    pub fn new(threads: usize, first: Reading) -> Self {
        Self {
            total: Recorder::default(),
            series: Series::default(),
            threads: vec![Told::default(); threads],
            open: BTreeMap::new(),
            complete: 0,
            step: Recorder::default(),
            media: None,
            last: first,
        }
    }

    /// Sessions that are there, as far as was told.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.threads.iter().map(|told| told.ready).sum()
    }

    /// Takes what a thread counted. `reading` is called when that completes a row.
    pub fn take(&mut self, interval: Interval, reading: impl FnOnce() -> Reading) {
        self.total.add(&interval.recorder);
        let second = interval.seconds.max(1) - 1;
        // A thread that was late tells a second that already has its row: the next row shows it.
        let row = second.max(self.complete);
        match self.open.get_mut(&row) {
            Some(known) => known.add(&interval.recorder),
            None => {
                self.open.insert(row, interval.recorder);
            }
        }
        if let Some(told) = self.threads.get_mut(interval.thread) {
            told.seconds = told.seconds.max(interval.seconds);
            told.ready = interval.ready;
        }
        let all = self.threads.iter().map(|told| told.seconds).min();
        if all.is_some_and(|all| all > self.complete) {
            self.complete_to(all.unwrap_or_default(), reading());
        }
    }

    /// Makes a row of what is left when all threads have ended.
    pub fn finish(&mut self, reading: Reading) {
        let last = self.open.keys().next_back().copied();
        if let Some(last) = last {
            self.complete_to(last + 1, reading);
        }
    }

    fn complete_to(&mut self, seconds: u64, mut reading: Reading) {
        if let Some((watching, tally)) = reading.media.take() {
            let (known, sum) = self.media.get_or_insert_default();
            *known = watching;
            sum.add(&tally);
        }
        while self.complete < seconds {
            if let Some(recorder) = self.open.remove(&self.complete) {
                self.step.add(&recorder);
            }
            self.complete += 1;
            if self.complete.is_multiple_of(self.series.step_s) {
                let step = std::mem::take(&mut self.step);
                let step_s = self.series.step_s;
                let mut cells = sessions(&step, step_s, self.ready());
                if let Some((watching, tally)) = &mut self.media {
                    cells.extend(media(&std::mem::take(tally), step_s, *watching));
                }
                cells.extend(processes(&self.last, &reading));
                self.series.push(&cells);
                self.last = reading.clone();
            }
        }
    }
}

/// What sessions did in `step_s` seconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn sessions(step: &Recorder, step_s: u64, ready: usize) -> Vec<Cell> {
    let rate = |count: u64| Some(count as f64 / step_s as f64);
    let sum = |counts: &mut dyn Iterator<Item = u64>| rate(counts.sum());
    let (messages, deliveries) = (Some("Messages"), Some("Deliveries"));
    let (failures, sessions) = (Some("Failures"), Some("Sessions"));
    let (deliver, connect) = (Some("Time to deliver"), Some("Time to connect"));
    let mut cells = vec![
        cell("ready", sessions, "connected", "", Some(ready as f64)),
        cell("joined", None, "joined", "/s", rate(step.connected)),
        cell("sent", messages, "sent", "/s", rate(step.sent)),
        cell("acked", messages, "acknowledged", "/s", rate(step.acked)),
        cell(
            "delivered",
            deliveries,
            "delivered",
            "/s",
            rate(step.delivered),
        ),
        cell(
            "failed",
            failures,
            "failed",
            "/s",
            sum(&mut step.failed.values().copied()),
        ),
        cell(
            "refused",
            failures,
            "refused",
            "/s",
            sum(&mut step.refused.values().copied()),
        ),
        cell(
            "closed",
            failures,
            "closed by the server",
            "/s",
            sum(&mut step.closed.values().copied()),
        ),
    ];
    for (name, chart, label, histogram, quantile) in [
        ("delivery_p50_ms", deliver, "p50", &step.delivery, 0.5),
        ("delivery_p90_ms", None, "p90", &step.delivery, 0.9),
        ("delivery_p99_ms", deliver, "p99", &step.delivery, 0.99),
        ("delivery_max_ms", None, "max", &step.delivery, 1.0),
        (
            "ack_p99_ms",
            Some("Time to acknowledge"),
            "p99",
            &step.ack,
            0.99,
        ),
        ("connect_p50_ms", connect, "p50", &step.connect, 0.5),
        ("connect_p99_ms", connect, "p99", &step.connect, 0.99),
        ("lag_p99_ms", None, "p99", &step.lag, 0.99),
    ] {
        cells.push(time(name, chart, label, histogram, quantile));
    }
    cells
}

/// What came at viewers in `step_s` seconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn media(step: &Tally, step_s: u64, watching: u64) -> Vec<Cell> {
    let rate = |count: u64| Some(count as f64 / step_s as f64);
    let megabits = step.bytes as f64 * 8.0 / 1e6 / step_s as f64;
    let (packets, trouble) = (Some("Media packets"), Some("Media trouble"));
    let (latency, join) = (Some("Media latency"), Some("Join to first keyframe"));
    vec![
        cell(
            "media_watching",
            Some("Viewers"),
            "watching",
            "",
            Some(watching as f64),
        ),
        cell(
            "media_received",
            packets,
            "at viewers",
            "/s",
            rate(step.received),
        ),
        cell("media_sent", None, "published", "/s", rate(step.sent)),
        cell("media_mbps", None, "at viewers", "Mbit/s", Some(megabits)),
        time("media_latency_p50_ms", latency, "p50", &step.latency, 0.5),
        time("media_latency_p99_ms", latency, "p99", &step.latency, 0.99),
        time("media_latency_max_ms", None, "max", &step.latency, 1.0),
        time(
            "first_keyframe_p50_ms",
            join,
            "p50",
            &step.first_keyframe,
            0.5,
        ),
        time(
            "first_keyframe_p99_ms",
            join,
            "p99",
            &step.first_keyframe,
            0.99,
        ),
        cell(
            "media_freezes",
            trouble,
            "freezes",
            "/s",
            rate(step.freezes.len()),
        ),
        cell(
            "media_keyframe_requests",
            trouble,
            "keyframe requests",
            "/s",
            rate(step.keyframe_requests),
        ),
        cell(
            "media_layer_switches",
            trouble,
            "layer switches",
            "/s",
            rate(step.layer_switches),
        ),
        cell(
            "media_failed",
            trouble,
            "failed joins",
            "/s",
            rate(step.failed_joins()),
        ),
        cell(
            "media_ended",
            trouble,
            "connections lost",
            "/s",
            rate(step.ended),
        ),
    ]
}

/// What the processes used between two readings.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn processes(before: &Reading, after: &Reading) -> Vec<Cell> {
    let mut cells = Vec::new();
    let elapsed = after.at.saturating_sub(before.at).as_secs_f64();
    let cpu = |before: Usage, after: Usage| {
        let used = after.cpu.saturating_sub(before.cpu).as_secs_f64();
        // Several rows that become complete at once share one reading, and the last may be short: /proc counts in 10 ms.
        (elapsed > ELAPSED_MIN).then(|| 100.0 * used / elapsed)
    };
    let chart = Some("CPU");
    if let (Some(before), Some(after)) = (before.server, after.server) {
        let used = cpu(before, after);
        let memory = after.resident_bytes as f64 / f64::from(1 << 20);
        let threads = after.threads as f64;
        let resident = Some("Memory of the server");
        cells.push(cell("server_cpu", chart, "server", "% of a core", used));
        cells.push(
            cell(
                "server_resident_mib",
                resident,
                "resident",
                "MiB",
                Some(memory),
            )
            .largest(),
        );
        cells.push(cell("server_threads", None, "threads", "", Some(threads)).largest());
    }
    let used = cpu(before.own, after.own);
    cells.push(cell(
        "generator_cpu",
        chart,
        "generator",
        "% of a core",
        used,
    ));
    cells
}

/// A quantile of times in microseconds, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn time(
    name: &'static str,
    chart: Option<&'static str>,
    label: &'static str,
    histogram: &Histogram<u64>,
    quantile: f64,
) -> Cell {
    let us = (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    cell(name, chart, label, "ms", us.map(|us| us as f64 / 1000.0)).largest()
}

/// A cell whose rows fold into their mean.
#[must_use]
pub fn cell(
    name: &'static str,
    chart: Option<&'static str>,
    label: &'static str,
    unit: &'static str,
    value: Option<f64>,
) -> Cell {
    Cell {
        name,
        chart,
        label,
        unit,
        fold: Fold::Mean,
        value,
    }
}

impl Cell {
    /// The same, whose rows fold into the larger one.
    #[must_use]
    pub fn largest(self) -> Self {
        Self {
            fold: Fold::Max,
            ..self
        }
    }
}

#[cfg(test)]
mod tests;
