//! What a client does, from the calling thread's network namespace.

use std::{
    io::{self, ErrorKind, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::patience::stretched;

/// How long connecting, and waiting for an answer, may take.
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// Longer than any server's name.
const LONGEST_NAME: usize = 256;

/// Connects over TCP, as an application does: blocking, for two seconds at most. Closing it resets the
/// connection, so that tens of thousands leave nothing in TIME_WAIT.
pub fn connect(to: impl Into<SocketAddr>) -> io::Result<TcpStream> {
    let to = to.into();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(stretched(TIME_LIMIT)))?;
    // On Linux the time limit of writing is that of connecting too (socket(7)).
    socket.set_write_timeout(Some(stretched(TIME_LIMIT)))?;
    match socket.connect(&SockAddr::from(to)) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Err(io::Error::new(
            ErrorKind::TimedOut,
            format!("no connection to {to} within {:?}", stretched(TIME_LIMIT)),
        )),
        Err(error) => Err(error),
    }
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
    let length = socket.recv(&mut reply).map_err(name_time_limit)?;
    Ok(String::from_utf8_lossy(&reply[..length])
        .trim_end()
        .to_owned())
}

fn read_name(stream: &mut TcpStream) -> io::Result<String> {
    let mut name = [0; LONGEST_NAME];
    let mut length = 0;
    while !name[..length].ends_with(b"\n") {
        match stream.read(&mut name[length..]).map_err(name_time_limit)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    }
    Ok(String::from_utf8_lossy(&name[..length])
        .trim_end()
        .to_owned())
}

/// A time limit on a blocking socket shows as EAGAIN.
fn name_time_limit(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock {
        return io::Error::new(
            ErrorKind::TimedOut,
            format!("no answer within {:?}", stretched(TIME_LIMIT)),
        );
    }
    error
}
