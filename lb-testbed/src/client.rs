//! Clients in the calling thread's network namespace.

use std::io::{self, ErrorKind, Read as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::patience::{Deadline, patiently, stretched};

/// Longest time for a connect, and for an answer, on a machine that is not busy: see [`patiently`].
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// How often to check the time limit, in milliseconds.
const CHECK_EVERY_MS: u8 = 100;

/// Longer than any server's name.
const LONGEST_NAME: usize = 256;

/// Connects over TCP, as an application does: blocking, for two seconds, or longer on a busy machine. Closing resets the connection,
/// so that tens of thousands of them leave nothing in TIME_WAIT.
pub fn connect(to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let to = to.into();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(stretched(TIME_LIMIT)))?;
    // On Linux the time limit of writing is that of connecting too (socket(7)).
    socket.set_write_timeout(Some(stretched(TIME_LIMIT)))?;
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {
            wait_connected(&socket, to)?;
            Ok(socket.into())
        }
        Err(error) => Err(error),
    }
}

/// Waits on for a connection after the socket's own time limit.
fn wait_connected(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    let deadline = Deadline::within(TIME_LIMIT);
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
    read_name(&mut connect(to)?)
}

/// Asks a [`crate::NamedServer`] over a connected UDP socket for its name.
pub fn ask_udp(to: impl Into<SocketAddr>) -> io::Result<String> {
    let to = to.into();
    let any: SocketAddr = if to.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(stretched(TIME_LIMIT)))?;
    socket.connect(to)?;
    socket.send(b"?")?;
    let mut reply = [0; LONGEST_NAME];
    let length = patiently(TIME_LIMIT, || socket.recv(&mut reply))?;
    Ok(String::from_utf8_lossy(&reply[..length])
        .trim_end()
        .to_owned())
}

fn read_name(stream: &mut TcpStream) -> io::Result<String> {
    let mut name = [0; LONGEST_NAME];
    let mut length = 0;
    while !name[..length].ends_with(b"\n") {
        match patiently(TIME_LIMIT, || stream.read(&mut name[length..]))? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    Ok(String::from_utf8_lossy(&name[..length])
        .trim_end()
        .to_owned())
}
