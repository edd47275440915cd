//! Lines in an SVG: over time, or over percentiles. Colours are classes of the page's style sheet, so that they follow light and
//! dark; that is why this is drawn here and not by a crate for charts, which would fix them.

use maud::{Markup, html};

use crate::compare::{number, with_unit};

/// The size of a chart in its own units: about as many pixels on a phone held upright, so that its letters stay readable there.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 200.0;

/// Room around the plot: for the labels of the left axis, of the marks, at the right end and of the lower axis.
const LEFT: f64 = 46.0;
const TOP: f64 = 18.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 22.0;

/// Colours that the style sheet has.
const COLOURS: usize = 6;

/// Dashes that the style sheet has.
const DASHES: usize = 4;

/// A chart.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) unit: String,
    pub(super) lines: Vec<Line>,
    pub(super) axis: Axis,
    /// Moments to show, by x.
    pub(super) marks: Vec<(f64, String)>,
}

/// A line of a chart.
pub(super) struct Line {
    pub(super) label: String,
    /// Number of its colour.
    pub(super) colour: usize,
    /// Number of its dash pattern; 0 is solid.
    pub(super) dash: usize,
    /// By ascending x; a gap where there is no value.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// What x means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    /// Seconds.
    Time,
    /// What [`percentile`] makes of percent.
    Percentile,
}

/// Where percent stand on an axis that gives each further nine as much room.
pub(super) fn percentile(percent: f64) -> f64 {
    -((100.0 - percent) / 100.0).max(1e-9).log10()
}

/// The range that is shown.
struct Frame {
    from: f64,
    to: f64,
    top: f64,
}

impl Frame {
    fn of(chart: &Chart) -> Option<Self> {
        let points = || chart.lines.iter().flat_map(|line| &line.points);
        let values = points().filter_map(|(_, y)| *y);
        let top = values.filter(|y| y.is_finite()).fold(f64::MIN, f64::max);
        let from = points().map(|(x, _)| *x).fold(f64::MAX, f64::min);
        let to = points().map(|(x, _)| *x).fold(f64::MIN, f64::max);
        (top > f64::MIN && from.is_finite() && to.is_finite()).then(|| Self {
            from,
            to: to.max(from + 1e-9),
            top: if top > 0.0 { top * 1.05 } else { 1.0 },
        })
    }

    fn x(&self, x: f64) -> f64 {
        let share = (x - self.from) / (self.to - self.from);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        let share = (y / self.top).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    /// Whether there is anything to see: a value that is not nothing.
    pub(super) fn has_values(&self) -> bool {
        let mut values = self.lines.iter().flat_map(|line| &line.points);
        values.any(|(_, y)| y.is_some_and(|y| y != 0.0))
    }

    /// The chart and its legend.
    pub(super) fn draw(&self) -> Markup {
        let frame = Frame::of(self);
        html! {
            figure {
                figcaption {
                    strong { (self.title) }
                    @if !self.unit.is_empty() { " " span class="unit" { (self.unit) } }
                }
                @if let Some(frame) = &frame {
                    svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(self.title) {
                        (self.grid(frame))
                        @for line in &self.lines {
                            path class=(line.class()) d=(line.path(frame)) { title { (line.label) } }
                        }
                    }
                }
                (self.legend())
            }
        }
    }

    fn grid(&self, frame: &Frame) -> Markup {
        let (left, right, bottom) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
        let ticks = match self.axis {
            Axis::Time => times(frame.from, frame.to),
            Axis::Percentile => percentiles(frame.to),
        };
        html! {
            @for value in steps(0.0, frame.top, 4) {
                @let y = place(frame.y(value));
                line class="grid" x1=(left) x2=(right) y1=(y) y2=(y) {}
                text class="y" x=(left - 6.0) y=(y) { (number(value)) }
            }
            @for (at, label) in ticks {
                @let x = place(frame.x(at));
                line class="grid" x1=(x) x2=(x) y1=(bottom) y2=(bottom + 4.0) {}
                text class="x" x=(x) y=(HEIGHT - 6.0) { (label) }
            }
            @for (at, label) in &self.marks {
                @let x = place(frame.x(*at));
                line class="mark" x1=(x) x2=(x) y1=(TOP) y2=(bottom) {}
                text class=(if frame.x(*at) > WIDTH * 0.7 { "mark end" } else { "mark" }) x=(x) y=(TOP - 6.0) { (label) }
            }
        }
    }

    fn legend(&self) -> Markup {
        html! {
            ul class="legend" {
                @for line in &self.lines {
                    li {
                        svg class="key" viewBox="0 0 24 8" aria-hidden="true" {
                            path class=(line.class()) d="M1 4H23" {}
                        }
                        (line.label)
                        @if let Some(most) = line.most() {
                            " " span class="unit" { "max " (with_unit(Some(most), &self.unit)) }
                        }
                    }
                }
            }
        }
    }
}

impl Line {
    fn class(&self) -> String {
        format!("line c{} d{}", self.colour % COLOURS, self.dash % DASHES)
    }

    fn most(&self) -> Option<f64> {
        let values = self.points.iter().filter_map(|(_, y)| *y);
        values.reduce(f64::max)
    }

    fn path(&self, frame: &Frame) -> String {
        let mut path = String::new();
        let mut is_drawing = false;
        for (number, (x, y)) in self.points.iter().enumerate() {
            let Some(y) = y.filter(|y| y.is_finite()) else {
                is_drawing = false;
                continue;
            };
            let command = if is_drawing { 'L' } else { 'M' };
            path += &format!("{command}{} {}", place(frame.x(*x)), place(frame.y(y)));
            let is_last = self.points.get(number + 1).is_none_or(|(_, y)| y.is_none());
            if !is_drawing && is_last {
                // A value between two gaps: a line of no length has round ends, and is a dot.
                path += "h0.01";
            }
            is_drawing = true;
        }
        path
    }
}

/// A coordinate, with no more digits than can be seen.
fn place(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Round values between two, about so many.
fn steps(from: f64, to: f64, count: u32) -> Vec<f64> {
    let rough = (to - from) / f64::from(count);
    let power = 10f64.powf(rough.max(1e-9).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let step = factors.iter().map(|factor| factor * power);
    let step = step
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    multiples(from, to, step)
}

fn multiples(from: f64, to: f64, step: f64) -> Vec<f64> {
    let first = (from / step - 1e-9).ceil();
    let numbers = (0..64u32).map(|number| (first + f64::from(number)) * step);
    // Minus nothing would be written with its sign.
    numbers
        .take_while(|value| *value <= to)
        .map(|value| value + 0.0)
        .collect()
}

/// Moments, as seconds or, when there are many, as minutes or hours.
fn times(from: f64, to: f64) -> Vec<(f64, String)> {
    const STEPS: [f64; 12] = [
        1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
    ];
    let rough = (to - from) / 6.0;
    let step = STEPS.into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or_else(|| (rough / 7200.0).ceil() * 7200.0);
    let (unit, size) = match step {
        step if step < 60.0 => ("s", 1.0),
        step if step < 3600.0 => ("min", 60.0),
        _ => ("h", 3600.0),
    };
    let moments = multiples(from, to, step).into_iter();
    moments
        .map(|at| (at, format!("{} {unit}", number(at / size))))
        .collect()
}

fn percentiles(to: f64) -> Vec<(f64, String)> {
    let percents = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999].into_iter();
    percents
        .map(|percent| (percentile(percent), format!("{percent}\u{202f}%")))
        .filter(|(at, _)| *at <= to)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, Option<f64>)]) -> Line {
        Line {
            label: "p99".to_owned(),
            colour: 0,
            dash: 0,
            points: points.to_vec(),
        }
    }

    fn chart(points: &[(f64, Option<f64>)]) -> Chart {
        Chart {
            title: "Time".to_owned(),
            unit: "ms".to_owned(),
            lines: vec![line(points)],
            axis: Axis::Time,
            marks: Vec::new(),
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_lone_value_is_a_dot() {
        let values = [Some(0.0), Some(10.0), None, Some(5.0), None, Some(5.0)];
        let points: Vec<_> = (0u32..).map(f64::from).zip(values).collect();
        let chart = chart(&points);
        let frame = Frame::of(&chart).expect("values");
        let path = chart.lines[0].path(&frame);
        assert_eq!(path.matches('M').count(), 3, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert_eq!(path.matches("h0.01").count(), 2, "{path}");
        assert!(path.starts_with("M46 178"), "{path}");
    }

    #[test]
    fn what_is_not_there_is_not_drawn_and_does_not_fail() {
        let nothing = chart(&[(0.0, None)]);
        assert!(!nothing.has_values());
        assert!(!nothing.draw().into_string().contains("viewBox=\"0 0 420"));
        assert!(!chart(&[(0.0, Some(0.0))]).has_values());
        let one = chart(&[(3.0, Some(7.0))]);
        assert!(one.has_values());
        assert!(one.draw().into_string().contains("h0.01"));
    }

    #[test]
    fn axes_have_round_labels() {
        assert_eq!(steps(0.0, 105.0, 4), [0.0, 50.0, 100.0]);
        assert_eq!(steps(0.0, 0.9, 4).len(), 2);
        let label = |from, to| {
            let labels = times(from, to).into_iter();
            labels.map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(
            label(-5.0, 20.0),
            ["-5 s", "0 s", "5 s", "10 s", "15 s", "20 s"]
        );
        assert_eq!(label(0.0, 600.0).last().map(String::as_str), Some("10 min"));
        assert!(label(0.0, 864_000.0).len() < 10);
        assert_eq!(percentiles(2.5).len(), 3);
    }
}
