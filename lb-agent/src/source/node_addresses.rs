//! The addresses of this node, as the kernel lists them. The node serves NodePorts on them.

use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;

use nix::ifaddrs::getifaddrs;
use tokio::sync::mpsc::Sender;

use crate::route_changes;

/// The device on which kube-proxy's IPVS mode puts the ClusterIPs, which are not the node's.
const IPVS: &str = "kube-ipvs0";

/// Returns the addresses of all interfaces, sorted, without loopback and link-local addresses.
///
/// # Errors
/// The kernel does not list them.
pub fn list() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter(|interface| interface.interface_name != IPVS)
        .filter_map(|interface| interface.address)
        .filter_map(|address| {
            let ipv4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
            ipv4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
        })
        .filter(is_reachable)
        .collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Logs that NodePorts are on other addresses from now on.
pub fn log_change(addresses: &[IpAddr]) {
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    tracing::info!(
        event = "node_addresses.changed",
        addresses = addresses.join(", "),
        "the node's addresses have changed: NodePorts follow",
    );
}

fn is_reachable(address: &IpAddr) -> bool {
    !address.is_loopback()
        && !match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

/// Starts a thread that sends all addresses after each change, until the receiver is dropped.
///
/// # Errors
/// The kernel does not report changes, or the thread cannot be started.
pub fn watch(changes: Sender<Vec<IpAddr>>) -> io::Result<JoinHandle<()>> {
    route_changes::watch("addresses", route_changes::ADDRESSES, list, changes)
}
