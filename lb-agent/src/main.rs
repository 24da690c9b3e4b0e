//! The agent's binary: parses the command line and hands over.

use std::process::ExitCode;

use clap::Parser;
use lb_agent::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
