//! Lists and ends sockets in every network namespace (sock_diag(7)).
//!
//! *Closed sockets*: the programs learn of a socket's end in `inet_release` (net/ipv4/af_inet.c), which does not run
//! the hook for the kernel's own sockets. The agent finds the entries of such sockets by listing the sockets that still
//! exist.
//!
//! *Sockets to end*: those whose backend has stopped serving, so that their owners connect again, and
//! connects that wait for an ejected backend (SOCK_DESTROY).
//!
//! *Pods* and their network namespaces ([`PodSearch`]), for an agent that selects pods.
//!
//! These run on one thread, [`Worker`]. No other thread of the agent needs its capabilities CAP_SYS_ADMIN and
//! CAP_SYS_PTRACE, which it uses to enter other namespaces and to find them.
//!
//! It also names the network namespaces, for events.
//!
//! *Live sockets* and the processes that have them open: for commands, in a process of their own ([`find_live`], [`Owners`]).

mod ability;
mod answer;
mod client;
mod closed;
mod descriptors;
mod diag;
mod end;
mod error;
mod in_use;
mod live;
mod metrics;
mod namespaces;
mod networks;
mod owners;
mod pod_cgroups;
mod pods;
mod tcp;
mod worker;

pub use self::ability::{Ability, Limitation};
pub use self::client::{in_namespace_of_address, in_namespace_of_process};
pub use self::end::{Ended, IsStillStale, SocketTarget};
pub use self::error::SocketsError;
pub use self::live::{LiveSocket, Searched, find_live};
pub use self::metrics::{EndedCounts, SocketMetrics};
pub use self::owners::{Owners, namespace_names};
pub use self::pods::PodSearch;
pub use self::tcp::TcpFigures;
pub use self::worker::{Answer, Worker};
