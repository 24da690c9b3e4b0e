//! Waits for a sandbox that the user started from a terminal. Ctrl-C terminates it, and its supervisor still cleans up.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::supervisor::Supervised;

/// Time to exit after SIGTERM, before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the process exits; forwards SIGINT, SIGTERM and SIGHUP as SIGTERM.
pub fn wait_in_foreground(node: &mut Supervised) -> Result<ExitStatus> {
    let runtime = crate::runtime::runtime()?;
    runtime.block_on(wait(node))
}

async fn wait(node: &mut Supervised) -> Result<ExitStatus> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut deadline = None;
    loop {
        if let Some(status) = node.try_wait()? {
            return Ok(status);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!("it has not exited within {PATIENCE:?} and was killed");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => continue,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            _ = hung_up.recv() => {}
        }
        deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        node.signal(Signal::SIGTERM)?;
    }
}
