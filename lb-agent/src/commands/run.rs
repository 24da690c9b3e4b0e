//! `lb-agent run`: starts the log, and the agent.

use std::process::ExitCode;

use super::logging::{self, LogFormat};
use crate::agent::{self, AgentSettings};

/// Runs the agent until SIGTERM or SIGINT. A JSON log contains its error as an event.
///
/// `log`: a level or a filter.
///
/// # Errors
/// The filter is invalid, or the agent fails.
pub fn run(settings: &AgentSettings, log: &str, format: LogFormat) -> anyhow::Result<ExitCode> {
    logging::start(log, format, settings.events.clone())?;
    match agent::run(settings) {
        Err(error) if format == LogFormat::Json && tracing::enabled!(tracing::Level::ERROR) => {
            tracing::error!(
                event = "agent.failed",
                error = format!("{error:#}"),
                "the agent cannot run",
            );
            Ok(ExitCode::FAILURE)
        }
        result => result.map(|()| ExitCode::SUCCESS),
    }
}
