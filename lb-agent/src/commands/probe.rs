//! `lb-agent probe`: the command of the exec probes of an agent's pod.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::runtime::block_on;
use crate::serve;

/// A process that does not answer within this time is stuck. The time is shorter than the timeout of the pods' probes,
/// so that the kubelet receives the reason, and longer than the process itself waits for its main loop.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// The condition that a probe checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Whether the process is working, even if it is still starting, waiting for another agent, or standing by
    Live,
    /// Whether the contents of its source are in effect, or were until it handed over to another agent
    Ready,
}

/// Asks the process with this `--probe-socket`.
///
/// # Errors
/// The condition is false, or no process answers.
pub fn probe(what: Probe, socket: &Path) -> anyhow::Result<()> {
    let document = match what {
        Probe::Live => serve::LIVE,
        Probe::Ready => serve::READY,
    };
    let (is_so, said) = block_on(async {
        let asked = tokio::time::timeout(ANSWER_WITHIN, serve::probe(socket, document));
        let answer = asked.await.with_context(|| {
            let seconds = ANSWER_WITHIN.as_secs();
            format!(
                "cannot probe {}: no answer within {seconds} s",
                socket.display()
            )
        })?;
        Ok(answer?)
    })?;
    if !is_so {
        bail!("{}", said.replace('\n', "; "));
    }
    println!("{said}");
    Ok(())
}
