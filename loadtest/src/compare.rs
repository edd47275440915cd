//! Runs side by side: every figure that one of them has, and how the others compare with the first.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::document::{Better, Bound, Check, Document, Metric};

/// Ratios nearer to one than this are noise: nothing is called better or worse for them.
const NOISE: f64 = 0.1;

/// A run and what it is called beside others.
#[derive(Clone, Debug)]
pub struct Run {
    /// Unlike that of every other run.
    pub title: String,
    /// What it found.
    pub document: Document,
}

/// A figure in all runs.
#[derive(Debug)]
pub struct Row<'a> {
    /// As the first run that has it describes it.
    pub metric: &'a Metric,
    /// By run; none where it was not measured or does not exist.
    pub cells: Vec<Cell>,
}

/// A figure in one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The figure.
    pub value: Option<f64>,
    /// Divided by that of the first run; none for the first itself and where there is nothing to divide by.
    pub ratio: Option<f64>,
    /// Whether a reader would rather have the first run's.
    pub change: Change,
}

/// How a figure compares with that of the first run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is better.
    Better,
    /// It is worse.
    Worse,
    /// It is about the same, or neither is better.
    None,
}

/// Names the runs by their files; a name that comes again gets a number.
#[must_use]
pub fn runs(documents: Vec<(&Path, Document)>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::with_capacity(documents.len());
    for (path, document) in documents {
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        let stem = stem.to_string_lossy();
        let mut title = stem.to_string();
        let mut number = 1;
        while runs.iter().any(|run| run.title == title) {
            number += 1;
            title = format!("{stem} ({number})");
        }
        runs.push(Run { title, document });
    }
    runs
}

/// Every figure of the runs, in the order in which they first come.
#[must_use]
pub fn rows(runs: &[Run]) -> Vec<Row<'_>> {
    let mut metrics: Vec<&Metric> = Vec::new();
    for metric in runs.iter().flat_map(|run| &run.document.metrics) {
        if metrics.iter().all(|known| known.name != metric.name) {
            metrics.push(metric);
        }
    }
    metrics
        .into_iter()
        .map(|metric| {
            let values: Vec<Option<f64>> = runs
                .iter()
                .map(|run| run.document.metric(&metric.name)?.value)
                .collect();
            let first = values.first().copied().flatten();
            let cells = values.iter().enumerate();
            Row {
                metric,
                cells: cells
                    .map(|(number, value)| {
                        Cell::new(*value, first.filter(|_| number > 0), metric.better)
                    })
                    .collect(),
            }
        })
        .collect()
}

impl Cell {
    fn new(value: Option<f64>, first: Option<f64>, better: Better) -> Self {
        let both = value.zip(first);
        let ratio = both.and_then(|(value, first)| (first > 0.0).then(|| value / first));
        let change = match both {
            // What was nothing has no ratio, and yet losing something is worse than losing nothing.
            Some((value, first)) if (value - first).abs() > NOISE * first.abs() => {
                match (better, value > first) {
                    (Better::Less, true) | (Better::More, false) => Change::Worse,
                    (Better::Less, false) | (Better::More, true) => Change::Better,
                    (Better::Neither, _) => Change::None,
                }
            }
            _ => Change::None,
        };
        Self {
            value,
            ratio,
            change,
        }
    }
}

/// Every threshold of the runs: its name, and the check of each run that has it.
#[must_use]
pub fn checks(runs: &[Run]) -> Vec<(&str, Vec<Option<&Check>>)> {
    let mut names: Vec<&str> = Vec::new();
    for check in runs.iter().flat_map(|run| &run.document.checks) {
        if !names.contains(&check.name.as_str()) {
            names.push(&check.name);
        }
    }
    let of = |run: &'_ Run, name: &str| -> Option<usize> {
        let checks = &run.document.checks;
        checks.iter().position(|check| check.name == name)
    };
    names
        .into_iter()
        .map(|name| {
            let found = runs.iter();
            let found = found.map(|run| of(run, name).map(|at| &run.document.checks[at]));
            (name, found.collect())
        })
        .collect()
}

/// A limit in words.
#[must_use]
pub fn limit(check: &Check) -> String {
    let bound = match check.bound {
        Bound::AtMost => "at most",
        Bound::AtLeast => "at least",
    };
    format!("{bound} {}", number(check.limit))
}

/// A figure with as many digits as say something, and spaces between thousands.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if value.fract() == 0.0 || size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::from(sign);
    for (number, digit) in digits.chars().enumerate() {
        if number > 0 && (digits.len() - number).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// A figure and its unit; a dash where it was not measured.
#[must_use]
pub fn with_unit(value: Option<f64>, unit: &str) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if unit.is_empty() => number(value),
        Some(value) => format!("{}\u{a0}{unit}", number(value)),
    }
}

/// A ratio as people read it.
#[must_use]
pub fn times(ratio: f64) -> String {
    format!("×{ratio:.2}")
}

/// The runs as a table for a terminal.
#[must_use]
pub fn table(runs: &[Run]) -> String {
    let line = |name: &str, cell: &dyn Fn(&Document) -> String| -> Vec<String> {
        let cells = runs.iter().map(|run| cell(&run.document));
        std::iter::once(name.to_owned()).chain(cells).collect()
    };
    let mut lines = vec![
        std::iter::once(String::new())
            .chain(runs.iter().map(|run| run.title.clone()))
            .collect(),
        line("Scenario", &|one| one.name.clone()),
        line("Seed", &|one| one.seed.to_string()),
        line("Begun", &|one| one.started.clone()),
        line("Verdict", &|one| verdict(one).to_owned()),
        line("Generator", &|one| generator(one).to_owned()),
    ];
    for row in rows(runs) {
        let cells = row.cells.iter().map(|cell| {
            let mark = match cell.change {
                Change::Better => " +",
                Change::Worse => " !",
                Change::None => "",
            };
            let ratio = cell
                .ratio
                .map_or(String::new(), |ratio| format!("  {}", times(ratio)));
            format!("{}{ratio}{mark}", with_unit(cell.value, &row.metric.unit))
        });
        lines.push(
            std::iter::once(row.metric.label.clone())
                .chain(cells)
                .collect(),
        );
    }
    for (name, found) in checks(runs) {
        let cells = found.iter().map(|check| {
            check.map_or("–".to_owned(), |check| {
                let holds = if check.holds() { "held" } else { "MISSED" };
                format!("{holds}: {}", limit(check))
            })
        });
        lines.push(std::iter::once(name.to_owned()).chain(cells).collect());
    }
    align(&lines)
}

fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(row, "{cell:<width$}   ");
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

/// Whether a run passed, in a word.
#[must_use]
pub fn verdict(document: &Document) -> &'static str {
    if document.passed { "passed" } else { "FAILED" }
}

fn generator(document: &Document) -> &'static str {
    match document.bottleneck {
        None => "not the bottleneck",
        Some(_) => "WAS THE BOTTLENECK",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::document::FORMAT;
    use crate::series::Series;

    fn metric(name: &str, value: Option<f64>, better: Better) -> Metric {
        Metric {
            name: name.to_owned(),
            label: format!("The {name}"),
            unit: "ms".to_owned(),
            value,
            better,
        }
    }

    pub(crate) fn document(metrics: Vec<Metric>) -> Document {
        Document {
            format: FORMAT,
            generator: "test".to_owned(),
            started: "2020-01-01T00:00:00Z".to_owned(),
            name: "scenario".to_owned(),
            seed: 1,
            passed: true,
            bottleneck: None,
            checks: vec![Check {
                name: "lost".to_owned(),
                bound: Bound::AtMost,
                limit: 0.0,
                value: Some(1.0),
            }],
            metrics,
            counts: Vec::new(),
            distributions: Vec::new(),
            series: Series::default(),
        }
    }

    fn two() -> Vec<Run> {
        let first = document(vec![
            metric("delay", Some(10.0), Better::Less),
            metric("only here", Some(1.0), Better::Less),
            metric("lost", Some(0.0), Better::Less),
        ]);
        let mut second = document(vec![
            metric("rate", Some(5.0), Better::More),
            metric("delay", Some(15.0), Better::Less),
            metric("lost", Some(3.0), Better::Less),
        ]);
        second.checks.clear();
        second.passed = false;
        second.bottleneck = Some("busy".to_owned());
        runs(vec![
            (Path::new("x/run.json"), first),
            (Path::new("y/run.json"), second),
        ])
    }

    #[test]
    fn runs_with_different_metrics_stand_side_by_side() {
        let runs = two();
        let rows = rows(&runs);
        let names: Vec<&str> = rows.iter().map(|row| row.metric.name.as_str()).collect();
        assert_eq!(names, ["delay", "only here", "lost", "rate"]);
        let delay = rows[0].cells[1];
        assert_eq!((delay.ratio, delay.change), (Some(1.5), Change::Worse));
        assert_eq!(rows[0].cells[0].ratio, None);
        assert_eq!(rows[1].cells[1].value, None);
        // From nothing to something there is no ratio, and it is worse all the same.
        assert_eq!(
            (rows[2].cells[1].ratio, rows[2].cells[1].change),
            (None, Change::Worse)
        );
        assert_eq!(
            (rows[3].cells[0].value, rows[3].cells[1].ratio),
            (None, None)
        );
    }

    #[test]
    fn the_table_names_runs_apart_and_says_what_failed() {
        let text = table(&two());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["run", "run", "(2)"]
        );
        let line = |name: &str| {
            let found = lines.iter().find(|line| line.starts_with(name));
            *found.unwrap_or_else(|| panic!("{name} in\n{text}"))
        };
        assert!(line("Verdict").contains("passed") && line("Verdict").contains("FAILED"));
        assert!(line("Generator").ends_with("WAS THE BOTTLENECK"));
        assert!(line("The delay").ends_with("15\u{a0}ms  ×1.50 !"), "{text}");
        assert!(line("lost").contains("MISSED: at most 0"), "{text}");
        assert!(line("lost").ends_with('–'), "{text}");
    }

    #[test]
    fn a_change_within_the_noise_is_none() {
        let cell = |value, better| Cell::new(Some(value), Some(100.0), better).change;
        assert_eq!(cell(109.0, Better::Less), Change::None);
        assert_eq!(cell(111.0, Better::Less), Change::Worse);
        assert_eq!(cell(89.0, Better::Less), Change::Better);
        assert_eq!(cell(89.0, Better::More), Change::Worse);
        assert_eq!(cell(300.0, Better::Neither), Change::None);
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (1_234_567.0, "1\u{202f}234\u{202f}567"),
            (-1234.5, "-1\u{202f}234"),
            (12.345, "12.3"),
            (1.234, "1.23"),
            (0.01234, "0.0123"),
            (999.0, "999"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
