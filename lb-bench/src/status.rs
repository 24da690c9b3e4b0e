//! Asks an agent for its status.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lb_testbed::{Agent, AgentStatus, ask_status, runtime};

/// Longest time without an answer; the bench fails after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until the agent answers.
pub(crate) fn ask(agent: &Agent) -> Result<AgentStatus> {
    let runtime = runtime()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = runtime.block_on(ask_status(agent.socket())) {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("the agent does not answer its status socket");
        }
    }
}
