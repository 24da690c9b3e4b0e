//! `lb-agent run`: starts the log, and the agent.

use super::{LogFormat, logging};
use crate::agent::{self, AgentSettings};

/// Runs the agent until SIGTERM or SIGINT.
///
/// `log`: a level or a filter.
///
/// # Errors
/// The filter makes no sense, or the agent cannot work.
pub fn run(settings: &AgentSettings, log: &str, format: LogFormat) -> anyhow::Result<()> {
    logging::start(log, format)?;
    agent::run(settings)
}
