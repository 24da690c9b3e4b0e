//! Sockets of clients.

use std::io;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// A TCP socket that is not connected. Closing resets its connection, so that nothing stays in TIME_WAIT.
pub(crate) fn tcp_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// A UDP socket that is not connected.
pub(crate) fn udp_socket() -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
}
