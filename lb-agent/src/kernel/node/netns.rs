//! Network namespaces: their cookies, such as that of the host's, in which the agent runs, and new ones.

use std::os::fd::AsRawFd as _;
use std::{io, thread};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use super::error::KernelError;

/// linux/socket.h; since Linux 5.14.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The value that identifies the calling thread's network namespace to the programs (SO_NETNS_COOKIE). Works in a namespace in which
/// no device is up.
///
/// `bpf_get_netns_cookie` without a socket is no substitute: it returns the cookie of the first namespace of the
/// machine, which is another one if the node itself is a container.
pub fn cookie() -> Result<u64, KernelError> {
    ask().map_err(KernelError::system(
        "read the cookie of the network namespace",
    ))
}

/// Runs work in a network namespace of its own, which ends with it. A panic goes on in the caller.
///
/// # Errors
/// EPERM: CAP_SYS_ADMIN is missing.
pub fn in_new<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = thread::Builder::new().spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })?;
        inside
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn ask() -> io::Result<u64> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
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
