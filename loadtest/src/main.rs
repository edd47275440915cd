//! Flags, a run or a comparison, its report, and an exit code: 0 done and passed, 1 a threshold was missed, 2 it could not be done.

mod progress;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use redred_loadtest::compare::{self, Run};
use redred_loadtest::html;
use redred_loadtest::media::casting::Endpoints;
use redred_loadtest::media::stack::{Engine, Engines};
use redred_loadtest::report::document::Document;
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
    Run(Box<RunArguments>),
    /// Put the reports of runs side by side; the first is what the others are compared with.
    Compare {
        /// Their JSON files.
        #[arg(required = true)]
        reports: Vec<PathBuf>,
        /// Write the comparison, with charts, as one HTML page to this file.
        #[arg(long)]
        html: Option<PathBuf>,
    },
}

#[derive(Args)]
struct RunArguments {
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
    /// The WebRTC of publishers and viewers.
    #[arg(long, value_enum, default_value_t)]
    engine: Engine,
    /// Another one for publishers.
    #[arg(long, value_enum)]
    publish_engine: Option<Engine>,
    /// Another one for viewers.
    #[arg(long, value_enum)]
    watch_engine: Option<Engine>,
    /// Write the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report, with charts, as one HTML page to this file.
    #[arg(long)]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run(*arguments),
        Command::Compare { reports, html } => compare(&reports, html.as_deref()),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            // A broken pipe is the one error there is, and then nobody reads.
            let _ = writeln!(std::io::stderr(), "redred-loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let mut scenario = Scenario::load(&arguments.scenario, &arguments.set)?;
    scenario.seed = arguments.seed.unwrap_or(scenario.seed);
    raise_file_limit();
    let (whip, whep, bearer) = (arguments.whip, arguments.whep, arguments.bearer);
    let target = Target {
        url: arguments.url,
        secret: arguments.secret,
        server_pid: arguments.server_pid,
        threads: arguments.threads,
        endpoints: whip
            .zip(whep)
            .map(|(whip, whep)| Endpoints { whip, whep, bearer }),
        engines: Engines {
            publish: arguments.publish_engine.unwrap_or(arguments.engine),
            watch: arguments.watch_engine.unwrap_or(arguments.engine),
        },
    };
    let mut display = Display::new();
    let report = run::run(&scenario, &target, |what| display.show(what)).await;
    display.end();
    let report = report?;
    // First what cannot fail for a wrong path: a run may have taken hours.
    let mut out = std::io::stdout();
    writeln!(out, "{}, seed {}", report.name, report.seed)?;
    write!(out, "{}", report.table())?;
    let document = report.document();
    if let Some(path) = arguments.json {
        write_file(&path, &document.text()?)?;
    }
    let has_passed = document.passed;
    if let Some(path) = arguments.html {
        let title = document.name.clone();
        write_file(&path, &html::page(&[Run { title, document }]))?;
    }
    Ok(if has_passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn compare(reports: &[PathBuf], page: Option<&Path>) -> anyhow::Result<ExitCode> {
    let documents = reports.iter();
    let documents = documents
        .map(|path| Ok((path.as_path(), Document::read(path)?)))
        .collect::<anyhow::Result<_>>()?;
    let runs = compare::runs(documents);
    write!(std::io::stdout(), "{}", compare::table(&runs))?;
    if let Some(path) = page {
        write_file(path, &html::page(&runs))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// A connection is an open file: as many as the system lets this process have.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // What remains of too low a limit shows as sessions that fail with a reason.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
