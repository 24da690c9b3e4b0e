//! Which sockets live, asked of the kernel in every network namespace (sock_diag(7)).
//!
//! The programs learn of a socket's end in `inet_release` (net/ipv4/af_inet.c), which knows neither the subflows of an
//! MPTCP socket nor the kernel's own sockets. What those held is found by asking who is left.

mod diag;
mod namespaces;

use std::collections::HashSet;
use std::io;
use std::thread;

/// Why it is not known which sockets live.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("the network namespaces cannot be listed: {0}")]
    Namespaces(#[source] io::Error),
    #[error("CAP_SYS_ADMIN or CAP_SYS_PTRACE is missing")]
    NotAllowed,
    #[error("a network namespace cannot be entered: {0}")]
    Enter(#[source] io::Error),
    #[error(
        "the sockets cannot be listed (the kernel needs CONFIG_INET_TCP_DIAG and CONFIG_INET_UDP_DIAG): {0}"
    )]
    List(#[source] io::Error),
    #[error("the thread that lists sockets: {0}")]
    Thread(#[source] io::Error),
}

/// Those of these sockets, by their cookies, that are gone.
///
/// Blocks; a second or so on a node with very many sockets. A socket counts as living while the kernel has it in a table
/// of TCP or UDP sockets, so also when it was closed and still sends; one that is neither bound nor connected does not,
/// but then it has no peer either.
///
/// # Errors
/// A single namespace that can't be asked makes the answer worthless.
pub fn gone(mut of: HashSet<u64>) -> Result<HashSet<u64>, SocketsError> {
    // Twice: a listing may pass over a socket when another one ahead of it ends meanwhile.
    for _ in 0..2 {
        if of.is_empty() {
            break;
        }
        // A thread for each listing, since it does not come back from the last namespace.
        let listing = thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(|| namespaces::for_each(diag::list))
            .map_err(SocketsError::Thread)?;
        let living = listing
            .join()
            .map_err(|_| SocketsError::Thread(io::Error::other("it panicked")))??;
        of.retain(|cookie| !living.contains(cookie));
    }
    Ok(of)
}
