//! `lb-agent unload`: removes the data path.

use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::runtime::block_on;
use crate::kernel;

/// Detaches the programs and removes the tables. Open connections stay open.
///
/// `then_wait`: stay until SIGTERM, as the container of a DaemonSet must.
pub fn unload(pin_dir: &Path, then_wait: bool) -> anyhow::Result<()> {
    match kernel::unload(pin_dir)? {
        None => println!("nothing to remove: {} does not exist", pin_dir.display()),
        Some(unloaded) => println!(
            "detached {} hooks and removed {} tables from {}; connections that are open stay open",
            unloaded.links,
            unloaded.maps,
            pin_dir.display()
        ),
    }
    if then_wait {
        block_on(wait())?;
    }
    Ok(())
}

async fn wait() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    println!("done; waiting for SIGTERM");
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt.context("cannot listen to signals"),
    }
}
