//! Clients in the calling thread's network namespace.

use std::io::{self, ErrorKind, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::patience::{Deadline, patiently, stretched};

/// Longest time for a connect, and for an answer, on a machine that is not busy: see [`patiently`].
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(2);

/// How often to check the time limit, in milliseconds.
const CHECK_EVERY_MS: u8 = 100;

/// Longer than any server's name.
const LONGEST_NAME: usize = 256;

/// Connects over TCP, as an application does: blocking, for two seconds, or longer on a busy machine. Closing resets the connection,
/// so that tens of thousands of them leave nothing in TIME_WAIT.
pub fn connect(to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    connect_from(None, to.into(), TIME_LIMIT)
}

/// As [`connect`], from an address of this machine, with another time limit.
pub(crate) fn connect_from(
    from: Option<SocketAddr>,
    to: SocketAddr,
    limit: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(stretched(limit)))?;
    // On Linux the time limit of writing is that of connecting too (socket(7)).
    socket.set_write_timeout(Some(stretched(limit)))?;
    if let Some(from) = from {
        socket.bind(&SockAddr::from(from))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {
            wait_connected(&socket, to, limit)?;
            Ok(socket.into())
        }
        Err(error) => Err(error),
    }
}

/// Waits on for a connection after the socket's own time limit.
fn wait_connected(socket: &Socket, to: SocketAddr, limit: Duration) -> io::Result<()> {
    let deadline = Deadline::within(limit);
    while !deadline.is_over() {
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut polled, PollTimeout::from(CHECK_EVERY_MS))? > 0 {
            return socket.take_error()?.map_or(Ok(()), Err);
        }
    }
    let why = format!("no connection to {to} within {deadline}");
    Err(io::Error::new(ErrorKind::TimedOut, why))
}

/// Connects over TCP and reads the name that a [`crate::NamedServer`] gives.
pub fn connect_name(to: impl Into<SocketAddr>) -> io::Result<String> {
    read_line(&mut connect(to)?, TIME_LIMIT)
}

/// Asks a [`crate::NamedServer`] over a connected UDP socket for its name.
pub fn ask_udp(to: impl Into<SocketAddr>) -> io::Result<String> {
    let socket = udp_socket(None, to.into(), TIME_LIMIT)?;
    socket.send(b"?")?;
    let mut reply = [0; LONGEST_NAME];
    let length = patiently(TIME_LIMIT, || socket.recv(&mut reply))?;
    Ok(String::from_utf8_lossy(&reply[..length])
        .trim_end()
        .to_owned())
}

/// A connected UDP socket, from any address of this machine unless told otherwise.
pub(crate) fn udp_socket(
    from: Option<SocketAddr>,
    to: SocketAddr,
    limit: Duration,
) -> io::Result<UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from.unwrap_or(any))?;
    socket.set_read_timeout(Some(stretched(limit)))?;
    socket.connect(to)?;
    Ok(socket)
}

pub(crate) fn read_line(stream: &mut TcpStream, limit: Duration) -> io::Result<String> {
    let mut name = [0; LONGEST_NAME];
    let mut length = 0;
    while !name[..length].ends_with(b"\n") {
        match patiently(limit, || stream.read(&mut name[length..]))? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    Ok(String::from_utf8_lossy(&name[..length])
        .trim_end()
        .to_owned())
}
