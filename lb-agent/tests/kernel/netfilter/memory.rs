//! How much kernel memory full NAT maps take: docs/install.md has the figure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process;

use anyhow::ensure;
use lb_agent::kernel::Sizes;
use lb_agent::kernel::netfilter::Netfilter;
use lb_testbed::{Family, sandboxed};

use super::RULESET;
use crate::memory::Limited;

/// The default of `--max-endpoints`.
const ENDPOINTS: u32 = 250_000;

/// In bytes: what docs/install.md says, and what the kernel frees later (RCU).
const MOST: u64 = 31_000_000 + 2_000_000;

fn address(family: Family, id: u32) -> SocketAddr {
    let ip: IpAddr = match family {
        Family::IPv4 => Ipv4Addr::from(0x0a00_0000 + id).into(),
        Family::IPv6 => Ipv6Addr::from(u128::from(id)).into(),
    };
    (ip, 80).into()
}

#[test]
fn full_maps_take_the_documented_memory() {
    sandboxed(|sandbox| {
        for family in [Family::IPv4, Family::IPv6] {
            let limited = Limited::new(sandbox, 1 << 30)?;
            limited.enter(process::id())?;
            let before = limited.kernel_memory()?;
            let (mut netfilter, _) = Netfilter::open(super::Ruleset {
                capacity: Sizes::default().backends(),
                ..RULESET
            })?;
            let elements: Vec<_> = (0..ENDPOINTS).map(|id| (id, address(family, id))).collect();
            netfilter.put(&elements)?;
            let grown = limited.kernel_memory()? - before;
            println!("{ENDPOINTS} elements of {family:?}: {grown} bytes");
            ensure!(
                grown > 64 * u64::from(ENDPOINTS),
                "{family:?}: {grown} bytes"
            );
            ensure!(grown <= MOST, "{family:?}: {grown} bytes");
            super::nft("delete table inet socklb")?;
            limited.leave(sandbox, process::id())?;
        }
        Ok(())
    });
}
