//! The command line: serve, check-config, token, migrate.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use redred_signaling::grants::Grants;
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::{self, Verifier};
use crate::config::{self, Config, LogFormat, Sources};
use crate::server::{Exit, Server};
use crate::{shutdown, store, telemetry};

/// sysexits.h calls this EX_USAGE; here it says that the configuration has faults.
const EXIT_CONFIG: u8 = 64;

/// What a shell reports of a process that SIGINT ended.
const EXIT_FORCED: u8 = 130;

/// Live video in one server: WebRTC streams, their comments and moderation.
#[derive(Parser)]
#[command(name = "redred", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Overrides,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (also without a subcommand)
    Serve(Overrides),
    /// Validate the configuration and print it with secrets masked
    CheckConfig(Overrides),
    /// Print a token signed with auth.secret
    Token(TokenArgs),
    /// Apply database migrations and exit
    Migrate(Overrides),
}

/// Flags that set keys of the configuration.
#[derive(Args, Default)]
struct Overrides {
    /// TOML file; config/redred.toml shows every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address of HTTP, as in 127.0.0.1:8080 (http.listen)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// First UDP port of the media workers (sfu.udp_port_base)
    #[arg(long, value_name = "PORT")]
    udp_port_base: Option<String>,
    /// Database, as in sqlite://redred.db or postgres://localhost/redred (store.url)
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Form of log lines (log.format)
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Level or filter of log lines (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Args)]
struct TokenArgs {
    #[command(flatten)]
    overrides: Overrides,
    /// User id: 1 to 64 of A-Z a-z 0-9 _ . -
    #[arg(long)]
    sub: String,
    /// Display name; the user id when left out
    #[arg(long)]
    name: Option<String>,
    /// Stream that the user owns, or '*'; may be repeated
    #[arg(long, value_name = "STREAM")]
    publish: Vec<String>,
    /// Stream that the user may watch, or '*'; every stream when left out
    #[arg(long, value_name = "STREAM")]
    watch: Vec<String>,
    /// Stream that the user moderates, or '*'
    #[arg(long, value_name = "STREAM")]
    moderate: Vec<String>,
    /// Stream that the user may comment on, or '*'; every stream when left out
    #[arg(long, value_name = "STREAM")]
    chat: Vec<String>,
    /// May everything
    #[arg(long)]
    admin: bool,
    /// How long the token is valid, as in 1h
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

/// Carries out the command line.
///
/// # Errors
///
/// When the command fails for another reason than the configuration, whose faults are printed.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(overrides) => with_config(&overrides, serve),
        Command::CheckConfig(overrides) => with_config(&overrides, |config| {
            print(&config.to_toml())?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Token(args) => with_config(&args.overrides, |config| token(&config, &args)),
        Command::Migrate(overrides) => with_config(&overrides, migrate),
    }
}

/// Reads the configuration and goes on with it, or prints every fault of it.
fn with_config(
    overrides: &Overrides,
    go_on: impl FnOnce(Config) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    match config::merge(overrides.sources()) {
        Ok(config) => go_on(config),
        Err(faults) => {
            eprintln!("redred: {faults}");
            Ok(ExitCode::from(EXIT_CONFIG))
        }
    }
}

fn serve(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let exit = runtime.block_on(async {
        let requests = shutdown::on_signals().context("listening for signals")?;
        // From the start on, for a hangup would end the process.
        let mut hangups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
        let is_text = config.log.format == LogFormat::Text;
        let server = Server::bind(config).await?;
        if is_text {
            print(&server.welcome())?;
        }
        let reloads = server.reloads();
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                tracing::info!("SIGHUP");
                reloads.notify_one();
            }
        });
        anyhow::Ok(server.run(requests).await)
    })?;
    // Tasks that still wait for somebody else must not keep the process.
    runtime.shutdown_background();
    Ok(match exit {
        Exit::Drained => ExitCode::SUCCESS,
        Exit::Forced => ExitCode::from(EXIT_FORCED),
    })
}

fn token(config: &Config, args: &TokenArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        config.auth.secret.is_some(),
        "auth.secret is not set, so there is nothing to sign with. In dev mode the server makes up a secret at every \
         start; ask it for a token instead:\n  curl -X POST http://{}/api/v1/dev/token -d '{{\"name\":\"Ana\",\
         \"grants\":{{\"publish\":[\"ana\"]}}}}'",
        config.http.listen
    );
    let user = auth::claims::user(args.sub.clone(), args.name.clone());
    let user = user.map_err(anyhow::Error::msg)?;
    let mut grants = serde_json::json!({
        "publish": args.publish, "moderate": args.moderate, "admin": args.admin,
    });
    // An empty list would take away what every token has by default.
    for (name, list) in [("watch", &args.watch), ("chat", &args.chat)] {
        if !list.is_empty() {
            grants[name] = serde_json::json!(list);
        }
    }
    let grants: Grants = auth::claims::grants(grants).map_err(anyhow::Error::msg)?;
    anyhow::ensure!(
        (Duration::from_secs(1)..=auth::TTL_MAX).contains(&args.ttl),
        "--ttl: expected a time from 1s to 30d"
    );
    let signed = Verifier::new(config)?.sign(&user, &grants, args.ttl)?;
    print(&format!("{}\n", signed.token))?;
    Ok(ExitCode::SUCCESS)
}

fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let database = runtime.block_on(store::migrate(&config.store.url))?;
    print(&format!("{database} is up to date\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes to standard output. A closed pipe is an error here, where `print!` would panic.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Overrides {
    fn sources(&self) -> Sources {
        let log_format = self.log_format.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        });
        let flags = [
            ("http.listen", "--listen", self.listen.clone()),
            (
                "sfu.udp_port_base",
                "--udp-port-base",
                self.udp_port_base.clone(),
            ),
            ("store.url", "--store", self.store.clone()),
            ("log.format", "--log-format", log_format),
            ("log.level", "--log-level", self.log_level.clone()),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(key, flag, value)| Some((key, flag, value?)));
        Sources::read(self.config.as_deref(), flags.collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_work_with_and_without_serve() {
        for line in [
            &["redred", "--listen", "127.0.0.1:1", "--log-format", "json"][..],
            &[
                "redred",
                "serve",
                "--listen",
                "127.0.0.1:1",
                "--log-format",
                "json",
            ],
        ] {
            let cli = Cli::parse_from(line);
            let Command::Serve(overrides) = cli.command.unwrap_or(Command::Serve(cli.serve)) else {
                panic!("not serve: {line:?}");
            };
            let flags = overrides.sources().flags;
            assert_eq!(
                flags,
                [
                    ("http.listen", "--listen", "127.0.0.1:1".to_owned()),
                    ("log.format", "--log-format", "json".to_owned()),
                ]
            );
        }
    }

    #[test]
    fn flags_that_set_keys_name_keys_that_exist() {
        let overrides = Overrides {
            listen: Some(String::new()),
            udp_port_base: Some(String::new()),
            store: Some(String::new()),
            log_format: Some(LogFormat::Text),
            log_level: Some(String::new()),
            config: None,
        };
        for (key, flag, _) in overrides.sources().flags {
            assert!(config::KEYS.iter().any(|known| known.name == key), "{flag}");
        }
    }
}
