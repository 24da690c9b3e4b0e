//! Why sockets could not be listed or ended.

use std::io;

use super::ability::Limitation;

/// Why sockets could not be listed or ended.
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
    #[error("cannot list the cgroups of pods: {0}; --cgroup must be the root of the hierarchy")]
    Cgroups(io::Error),
    #[error("cannot start the thread that lists and ends sockets: {0}")]
    Thread(io::Error),
}
