//! The addresses of this node, as the kernel lists them. The node serves NodePorts on them.

use std::io;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::ifaddrs::getifaddrs;
use tokio::sync::mpsc::Sender;

/// From linux/rtnetlink.h: RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR.
const ADDRESS_CHANGES: u32 = 0x10 | 0x100;

/// The wait after an error.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longer than any message of those groups, in bytes. The agent does not need the content of a longer one.
const MESSAGE: usize = 8192;

/// Returns the addresses of all interfaces, sorted, without loopback and link-local addresses.
///
/// # Errors
/// The kernel does not list them.
pub fn list() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
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
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, ADDRESS_CHANGES))?;
    thread::Builder::new()
        .name("addresses".to_owned())
        .spawn(move || {
            let mut message = Vec::with_capacity(MESSAGE);
            // List first: the addresses may have changed before the subscription to the kernel's messages.
            loop {
                match list() {
                    Ok(addresses) => {
                        if changes.blocking_send(addresses).is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(
                        event = "node_addresses.list_failed",
                        %error,
                        "cannot list the node's addresses: NodePorts stay on the known ones",
                    ),
                }
                message.clear();
                match socket.recv(&mut message, 0) {
                    // ENOBUFS means that a message was lost, which also shows that an address has changed.
                    Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                        tracing::warn!(
                            event = "node_addresses.watch_failed",
                            %error,
                            "cannot watch the node's addresses: listing them again",
                        );
                        thread::sleep(PATIENCE);
                    }
                    _ => {}
                }
            }
        })
}
