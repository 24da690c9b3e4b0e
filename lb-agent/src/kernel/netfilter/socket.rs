//! A netlink socket to nf_tables: requests with answers, and transactions.

use std::io;

use netlink_bindings::traits::NetlinkRequest;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};

use super::batch::Batch;
use super::frame::{Frame, frames, header};
use super::part::Part;

/// The kernel fills up to this many bytes at a time (`netlink_dump` in net/netlink/af_netlink.c).
const ANSWER: usize = 32 * 1024;

/// The kernel's own space in a send buffer, beside the bytes of a message.
const SEND_OVERHEAD: usize = 64 * 1024;

/// Answers to a transaction wait in the socket until all of it was read: some hundred bytes for each message.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How often to begin again if other programs change nftables between reading and writing.
pub const ATTEMPTS: u32 = 20;

/// Belongs to the network namespace in which it was opened, wherever its thread goes later.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    port: u32,
    sequence: u32,
    send_buffer: usize,
    answer: Vec<u8>,
}

/// A transaction that the kernel refused. Nothing of it took effect.
#[derive(Debug)]
pub struct Refusal {
    /// What the first refused message is about; the table, if the transaction was refused as a whole.
    pub part: Part,
    pub error: io::Error,
}

impl Netlink {
    /// Opens it in the calling thread's network namespace.
    ///
    /// # Errors
    /// EPROTONOSUPPORT: the kernel has no nfnetlink.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error repeats no more than the header of its message.
        socket.set_cap_ack(true)?;
        // Without CAP_NET_ADMIN the request itself fails, and says why.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        Ok(Self {
            socket,
            port,
            sequence: 0,
            send_buffer: 0,
            answer: Vec::with_capacity(ANSWER),
        })
    }

    /// Its address, by which other sockets recognize its changes.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Sends a request, and calls `see` with each message of the answer.
    ///
    /// # Errors
    /// EINTR: the tables changed during a dump, so the answer may mix two states.
    pub fn ask<R: NetlinkRequest>(
        &mut self,
        request: &R,
        mut see: impl for<'a> FnMut(R::ReplyType<'a>),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = header(request, self.sequence);
        bytes.extend_from_slice(request.payload());
        self.socket.send(&bytes, 0)?;
        let mut was_interrupted = false;
        loop {
            self.receive(0)?;
            for frame in frames(&self.answer) {
                if frame.sequence != self.sequence {
                    continue;
                }
                was_interrupted |= frame.is_interrupted;
                match frame.content {
                    Frame::Message(payload) => see(R::decode_reply(payload)),
                    Frame::End(0) if was_interrupted => {
                        return Err(io::Error::from_raw_os_error(libc::EINTR));
                    }
                    Frame::End(0) => return Ok(()),
                    Frame::End(error) => return Err(io::Error::from_raw_os_error(error)),
                }
            }
        }
    }

    /// An empty batch; commit it before any other.
    pub fn batch(&self, generation: Option<u32>) -> Batch {
        Batch::new(self.sequence.wrapping_add(1), generation)
    }

    /// Executes a batch: all of it or, with an error, nothing.
    ///
    /// # Errors
    /// ERESTART: the tables are no longer of the batch's generation.
    pub fn commit(&mut self, batch: Batch) -> Result<(), Refusal> {
        let as_a_whole = |error| Refusal {
            part: Part::Table,
            error,
        };
        let first = self.sequence.wrapping_add(1);
        let (bytes, mut parts) = batch.finish();
        let messages = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        self.sequence = self.sequence.wrapping_add(messages);
        self.make_room(bytes.len());
        self.socket.send(&bytes, 0).map_err(as_a_whole)?;
        // The kernel executes a batch while it is being sent (`netlink_unicast_kernel`), so all answers are there.
        let mut refused = None;
        let mut is_done = false;
        loop {
            match self.receive(libc::MSG_DONTWAIT) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(as_a_whole(error)),
            }
            for frame in frames(&self.answer) {
                let index = frame.sequence.wrapping_sub(first);
                match frame.content {
                    Frame::End(0) if index < messages => is_done = true,
                    Frame::End(error) if index < messages && refused.is_none() => {
                        refused = Some(Refusal {
                            part: parts.swap_remove(index as usize),
                            error: io::Error::from_raw_os_error(error),
                        });
                    }
                    _ => {}
                }
            }
        }
        match refused {
            Some(refused) => Err(refused),
            None if is_done => Ok(()),
            None => Err(as_a_whole(io::Error::other(
                "the kernel did not acknowledge it",
            ))),
        }
    }

    /// A batch is one message to the socket, and must fit its send buffer.
    fn make_room(&mut self, bytes: usize) {
        let wanted = bytes + SEND_OVERHEAD;
        if wanted > self.send_buffer
            && setsockopt(&self.socket, sockopt::SndBufForce, &wanted).is_ok()
        {
            self.send_buffer = wanted;
        }
    }

    fn receive(&mut self, flags: libc::c_int) -> io::Result<()> {
        self.answer.clear();
        self.socket.recv(&mut self.answer, flags).map(drop)
    }
}
