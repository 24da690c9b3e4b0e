//! Listens on an address, or on all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens there. An unspecified address means all addresses of both families, as in Go.
///
/// Call it within a tokio runtime.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_unspecified() {
        return listen_on(address);
    }
    let port = address.port();
    match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
        // EAFNOSUPPORT or EADDRNOTAVAIL: IPv6 is not in the kernel, or is disabled.
        Err(error) if has_no_ipv6(&error) => listen_on((Ipv4Addr::UNSPECIFIED, port).into()),
        result => result,
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if let IpAddr::V6(ip) = address.ip() {
        // The kernel's default is a sysctl (bindv6only).
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    // Connections of an earlier listener that still end do not prevent it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// What to do about an address that cannot be listened on.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            "another process has the port (kube-proxy, if it still runs here): end that process, \
             which `ss -ltnp` shows, or choose another port"
        }
        Some(libc::EADDRNOTAVAIL) => "the address is not this node's: name another",
        Some(libc::EACCES) => "ports below 1024 need CAP_NET_BIND_SERVICE: choose another port",
        Some(libc::EMFILE) => "raise the limit of open files (ulimit -n)",
        _ => "choose another address or port",
    }
}

/// Raises this process's limit of open files as far as it may: each Service takes one for each address, and one for each
/// connection.
pub(super) fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(
            event = "health.file_limit_failed",
            %error,
            "cannot raise the limit of open files",
        );
    }
}
