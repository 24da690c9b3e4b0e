//! The table `inet socklb` in a sandbox's network namespace, by its own interface: no agent runs, and no BPF program.

mod damage;
mod elements;
mod memory;
mod packets;
mod router;
mod watch;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_agent::kernel::netfilter::{MASQUERADE_MARK, Netfilter, Ruleset};

const RULESET: Ruleset = Ruleset {
    capacity: 1_000,
    masquerade_mark: MASQUERADE_MARK,
    drops_invalid: true,
};

/// The table, made in the calling thread's network namespace.
fn open() -> Result<Netfilter> {
    Ok(Netfilter::open(RULESET)?.0)
}

/// Runs `nft -f -` with these lines; what it prints.
pub fn nft(lines: &str) -> Result<String> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run `nft`: install nftables")?;
    let mut input = nft.stdin.take().context("nft has no standard input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let output = nft.wait_with_output()?;
    ensure!(
        output.status.success(),
        "nft failed: {}; it was given:\n{lines}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The elements in order.
fn sorted(netfilter: &mut Netfilter) -> Result<Vec<(u32, SocketAddr)>> {
    let mut elements = netfilter.elements()?;
    elements.sort();
    Ok(elements)
}

fn element(id: u32, address: &str) -> Result<(u32, SocketAddr)> {
    Ok((id, address.parse()?))
}
