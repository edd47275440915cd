//! The report as a file: what `--json` writes, and what comparing and drawing read. It says by itself what everything is called,
//! so a report with figures that this program does not know can be shown too.

use std::path::Path;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::series::Series;

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// A report, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u32,
    /// Program and version that wrote it.
    pub generator: String,
    /// When the run began, RFC 3339.
    pub started: String,
    /// The scenario's name.
    pub name: String,
    /// The scenario's seed.
    pub seed: u64,
    /// Whether every threshold holds.
    pub passed: bool,
    /// Why the generator was the bottleneck; none when it was not.
    pub bottleneck: Option<String>,
    /// The thresholds.
    pub checks: Vec<Check>,
    /// Figures of the whole run.
    pub metrics: Vec<Metric>,
    /// Things counted by reason or code.
    pub counts: Vec<Counts>,
    /// Times of the whole run.
    pub distributions: Vec<Distribution>,
    /// The run by second.
    pub series: Series,
}

/// Which side of its limit a figure must be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The limit is the largest value that holds.
    AtMost,
    /// The limit is the smallest value that holds.
    AtLeast,
}

/// A threshold and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// As in the scenario.
    pub name: String,
    /// How `limit` is meant.
    pub bound: Bound,
    /// As in the scenario.
    pub limit: f64,
    /// None when it could not be measured.
    pub value: Option<f64>,
}

/// Which of two values a reader would rather have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The smaller one.
    Less,
    /// The larger one.
    More,
    /// It is what it is.
    #[default]
    Neither,
}

/// A figure of the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What programs call it.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Shown behind the value; may be empty.
    pub unit: String,
    /// The figure; none when it could not be measured.
    pub value: Option<f64>,
    /// For the colour of a change.
    #[serde(default)]
    pub better: Better,
}

/// Things of one kind, counted by reason or code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// What was counted.
    pub name: String,
    /// By reason, in the order of their names.
    pub by: Vec<(String, u64)>,
}

/// How a time was distributed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// What programs call it.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// Of the values.
    pub unit: String,
    /// How many were measured.
    pub count: u64,
    /// Percent of all, and the value that so many do not exceed; ascending, to 100.
    pub percentiles: Vec<(f64, f64)>,
}

impl Check {
    /// Whether the threshold holds. What was not measured does not.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.value.is_some_and(|value| match self.bound {
            Bound::AtMost => value <= self.limit,
            Bound::AtLeast => value >= self.limit,
        })
    }

    /// What was found and what was expected.
    #[must_use]
    pub fn words(&self) -> String {
        let bound = match self.bound {
            Bound::AtMost => "at most",
            Bound::AtLeast => "at least",
        };
        let value = self.value;
        let value = value.map_or("not measured".to_owned(), |value| format!("{value:.1}"));
        format!("{}: {value}, expected {bound} {}", self.name, self.limit)
    }
}

impl Distribution {
    /// The distribution of times in microseconds, in milliseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "times of a minute at most")]
    pub fn of_us(name: &str, label: &str, histogram: &Histogram<u64>) -> Self {
        const PERCENTS: [f64; 16] = [
            0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.75, 99.9, 99.95, 99.99,
            99.999, 100.0,
        ];
        let count = histogram.len();
        // Beyond what so few values can tell there is only the largest.
        let known = |percent: f64| (100.0 - percent) / 100.0 * count as f64 >= 1.0;
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            unit: "ms".to_owned(),
            count,
            percentiles: PERCENTS
                .into_iter()
                .filter(|percent| known(*percent) || *percent >= 100.0)
                .map(|percent| {
                    let us = histogram.value_at_quantile(percent / 100.0);
                    (percent, us as f64 / 1000.0)
                })
                .collect(),
        }
    }
}

impl Document {
    /// Reads a report that `--json` wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is no report, or has another format; the text names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Reads a report from its text.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        // The format comes first: what another one looks like is not known.
        #[derive(Deserialize)]
        struct Head {
            format: Option<u32>,
        }
        let head: Head = serde_json::from_str(text).context("this is no report")?;
        match head.format {
            Some(FORMAT) => {}
            Some(other) => {
                anyhow::bail!("the report has format {other}, this program reads format {FORMAT}")
            }
            None => anyhow::bail!("this is no report of redred-loadtest: \"format\" is missing"),
        }
        let document: Self = serde_json::from_str(text).context("the report is damaged")?;
        let rows = document.series.rows();
        for column in &document.series.columns {
            anyhow::ensure!(
                column.values.len() == rows,
                "the report is damaged: series.columns.{}: {} values, expected {rows}",
                column.name,
                column.values.len()
            );
        }
        anyhow::ensure!(
            document.series.step_s > 0,
            "the report is damaged: series.step_s: expected 1 or more"
        );
        Ok(document)
    }

    /// What the file holds.
    ///
    /// # Errors
    /// Never with a report that a run made: all its figures are numbers.
    pub fn text(&self) -> anyhow::Result<String> {
        let text = serde_json::to_string_pretty(self).context("writing the report as JSON")?;
        Ok(text + "\n")
    }

    /// A figure by its name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// Whether the generator itself was the bottleneck, in words.
    #[must_use]
    pub fn generator_words(&self) -> String {
        self.bottleneck.as_ref().map_or_else(
            || "The generator was not the bottleneck.".to_owned(),
            |why| format!("The generator WAS THE BOTTLENECK, the figures are its own: {why}."),
        )
    }
}
