//! Lists something of the kernel's network configuration again whenever the kernel reports a change of it.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use tokio::sync::mpsc::Sender;

/// Changes of devices (RTMGRP_LINK of linux/rtnetlink.h).
pub const DEVICES: u32 = 1;
/// Changes of addresses (RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR).
pub const ADDRESSES: u32 = 0x10 | 0x100;

/// The wait after an error.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longer than any message of those groups, in bytes. The agent does not need the content of a longer one.
const MESSAGE: usize = 8192;

/// Starts a thread that sends what `list` returns, now and after each change, until the receiver is dropped.
///
/// `what`: names the thread, and what is listed in its messages. `groups`: of [`DEVICES`] and [`ADDRESSES`].
///
/// # Errors
/// The kernel does not report changes, or the thread cannot be started.
pub fn watch<T: Send + 'static>(
    what: &'static str,
    groups: u32,
    list: impl Fn() -> io::Result<T> + Send + 'static,
    changes: Sender<T>,
) -> io::Result<JoinHandle<()>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind(&SocketAddr::new(0, groups))?;
    thread::Builder::new()
        .name(what.to_owned())
        .spawn(move || {
            let mut message = Vec::with_capacity(MESSAGE);
            // List first: it may have changed before the subscription to the kernel's messages.
            loop {
                match list() {
                    Ok(listed) => {
                        if changes.blocking_send(listed).is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::warn!(
                        event = "node.list_failed",
                        what,
                        %error,
                        "cannot list a part of the node's network configuration: the known one stays in use",
                    ),
                }
                message.clear();
                match socket.recv(&mut message, 0) {
                    // ENOBUFS means that a message was lost, which also shows that something has changed.
                    Err(error) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                        tracing::warn!(
                            event = "node.watch_failed",
                            what,
                            %error,
                            "cannot watch the node's network configuration: listing it again",
                        );
                        thread::sleep(PATIENCE);
                    }
                    _ => {}
                }
            }
        })
}
