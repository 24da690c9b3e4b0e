//! Notices when another program changes our table.

use std::{fmt, io};

use netlink_bindings::utils::find_attr;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

use super::error::NetfilterError;
use super::frame::{Frame, Received, frames};
use super::names::TABLE;
use super::table::Netfilter;

/// NFNLGRP_NFTABLES.
const GROUP: u32 = 7;

/// NFNL_SUBSYS_NFTABLES, the high byte of a message's type; NFT_MSG_NEWGEN, the low byte of the message that ends each
/// transaction.
const NFTABLES: u16 = 10;
const NEW_GENERATION: u16 = 15;

/// NFPROTO_INET, the first byte of a message about our table.
const INET: u8 = 1;

/// The attribute with the table's name has this number in every message but that of a new generation (NFTA_TABLE_NAME,
/// NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE).
const NAME: u16 = 1;

/// struct nfgenmsg.
const HEADER: usize = 4;

/// The offset of nlmsg_pid, the port of the socket whose request caused a message.
const SENDER: u32 = 12;

/// BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K (linux/bpf_common.h).
const LOAD_WORD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The kernel puts messages together up to NLMSG_GOODSIZE, at most two pages.
const MESSAGES: usize = 64 * 1024;

/// Room for the messages of large transactions of other programs; if it is not enough, the table counts as changed.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Receives every change of nftables in the network namespace in which it was opened.
pub struct Watch {
    socket: TokioSocket,
    messages: Vec<u8>,
}

impl Watch {
    /// Opens it in the calling thread's network namespace, which must be that of `netfilter`; inside a tokio runtime.
    ///
    /// The kernel makes a message of each changed element only while somebody listens, so large changes take longer with it.
    ///
    /// # Errors
    /// The kernel does not allow it.
    pub fn open(netfilter: &Netfilter) -> Result<Self, NetfilterError> {
        Ok(Self {
            socket: listen(netfilter.port()).map_err(failed)?,
            messages: Vec::with_capacity(MESSAGES),
        })
    }

    /// Waits until another program has changed our table, or may have. Reads all changes that have happened by then.
    /// Cancel safe.
    ///
    /// # Errors
    /// The socket can no longer be read.
    pub async fn changed(&mut self) -> Result<(), NetfilterError> {
        loop {
            self.messages.clear();
            let received = self.socket.recv(&mut self.messages).await;
            let mut is_changed = self.is_change(received)?;
            loop {
                self.messages.clear();
                let socket = self.socket.socket_ref();
                match socket.recv(&mut self.messages, libc::MSG_DONTWAIT) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    received => is_changed |= self.is_change(received.map(drop))?,
                }
            }
            if is_changed {
                return Ok(());
            }
        }
    }

    /// Whether the received messages are about our table.
    fn is_change(&self, received: io::Result<()>) -> Result<bool, NetfilterError> {
        match received {
            Ok(()) => Ok(frames(&self.messages).any(|frame| is_of_ours(&frame))),
            // Messages were lost.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

fn failed(error: io::Error) -> NetfilterError {
    NetfilterError::System {
        action: "watch",
        error,
    }
}

fn listen(writer: u32) -> io::Result<TokioSocket> {
    let mut async_socket = TokioSocket::new(NETLINK_NETFILTER)?;
    let socket = async_socket.socket_mut();
    socket.bind_auto()?;
    let _ = setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
    SockRef::from(&*socket).attach_filter(&all_but(writer))?;
    socket.add_membership(GROUP)?;
    Ok(async_socket)
}

/// A classic BPF program that drops the messages of a sender in the kernel: all messages that it puts together are about one
/// transaction (`nft_commit_notify` in net/netfilter/nf_tables_api.c). Otherwise our own large changes would fill the socket.
fn all_but(sender: u32) -> [SockFilter; 4] {
    // BPF_ABS loads in network byte order, and nlmsg_pid is in the CPU's.
    let sender = u32::from_be_bytes(sender.to_ne_bytes());
    [
        SockFilter::new(LOAD_WORD, 0, 0, SENDER),
        SockFilter::new(IF_EQUAL, 0, 1, sender),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

fn is_of_ours(frame: &Received<'_>) -> bool {
    let Frame::Message(payload) = frame.content else {
        return false;
    };
    frame.kind >> 8 == NFTABLES
        && frame.kind & 0xff != NEW_GENERATION
        && payload.first() == Some(&INET)
        && payload
            .get(HEADER..)
            .and_then(|attributes| find_attr(attributes, NAME))
            == Some(TABLE.to_bytes_with_nul())
}
