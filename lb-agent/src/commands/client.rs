//! The client that a user names: the cookie of its network namespace.

use std::net::IpAddr;

use anyhow::Context as _;

use crate::kernel::network_cookie;
use crate::sockets::{in_namespace_of_address, in_namespace_of_process};

/// The cookie of a process's network namespace (SO_NETNS_COOKIE).
///
/// # Errors
/// There is no such process, or its namespace may not be entered.
pub fn network_of_process(pid: u32) -> anyhow::Result<u64> {
    let cookie = in_namespace_of_process(pid, network_cookie).with_context(|| {
        format!("cannot enter the network namespace of process {pid}: run as root, and name a process of the client")
    })?;
    Ok(cookie?)
}

/// The cookie of the network namespace that has an address; none if it is not on this node, or may not be entered.
#[must_use]
pub fn network_of_address(address: IpAddr) -> Option<u64> {
    in_namespace_of_address(address, network_cookie).ok()??.ok()
}
