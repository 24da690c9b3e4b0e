//! Sockets, asked about and ended in every network namespace (sock_diag(7)).
//!
//! *Which are gone*: the programs learn of a socket's end in `inet_release` (net/ipv4/af_inet.c), which does
//! not run the hook for the kernel's own sockets. The agent finds their entries by asking which sockets are left.
//!
//! *To be ended*: those whose backend has stopped serving, so that their owners connect again (SOCK_DESTROY).
//!
//! Both happen on one thread, [`Worker`], which needs capabilities that nobody else in the agent does: CAP_SYS_ADMIN and
//! CAP_SYS_PTRACE, to enter other namespaces and to find them.

mod ability;
mod closed;
mod diag;
mod end;
mod metrics;
mod namespaces;
mod worker;

use std::io;

pub use self::ability::{Ability, Limitation};
pub use self::end::{Ended, IsStillStale, SocketTarget};
pub use self::metrics::{EndedCounts, SocketMetrics};
pub use self::worker::{Answer, Worker};

/// Why sockets could not be asked about or ended.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("cannot list the network namespaces: {0}")]
    Namespaces(io::Error),
    #[error(transparent)]
    NotAllowed(#[from] Limitation),
    #[error("cannot enter a network namespace: {0}")]
    Enter(io::Error),
    #[error(
        "cannot list the sockets: {0}; the kernel needs CONFIG_INET_TCP_DIAG and CONFIG_INET_UDP_DIAG"
    )]
    List(io::Error),
    #[error("cannot start the thread that lists and ends sockets: {0}")]
    Thread(io::Error),
}
