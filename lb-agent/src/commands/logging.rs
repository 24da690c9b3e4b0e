//! The log that `run` writes, to stderr.

use std::io::{self, IsTerminal};

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Starts logging.
///
/// # Errors
/// The filter makes no sense, or there is a log already.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    // notify warns when a folder goes, since it hears of it twice; of what kube meets the watches tell.
    let quiet = "notify=error,kube_client=off,kube_runtime=off";
    let filter = EnvFilter::try_new(format!("error,{quiet},{filter}")).with_context(|| {
        format!("--log {filter:?}: write a level, or pairs like lb_agent=debug")
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}
