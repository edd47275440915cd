//! The server binary: flags to configuration to server to exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match redred::cli::run(redred::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("redred: {error:#}");
            ExitCode::FAILURE
        }
    }
}
