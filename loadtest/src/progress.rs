//! What a run shows while it goes on: a bar on a terminal, plain lines anywhere else.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use redred_loadtest::run::{At, Progress};

/// How often a log gets a line about a phase that goes on.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where progress is shown.
pub(crate) enum Display {
    /// A bar that is drawn over.
    Bar(ProgressBar),
    /// Lines of a log.
    Lines(Lines),
}

/// Lines, one for each phase and then one now and then.
#[derive(Default)]
pub(crate) struct Lines {
    last: Option<(&'static str, Instant)>,
}

impl Display {
    /// The display that suits stderr.
    pub(crate) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines(Lines::default());
        }
        let style = ProgressStyle::with_template("{prefix:<9} {bar:30} {msg}")
            .expect("a constant template");
        let bar = ProgressBar::new(1000).with_style(style);
        // Still alive, although nothing new is told.
        bar.enable_steady_tick(Duration::from_millis(500));
        Self::Bar(bar)
    }

    /// Shows what goes on.
    pub(crate) fn show(&mut self, progress: Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(phase(progress));
                bar.set_position(per_mille(progress));
                bar.set_message(words(progress));
            }
            Self::Lines(lines) => {
                if let Some(line) = lines.line(progress, Instant::now()) {
                    // Nobody reads it, then.
                    let _ = writeln!(std::io::stderr(), "{line}");
                }
            }
        }
    }

    /// Leaves the terminal to the report.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    /// The line to write now.
    fn line(&mut self, progress: Progress, now: Instant) -> Option<String> {
        let phase = phase(progress);
        let is_due = self.last.is_none_or(|(known, at)| {
            known != phase || now.saturating_duration_since(at) >= LINE_EVERY
        });
        is_due.then(|| {
            self.last = Some((phase, now));
            format!("{phase}: {}", words(progress))
        })
    }
}

fn phase(progress: Progress) -> &'static str {
    match progress.stage {
        At::Preparing => "preparing",
        At::Arriving => "arriving",
        At::Load { .. } => "load",
        At::Settling => "settling",
    }
}

/// How much of the phase is over.
fn per_mille(progress: Progress) -> u64 {
    match progress.stage {
        At::Preparing => 0,
        At::Arriving => {
            let (there, all) = (
                progress.ready + progress.watching,
                progress.sessions + progress.viewers,
            );
            (there * 1000 / all.max(1)) as u64
        }
        At::Load { elapsed, duration } => {
            let part = elapsed.as_millis() * 1000 / duration.as_millis().max(1);
            u64::try_from(part.min(1000)).unwrap_or(1000)
        }
        At::Settling => 1000,
    }
}

fn words(progress: Progress) -> String {
    let mut parts = Vec::new();
    match progress.stage {
        At::Preparing => return "tokens and rooms".to_owned(),
        At::Settling => return "waiting for what is still under way".to_owned(),
        At::Arriving => {}
        At::Load { elapsed, duration } => {
            let (elapsed, duration) = (elapsed.as_secs(), duration.as_secs_f64());
            parts.push(format!("{elapsed} of {duration:.0} s"));
        }
    }
    for (what, there, all) in [
        ("sessions", progress.ready, progress.sessions),
        ("viewers", progress.watching, progress.viewers),
    ] {
        if all > 0 {
            parts.push(format!("{there} of {all} {what}"));
        }
    }
    if progress.sessions > 0
        && let Some(rate) = progress.delivered_per_second
    {
        parts.push(format!("{rate:.0} deliveries/s"));
    }
    if let Some(p99) = progress.delivery_p99_ms {
        parts.push(format!("p99 {p99:.1} ms"));
    }
    if let Some(rate) = progress.packets_per_second {
        parts.push(format!("{rate:.0} packets/s"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESS: Progress = Progress {
        stage: At::Preparing,
        ready: 6,
        sessions: 8,
        watching: 0,
        viewers: 0,
        delivered_per_second: Some(70.4),
        delivery_p99_ms: Some(12.34),
        packets_per_second: None,
    };

    fn load(seconds: u64) -> Progress {
        Progress {
            stage: At::Load {
                elapsed: Duration::from_secs(seconds),
                duration: Duration::from_secs(20),
            },
            ..PROGRESS
        }
    }

    #[test]
    fn a_log_gets_a_line_for_each_phase_and_one_now_and_then() {
        let mut lines = Lines::default();
        let start = Instant::now();
        let first = lines.line(PROGRESS, start);
        assert_eq!(first.as_deref(), Some("preparing: tokens and rooms"));
        assert_eq!(lines.line(PROGRESS, start), None);
        let told = lines.line(load(0), start);
        assert_eq!(
            told.as_deref(),
            Some("load: 0 of 20 s, 6 of 8 sessions, 70 deliveries/s, p99 12.3 ms")
        );
        let soon = start + LINE_EVERY / 2;
        assert_eq!(lines.line(load(5), soon), None);
        assert!(lines.line(load(10), start + LINE_EVERY).is_some());
    }

    #[test]
    fn a_bar_is_full_when_its_phase_is_over() {
        let arriving = |ready, watching| Progress {
            stage: At::Arriving,
            ready,
            watching,
            viewers: 2,
            ..PROGRESS
        };
        assert_eq!(per_mille(arriving(0, 0)), 0);
        assert_eq!(per_mille(arriving(4, 1)), 500);
        assert_eq!(per_mille(arriving(8, 2)), 1000);
        assert_eq!(per_mille(load(5)), 250);
    }
}
