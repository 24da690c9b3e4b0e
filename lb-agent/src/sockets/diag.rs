//! The TCP and UDP sockets of one network namespace, by inet_diag.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};

use super::answer::Answered;
use super::tcp::TcpFigures;

pub use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};

/// The kernel fills up to this many bytes at a time (`netlink_dump` in net/netlink/af_netlink.c).
const ANSWER: usize = 32 * 1024;

/// A netlink socket. It lists the network namespace in which it was opened, wherever its thread goes later.
pub struct Diag {
    socket: Socket,
    answer: Vec<u8>,
}

/// A socket in the kernel's answer.
#[derive(Clone, Debug)]
pub struct ListedSocket {
    pub family: u8,
    pub protocol: u8,
    /// One state of [`StateFlags`]. A UDP socket is ESTABLISHED when connected, and CLOSE otherwise.
    pub state: StateFlags,
    pub id: SocketId,
    /// Of the file behind the owner's descriptors, as in `socket:[…]`. 0: no process has it.
    pub inode: u32,
    /// None unless asked for.
    pub tcp: Option<TcpFigures>,
}

impl ListedSocket {
    /// The cookie that the hooks use too: two words, the lower one first (`sock_diag_save_cookie` in
    /// net/core/sock_diag.c).
    pub fn cookie(&self) -> u64 {
        let [a, b, c, d, e, f, g, h] = self.id.cookie;
        let (low, high) = (
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        );
        u64::from(high) << 32 | u64::from(low)
    }

    /// The peer. An IPv4 address in its mapped form at an IPv6 socket counts as IPv4.
    pub fn peer(&self) -> SocketAddr {
        let address = self.id.destination_address.to_canonical();
        SocketAddr::new(address, self.id.destination_port)
    }

    /// The socket's own address, in the same form.
    pub fn local(&self) -> SocketAddr {
        let address = self.id.source_address.to_canonical();
        SocketAddr::new(address, self.id.source_port)
    }
}

impl Diag {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddress::new(0, 0))?;
        Ok(Self {
            socket,
            answer: Vec::with_capacity(ANSWER),
        })
    }

    /// Calls `see` with the sockets of one family and protocol that are in one of these states. The kernel may skip a
    /// socket if another one before it in its table ends meanwhile.
    pub fn list(
        &mut self,
        family: u8,
        protocol: u8,
        states: StateFlags,
        see: impl FnMut(ListedSocket),
    ) -> io::Result<()> {
        self.dump(family, protocol, states, ExtensionFlags::empty(), see)
    }

    /// As [`Self::list`], with [`ListedSocket::tcp`]. The kernel locks each socket for a moment to read its figures
    /// (`tcp_get_info`).
    pub fn list_with_figures(
        &mut self,
        family: u8,
        protocol: u8,
        states: StateFlags,
        see: impl FnMut(ListedSocket),
    ) -> io::Result<()> {
        self.dump(family, protocol, states, ExtensionFlags::INFO, see)
    }

    fn dump(
        &mut self,
        family: u8,
        protocol: u8,
        states: StateFlags,
        extensions: ExtensionFlags,
        mut see: impl FnMut(ListedSocket),
    ) -> io::Result<()> {
        let socket_id = match family {
            AF_INET => SocketId::new_v4(),
            _ => SocketId::new_v6(),
        };
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol,
            extensions,
            states,
            socket_id,
        });
        self.ask(request, NLM_F_DUMP)?;
        self.take_answers(|found| see(of_response(found, protocol)))
    }

    /// Ends a socket (SOCK_DESTROY) if it is still the listed one: the kernel looks it up by its addresses and ports,
    /// then compares its cookie. The next call of its owner fails, with ECONNABORTED where the owner waits for an
    /// error, and waiting calls wake up.
    ///
    /// # Errors
    /// ENOENT: the socket has ended, or another socket has the same addresses. EOPNOTSUPP: the kernel has no
    /// CONFIG_INET_DIAG_DESTROY. EPERM: the thread does not have CAP_NET_ADMIN.
    pub fn destroy(&mut self, found: &ListedSocket) -> io::Result<()> {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family: found.family,
            protocol: found.protocol,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::empty(),
            socket_id: found.id.clone(),
        });
        self.ask(SockDiagDestroy::new(request), NLM_F_ACK)?;
        self.take_answers(|_| {})
    }

    fn ask(&self, message: impl NetlinkSerializable, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads up to the last message: the end of a dump, an acknowledgement, or an error.
    fn take_answers(&mut self, mut see: impl FnMut(Answered)) -> io::Result<()> {
        loop {
            self.answer.clear();
            self.socket.recv(&mut self.answer, 0)?;
            let mut rest = &self.answer[..];
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<Answered>::deserialize(rest).map_err(io::Error::other)?;
                match message.payload {
                    NetlinkPayload::InnerMessage(socket) => see(socket),
                    // A failed dump ends like any other, with an error number (`netlink_dump_done`).
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}

fn of_response(Answered { socket, tcp }: Answered, protocol: u8) -> ListedSocket {
    let state = 1_u32.checked_shl(socket.state.into()).unwrap_or_default();
    ListedSocket {
        family: socket.family,
        protocol,
        state: StateFlags::from_bits_retain(state),
        id: socket.socket_id,
        inode: socket.inode,
        tcp,
    }
}

/// The description of no existing socket: port 0 is never in the kernel's tables, and no cookie is 0.
pub fn nonexistent(protocol: u8) -> ListedSocket {
    ListedSocket {
        family: AF_INET,
        protocol,
        state: StateFlags::empty(),
        id: SocketId {
            source_address: IpAddr::from([127, 0, 0, 1]),
            destination_address: IpAddr::from([127, 0, 0, 1]),
            ..SocketId::new_v4()
        },
        inode: 0,
        tcp: None,
    }
}
