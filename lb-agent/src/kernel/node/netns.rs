//! The host's network namespace: the agent's own, since it runs in it.

use std::io;
use std::os::fd::AsRawFd as _;

use super::error::KernelError;

/// linux/socket.h; since Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// What the programs know the agent's network namespace by (SO_NETNS_COOKIE).
///
/// Not what `bpf_get_netns_cookie` gives without a socket: that is the first namespace of the machine, and another
/// one when the node is a container itself.
pub fn cookie() -> Result<u64, KernelError> {
    ask().map_err(KernelError::system(
        "read the cookie of the network namespace",
    ))
}

fn ask() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).map_err(io::Error::other)?;
    // SAFETY: both pointers are to values of the sizes that the option has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cookie)
}
