//! One connection, as it is shown.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A socket with its Service, frontend and backend. Several of them may share a name, since a node may have 100,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// SO_COOKIE, which `ss -e` shows as `sk:` in hexadecimal digits.
    pub cookie: u64,
    /// None if no agent knows the frontend: none runs, or the Service was removed.
    #[serde(flatten)]
    pub service: Option<Arc<ServicePortName>>,
    pub protocol: &'static str,
    /// The socket's own address; unspecified if it is neither bound to an address nor connected.
    pub local: SocketAddr,
    /// What the socket asked for. For an unconnected UDP socket, the first frontend that it sent to.
    pub frontend: SocketAddr,
    pub backend: SocketAddr,
    /// A state of tcp(7); for UDP `ESTABLISHED` or `UNCONNECTED`.
    pub state: &'static str,
    pub network_namespace: Arc<NetworkNamespace>,
    /// The processes that have the socket open. Empty if it is the kernel's own, or the caller may not see them.
    pub processes: Arc<[Process]>,
    /// None for UDP.
    #[serde(flatten)]
    pub figures: Option<Figures>,
}

impl Connection {
    /// Without its figures, which differ at each look.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self {
            figures: None,
            ..self.clone()
        }
    }

    /// What connections are sorted by. The cookie makes it different for each.
    pub(super) fn order(&self) -> impl Ord {
        (
            self.service.as_deref(),
            self.frontend,
            self.protocol,
            self.backend,
            self.local,
            self.cookie,
        )
    }
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct ServicePortName {
    pub namespace: String,
    pub name: String,
    /// The name of the port; "" if it has none.
    pub port: String,
}

/// What the kernel counts for a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// The smoothed round-trip time, in µs. None before the first answer.
    pub rtt_micros: Option<u32>,
    /// The time since the last data in either direction, or since the connection was established, in ms. None before that.
    pub idle_millis: Option<u32>,
    /// Bytes that the backend has acknowledged.
    pub bytes_sent: u64,
    pub bytes_received: u64,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetworkNamespace {
    /// The name of its mount below a folder `netns`, if it has one (ip-netns(8)).
    pub name: Option<String>,
    pub inode: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// In the caller's PID namespace.
    pub pid: u32,
    /// proc_pid_comm(5).
    pub command: Arc<str>,
}
