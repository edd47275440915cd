//! Flags, a run, its report, and an exit code: 0 passed, 1 a threshold was missed, 2 the run could not take place.

mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use redred_loadtest::media::casting::Endpoints;
use redred_loadtest::report::Report;
use redred_loadtest::run::{self, Target};
use redred_loadtest::scenario::Scenario;

use crate::progress::Display;

/// Loads a redred server and says what it did.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario.
    Run {
        /// Its TOML file.
        scenario: PathBuf,
        /// The server.
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        url: String,
        /// The server's `auth.secret`; without, it must be in dev mode.
        #[arg(long, env = "REDRED_AUTH__SECRET", hide_env_values = true)]
        secret: Option<String>,
        /// The server's process on this machine, to report its CPU and memory.
        #[arg(long)]
        server_pid: Option<u32>,
        /// Threads of the generator, for sessions and again for media.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Another seed than the scenario's.
        #[arg(long)]
        seed: Option<u64>,
        /// Another value than the scenario's, as in `--set streams.viewers=50`; may be given more than once.
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// Publish media here and not at the server's own endpoint; `{stream}` stands for the stream's name.
        #[arg(long, requires = "whep")]
        whip: Option<String>,
        /// Watch media here.
        #[arg(long, requires = "whip")]
        whep: Option<String>,
        /// The bearer token for both.
        #[arg(long, requires = "whip")]
        bearer: Option<String>,
        /// Write the report as JSON to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(report) if report.violations().is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            // A broken pipe is the one error there is, and then nobody reads.
            let _ = writeln!(std::io::stderr(), "redred-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn start(cli: Cli) -> anyhow::Result<Report> {
    let Command::Run {
        scenario,
        url,
        secret,
        server_pid,
        threads,
        seed,
        set,
        whip,
        whep,
        bearer,
        json,
    } = cli.command;
    let mut scenario = Scenario::load(&scenario, &set)?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    raise_file_limit();
    let target = Target {
        url,
        secret,
        server_pid,
        threads,
        endpoints: whip
            .zip(whep)
            .map(|(whip, whep)| Endpoints { whip, whep, bearer }),
    };
    let mut display = Display::new();
    let report = run::run(&scenario, &target, |what| display.show(what)).await;
    display.end();
    let report = report?;
    let mut out = std::io::stdout();
    writeln!(out, "{}, seed {}", report.name, report.seed)?;
    write!(out, "{}", report.table())?;
    if let Some(path) = json {
        std::fs::write(&path, report.document().text()?)?;
    }
    Ok(report)
}

/// A connection is an open file: as many as the system lets this process have.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What remains of too low a limit shows as sessions that fail with a reason.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
