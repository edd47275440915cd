//! The report as one page that needs nothing else: no script, no font, no picture from anywhere. Of one run, or of several side
//! by side.

mod chart;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::{Axis, Chart, Line, percentile};
use crate::compare::{self, Change, Run, number, times, with_unit};
use crate::report::document::Document;
use crate::series::{Column, thinned};

/// Points that a line has at most: more than there are pixels only make the file large.
const POINTS_MAX: usize = 400;

/// Allows a page nothing but its own style sheet, whatever its texts say.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of one run, or of several side by side, the first being what the others are compared with.
#[must_use]
pub fn page(runs: &[Run]) -> String {
    let title = match runs {
        [run] => run.document.name.clone(),
        _ => runs
            .iter()
            .map(|run| run.title.as_str())
            .collect::<Vec<_>>()
            .join(" · "),
    };
    let (shown, flat): (Vec<Chart>, Vec<Chart>) =
        over_time(runs).into_iter().partition(Chart::has_values);
    let spread = distributions(runs);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) " – load test" }
                // The style sheet is part of this program.
                style { (PreEscaped(include_str!("html/report.css"))) }
            }
            body {
                header {
                    h1 { (title) }
                    @for run in runs { (about(run, runs.len() > 1)) }
                }
                main {
                    h2 { "Thresholds" }
                    (thresholds(runs))
                    h2 { "Summary" }
                    (summary(runs))
                    (counts(runs))
                    @if !shown.is_empty() {
                        h2 { "Over time" }
                        p class="about" { (time_words(runs)) }
                        div class="charts" { @for chart in &shown { (chart.draw()) } }
                    }
                    @if !flat.is_empty() {
                        p class="about" {
                            "Nothing to draw of: "
                            (flat.iter().map(|chart| chart.title.as_str()).collect::<Vec<_>>().join(", ")) "."
                        }
                    }
                    @if !spread.is_empty() {
                        h2 { "Distributions" }
                        p class="about" {
                            "How many percent took no longer than that. Every further nine has the same room; "
                            "at the right end is the largest."
                        }
                        div class="charts" { @for chart in &spread { (chart.draw()) } }
                    }
                }
            }
        }
    };
    markup.into_string()
}

/// What a run is, its verdict, and whether its figures are the server's.
fn about(run: &Run, is_one_of_several: bool) -> Markup {
    let document = &run.document;
    let missed = document
        .checks
        .iter()
        .filter(|check| !check.holds())
        .count();
    html! {
        p class="about" {
            @if is_one_of_several { strong { (run.title) } ": " (document.name) ", " }
            "seed " (document.seed) ", begun " (document.started) ", " (document.generator)
        }
        div class=(if document.passed { "verdict passed" } else { "verdict failed" }) {
            strong {
                @if is_one_of_several { (run.title) ": " }
                (compare::verdict(document))
            }
            @if document.checks.is_empty() {
                " – the scenario has no thresholds"
            } @else if document.passed {
                " – every threshold held"
            } @else {
                " – " (missed) " of " (document.checks.len()) " thresholds missed"
            }
            @if document.bottleneck.is_none() { p { (document.generator_words()) } }
        }
        @if document.bottleneck.is_some() {
            div class="verdict doubtful" { strong { (document.generator_words()) } }
        }
    }
}

fn thresholds(runs: &[Run]) -> Markup {
    let checks = compare::checks(runs);
    html! {
        @if checks.is_empty() {
            p class="about" { "None were set." }
        } @else {
            div class="scroll" { table {
                thead { tr {
                    th { "Threshold" }
                    @for run in runs {
                        @if runs.len() > 1 { th class="n" { (run.title) } } @else { th class="n" { "Found" } }
                        th { "Expected" }
                    }
                } }
                tbody { @for (name, found) in &checks { tr {
                    th { (name) }
                    @for check in found {
                        @if let Some(check) = check {
                            td class="n" { (with_unit(check.value, "")) }
                            td {
                                (compare::limit(check)) ": "
                                @if check.holds() { span class="better" { "held" } }
                                @else if check.value.is_none() { span class="worse" { "not measured" } }
                                @else { span class="worse" { "missed" } }
                            }
                        } @else { td class="n" { "–" } td { "not set" } }
                    }
                } } }
            } }
        }
    }
}

fn summary(runs: &[Run]) -> Markup {
    let rows = compare::rows(runs);
    // One run leaves room for two tables beside each other.
    let parts = if runs.len() > 1 { 1 } else { 2 };
    let parts = rows.chunks(rows.len().div_ceil(parts).max(1));
    html! {
        div class=(if runs.len() > 1 { "" } else { "columns" }) {
            @for part in parts { div class="scroll" { table {
                @if runs.len() > 1 { thead { tr {
                    th {}
                    @for run in runs { th class="n" { (run.title) } }
                } } }
                tbody { @for row in part { tr {
                    th { (row.metric.label) }
                    @for (number, cell) in row.cells.iter().enumerate() { td class="n" {
                        (with_unit(cell.value, &row.metric.unit))
                        @if number > 0 {
                            " " span class=(change(cell.change)) {
                                @if let Some(ratio) = cell.ratio { (times(ratio)) }
                                @else if cell.change != Change::None { "from 0" }
                            }
                        }
                    } }
                } } }
            } } }
        }
    }
}

fn change(change: Change) -> &'static str {
    match change {
        Change::Better => "ratio better",
        Change::Worse => "ratio worse",
        Change::None => "ratio",
    }
}

/// What failed and why, where something did.
fn counts(runs: &[Run]) -> Markup {
    let any = runs
        .iter()
        .any(|run| run.document.counts.iter().any(|one| !one.by.is_empty()));
    html! {
        @if any {
            h2 { "What went wrong, by reason" }
            div class="scroll" { table { tbody {
                @for run in runs { @for counts in &run.document.counts { @for (reason, count) in &counts.by { tr {
                    @if runs.len() > 1 { th { (run.title) } }
                    th { (counts.name) }
                    td { (reason) }
                    td class="n" { (number(float(*count))) }
                } } } }
            } } }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}

fn time_words(runs: &[Run]) -> String {
    let step = runs.iter().map(|run| run.document.series.step_s).max();
    let step = match step {
        Some(step) if step > 1 => format!("Each value is of {step} seconds. "),
        _ => String::new(),
    };
    let from = if origin(runs).is_some() {
        "Time counts from the beginning of each run's load."
    } else {
        "Time counts from the beginning of the run."
    };
    step + from
}

/// The moment of each run that charts begin to count at, when several with a load are compared.
fn origin(runs: &[Run]) -> Option<Vec<f64>> {
    if runs.len() < 2 {
        return None;
    }
    let moments = runs.iter().map(|run| {
        let mark = run
            .document
            .series
            .marks
            .iter()
            .find(|mark| mark.name == "load");
        mark.map(|mark| mark.at_s)
    });
    moments.collect()
}

/// A chart for each title that a column of a run has.
fn over_time(runs: &[Run]) -> Vec<Chart> {
    let origin = origin(runs).unwrap_or_else(|| vec![0.0; runs.len()]);
    let columns = || runs.iter().flat_map(|run| &run.document.series.columns);
    let mut titles: Vec<&str> = Vec::new();
    for title in columns().filter_map(|column| column.chart.as_deref()) {
        if !titles.contains(&title) {
            titles.push(title);
        }
    }
    titles
        .into_iter()
        .map(|title| {
            let is_in = |column: &&Column| column.chart.as_deref() == Some(title);
            let mut names: Vec<&str> = Vec::new();
            for column in columns().filter(is_in) {
                if !names.contains(&column.name.as_str()) {
                    names.push(&column.name);
                }
            }
            let mut lines = Vec::new();
            for (number, run) in runs.iter().enumerate() {
                for (kind, name) in names.iter().enumerate() {
                    if let Some(column) = run.document.series.column(name) {
                        lines.push(line(run, column, number, kind, runs.len(), origin[number]));
                    }
                }
            }
            Chart {
                title: title.to_owned(),
                unit: columns()
                    .find(is_in)
                    .map_or_else(String::new, |column| column.unit.clone()),
                lines,
                axis: Axis::Time,
                marks: marks(runs, &origin),
            }
        })
        .collect()
}

/// What began when: of each name the first run's that has it.
fn marks(runs: &[Run], origin: &[f64]) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    for (run, origin) in runs.iter().zip(origin) {
        for mark in &run.document.series.marks {
            if marks.iter().all(|(_, name)| *name != mark.name) {
                marks.push((mark.at_s - origin, mark.name.clone()));
            }
        }
    }
    marks
}

/// A line: the dashes tell columns apart, and the colour does in a page of one run; in one of several it tells the runs.
fn line(run: &Run, column: &Column, number: usize, kind: usize, runs: usize, origin: f64) -> Line {
    let series = &run.document.series;
    let (step, values) = thinned(&column.values, column.fold, POINTS_MAX);
    let step = float(series.step_s * step as u64);
    let points = (0u32..).map(f64::from).zip(values);
    Line {
        label: if runs > 1 {
            format!("{} {}", run.title, column.label)
        } else {
            column.label.clone()
        },
        colour: if runs > 1 { number } else { kind },
        // Lines that are the same would hide each other if all were solid.
        dash: kind,
        // A value is drawn where its second ends.
        points: points
            .map(|(row, value)| ((row + 1.0) * step - origin, value))
            .collect(),
    }
}

/// A chart for each time that was measured.
fn distributions(runs: &[Run]) -> Vec<Chart> {
    let all = || runs.iter().flat_map(|run| &run.document.distributions);
    let mut names: Vec<&str> = Vec::new();
    for distribution in all() {
        if !names.contains(&distribution.name.as_str()) {
            names.push(&distribution.name);
        }
    }
    let of = |document: &Document, name: &str| {
        let distributions = &document.distributions;
        distributions.iter().position(|one| one.name == name)
    };
    let is_alone = runs.len() == 1;
    names
        .into_iter()
        .filter_map(|name| {
            let described = all().find(|one| one.name == name)?;
            let runs = runs.iter().enumerate();
            let lines = runs.filter_map(|(number, run)| {
                let distribution = &run.document.distributions[of(&run.document, name)?];
                let inner = distribution
                    .percentiles
                    .iter()
                    .filter(|(percent, _)| *percent < 100.0);
                let mut points: Vec<(f64, Option<f64>)> = inner
                    .map(|(percent, value)| (percentile(*percent), Some(*value)))
                    .collect();
                // All of them are beyond every nine: the largest stands a little to the right of the last.
                let end = points.last().map_or(0.0, |(x, _)| x + 0.3);
                let largest = distribution
                    .percentiles
                    .iter()
                    .find(|(percent, _)| *percent >= 100.0);
                points.extend(largest.map(|(_, value)| (end, Some(*value))));
                let measured = format!("{} measured,", self::number(float(distribution.count)));
                Some(Line {
                    label: if is_alone {
                        measured
                    } else {
                        format!("{}: {measured}", run.title)
                    },
                    colour: number,
                    dash: 0,
                    points,
                })
            });
            Some(Chart {
                title: described.label.clone(),
                unit: described.unit.clone(),
                lines: lines.collect(),
                axis: Axis::Percentile,
                marks: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
