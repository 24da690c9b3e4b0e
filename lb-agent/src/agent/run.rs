//! Runs the agent: drops privileges, starts the thread `sockets`, and alternates with other agents.

use std::sync::Arc;

use super::settings::AgentSettings;
use super::{privileges, tenure};
use crate::sockets::Worker;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The data path cannot be made ready, or the main loop fails.
pub fn run(settings: &AgentSettings) -> anyhow::Result<()> {
    privileges::of_all();
    // This comes before any other thread starts.
    let sockets = Worker::start(privileges::of_sockets)?;
    privileges::of_tables(settings);
    tenure::run(settings, &Arc::new(sockets))
}
