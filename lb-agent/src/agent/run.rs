//! Runs the agent: gives up privileges, starts the thread `sockets`, and takes turns with other agents.

use std::sync::Arc;

use super::settings::AgentSettings;
use super::{privileges, tenure};
use crate::sockets::Worker;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The data path cannot be made ready, or the main loop cannot go on.
pub fn run(settings: &AgentSettings) -> anyhow::Result<()> {
    privileges::of_all();
    // Before any other thread.
    let sockets = Worker::start(privileges::of_sockets)?;
    privileges::of_tables(settings);
    tenure::run(settings, &Arc::new(sockets))
}
