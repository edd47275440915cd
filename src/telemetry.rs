//! The log subscriber and the panic hook: the only place that sets globals.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::metrics::Counter;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sends log lines to standard error, in the form and from the level that was configured.
///
/// # Errors
///
/// When the level is no filter, or a subscriber is set already.
pub fn init(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).context("log.level")?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let done = match log.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    done.map_err(|error| anyhow::anyhow!("setting the log subscriber: {error}"))
}

/// Counts panics and logs them, in place of the default message where a log is kept. Whoever catches a panic decides
/// what it costs.
pub fn count_panics(panics: Counter) {
    let unlogged = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        panics.increment();
        if !tracing::enabled!(tracing::Level::ERROR) {
            return unlogged(info);
        }
        let backtrace = std::backtrace::Backtrace::force_capture();
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        tracing::error!(
            place = info.location().map(tracing::field::display),
            message = text.unwrap_or("no text"),
            %backtrace,
            "a thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_panic_is_counted_and_where_no_log_is_kept_still_said() {
        let (said, hears) = mpsc::channel();
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Other tests may panic as well, on purpose.
            let _ = said.send(info.to_string());
        }));
        let panics = Counter::default();
        count_panics(panics.clone());
        let caught = panic::catch_unwind(|| panic!("said aloud"));
        let ours = panic::take_hook();
        panic::set_hook(usual);
        drop(ours);
        assert!(caught.is_err());
        assert!(panics.count() >= 1);
        assert!(hears.iter().any(|text| text.contains("said aloud")));
    }
}
