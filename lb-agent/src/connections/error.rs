//! Why connections could not be listed.

use std::io;
use std::path::PathBuf;

use crate::kernel::KernelError;
use crate::sockets::SocketsError;

/// Why connections could not be listed. Each error names the failed action, the reason, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    #[error(
        "cannot list connections: no tables are pinned in {}; start an agent with `lb-agent run`, or name its folder with \
         --pin-dir",
        pin_dir.display()
    )]
    NoTables { pin_dir: PathBuf },
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error("cannot read ORIGINS in {}: {error}; run lb-agent as root", pin_dir.display())]
    Entries { pin_dir: PathBuf, error: io::Error },
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    #[error("cannot list the processes in /proc: {0}")]
    Processes(io::Error),
}
