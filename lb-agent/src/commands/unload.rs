//! `lb-agent unload`: removes the data path.

use std::path::Path;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::runtime::block_on;
use crate::counted::counted;
use crate::kernel::{self, Unloaded};

/// Detaches the programs and removes the tables. Open connections of sockets stay open.
///
/// `then_wait`: stay until SIGTERM, as the container of a DaemonSet must.
pub fn unload(pin_dir: &Path, then_wait: bool) -> anyhow::Result<()> {
    match kernel::unload(pin_dir)? {
        None => println!("nothing to remove: {} does not exist", pin_dir.display()),
        Some(unloaded) => report(pin_dir, unloaded),
    }
    if then_wait {
        block_on(wait())?;
    }
    Ok(())
}

fn report(pin_dir: &Path, unloaded: Unloaded) {
    let Unloaded {
        links,
        maps,
        packets,
    } = unloaded;
    if links + maps > 0 || packets.is_empty() {
        println!(
            "detached {} and removed {} from {}; open connections of sockets stay open",
            counted(links, "hook"),
            counted(maps, "table"),
            pin_dir.display()
        );
    }
    if packets.devices > 0 {
        println!(
            "detached the program `packet` from {}",
            counted(packets.devices, "network device")
        );
    }
    if packets.has_table {
        // With the last rules for them, the kernel takes its hooks of conntrack and NAT off the network namespace
        // (nf_ct_netns_put, nf_nat_unregister_fn).
        println!(
            "removed the nftables table inet socklb; open connections of packets stay open while other NAT rules are there, such as \
             kube-proxy's"
        );
    }
}

async fn wait() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    println!("done; waiting for SIGTERM");
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt.context("cannot listen to signals"),
    }
}
