//! Reports each new conntrack entry of a network namespace as the kernel confirms it.

use std::io;
use std::time::Duration;

use netlink_bindings::builtin::Nlmsghdr;
use netlink_bindings::conntrack::{IterableConntrackAttrs, OpGetDump};
use netlink_bindings::traits::NetlinkRequest;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use super::ctnetlink::{ConntrackError, tuple};
use super::flow::NewFlow;

/// NFNLGRP_CONNTRACK_NEW (linux/netfilter/nfnetlink_compat.h).
const GROUP: u32 = 1;

/// linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h: NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW.
const NEW: u16 = 1 << 8;

/// struct nlmsghdr.
const HEADER: usize = 16;

/// The kernel sends a message of its own for each entry; they are much shorter.
const MESSAGE: usize = 8 * 1024;

/// Room for what arrives while the thread waits for a CPU: some ten thousand entries.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Receives each new conntrack entry of the network namespace in which it was opened.
///
/// By default (`net.netfilter.nf_conntrack_events` is 2) the kernel reports entries made since somebody listens.
#[derive(Debug)]
pub struct NewFlows {
    socket: Socket,
    message: Vec<u8>,
}

/// What one wait brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// An entry of TCP or UDP.
    Flow(NewFlow),
    /// Another message.
    Other,
    /// Nothing within the time.
    Nothing,
    /// The kernel had no room for some entries, which nobody sees. It does not say how many.
    Overrun,
}

impl NewFlows {
    /// Opens it in the calling thread's network namespace. It needs CAP_NET_ADMIN.
    ///
    /// `at_most`: how long [`Self::wait`] waits.
    ///
    /// # Errors
    /// [`ConntrackError::Listen`].
    pub fn open(at_most: Duration) -> Result<Self, ConntrackError> {
        Ok(Self {
            socket: listen(at_most).map_err(ConntrackError::Listen)?,
            message: Vec::with_capacity(MESSAGE),
        })
    }

    /// Waits for the next entry.
    ///
    /// # Errors
    /// The socket can no longer be read.
    pub fn wait(&mut self) -> Result<Arrival, ConntrackError> {
        self.message.clear();
        match self.socket.recv(&mut self.message, 0) {
            Ok(_) => Ok(new_flow(&self.message).map_or(Arrival::Other, Arrival::Flow)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Arrival::Overrun),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Arrival::Nothing),
                _ => Err(ConntrackError::Listen(error)),
            },
        }
    }
}

fn listen(at_most: Duration) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    SockRef::from(&socket).set_read_timeout(Some(at_most))?;
    socket.add_membership(GROUP)?;
    Ok(socket)
}

/// The entry of a message; none if it is about something else.
fn new_flow(message: &[u8]) -> Option<NewFlow> {
    let header = Nlmsghdr::new_from_slice(message.get(..HEADER)?)?;
    let length = usize::try_from(header.len).ok()?;
    let payload = message.get(HEADER..length)?;
    if header.r#type != NEW {
        return None;
    }
    let (_, entry): (_, IterableConntrackAttrs<'_>) = OpGetDump::decode_reply(payload);
    let (protocol, original) = tuple(&entry.get_tuple_orig().ok()?)?;
    let (_, reply) = tuple(&entry.get_tuple_reply().ok()?)?;
    let is_in_a_zone = original.zone.is_some() || entry.get_zone().is_ok();
    Some(NewFlow {
        protocol,
        client: original.source,
        to: original.destination,
        answers: reply.source,
        is_in_a_zone,
    })
}
