//! What the agent says of itself: JSON over a unix socket, read by the other subcommands.
//!
//! `GET /v1/status` gives a [`Status`], `GET /v1/backends` a list of [`BackendStatus`]; `POST /v1/hand-over` with a
//! [`HandOver`] has it make way for another agent. Over TCP, where asked for, metrics and health: [`HttpServer`]. For the
//! probes of a pod a socket of the process's own: [`Probes`].

mod client;
mod connections;
mod http;
mod metrics;
mod probes;
mod readiness;
mod server;
mod serving;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::client::{FetchError, fetch, post, probe};
pub use self::http::{HttpError, HttpServer};
pub use self::metrics::Metrics;
pub use self::probes::{Probes, ProcessStage};
pub use self::readiness::Readiness;
pub use self::server::{Question, Server, ServerError};
pub use self::serving::Serving;

/// The path of [`Status`].
pub const STATUS: &str = "/v1/status";

/// The path of the list of [`BackendStatus`].
pub const BACKENDS: &str = "/v1/backends";

/// Where [`HandOver`] is taken.
pub const HAND_OVER: &str = "/v1/hand-over";

/// Where a process says whether it works.
pub const LIVE: &str = "/livez";

/// Where it says whether it is ready.
pub const READY: &str = "/readyz";

/// Asks the agent that holds a pin folder to make way. It says so with [`HandingOver`], closes its ports and lets go of
/// the folder; one that holds another folder answers 409.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOver {
    /// Of the one that asks.
    pub version: String,
    /// The pin folder's, which may have another path for each of the two.
    pub device: u64,
    pub inode: u64,
}

/// The answer of an agent that makes way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandingOver {
    pub version: String,
}

/// What runs where, and how much of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub node_name: String,
    pub cgroup: String,
    pub pin_dir: String,
    /// What the source says is in effect; before, what an earlier agent left is.
    pub ready: bool,
    pub source: SourceStatus,
    pub syncs: SyncStatus,
    pub hooks: Vec<HookStatus>,
    pub drift: DriftStatus,
    pub services: usize,
    pub endpoint_slices: usize,
    pub service_ports: usize,
    pub frontends: usize,
    pub backends: usize,
    /// Ids and runs that wait to be used again.
    pub resting: usize,
    /// How full each table is; ORIGINS and SPILL once they were looked at.
    pub tables: Vec<TableStatus>,
    /// Service ports that do not fit into the tables, or not as they are now; each is among the problems.
    pub service_ports_refused: usize,
    /// Calls refused because the frontend had no backend.
    pub refused_no_backend: u64,
    /// Calls refused because the ClusterIP has no such port.
    pub refused_unknown_port: u64,
    /// Calls refused because no Service has the address (`--refuse-unknown`).
    pub refused_unknown_address: u64,
    pub socket_termination: TerminationStatus,
    /// What could not be used, one line each.
    pub problems: Vec<String>,
}

/// Sockets that are ended because their backends have stopped serving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminationStatus {
    /// Whether those in the agent's own network namespace can be ended.
    pub own_namespace: bool,
    /// Whether those of pods can.
    pub other_namespaces: bool,
    /// Why not.
    pub lack: Option<String>,
    /// TCP connections too (`--terminate-tcp`).
    pub includes_tcp: bool,
    /// How many UDP sockets were ended.
    pub udp: u64,
    pub tcp: u64,
    /// Sockets that the kernel did not end, and network namespaces that could not be looked into.
    pub failures: u64,
}

/// Where Services come from, and how fresh they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `manifests` or `kubernetes`.
    pub kind: String,
    /// Paths, or the API server's URL.
    pub from: String,
    /// One for each kind that is watched at an API server.
    pub watches: Vec<WatchStatus>,
}

/// How changes come into effect.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// How often changes came into effect.
    pub count: u64,
    /// From the arrival of the last changes to the tables saying so, in µs.
    pub last_micros: u64,
    /// CPU time, in µs, for all that was there at the start, once it was decoded.
    pub first_cpu_micros: u64,
    /// The part of it since the last object of the last kind was there.
    pub first_tables_cpu_micros: u64,
}

/// The watch of one kind of object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    pub kind: String,
    /// All objects of the kind were listed once.
    pub listed: bool,
    /// How often they were.
    pub lists: u64,
    pub errors: u64,
    /// Since the server last said anything, bookmarks too.
    pub heard_seconds_ago: Option<f64>,
    /// Since an object last came.
    pub event_seconds_ago: Option<f64>,
    /// Why nothing comes; none while all is well.
    pub trouble: Option<String>,
    pub trouble_seconds: Option<f64>,
}

/// Whether the kernel still has what it was given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// How often all tables were read back.
    pub checks: u64,
    /// Since that was done last.
    pub checked_seconds_ago: Option<f64>,
    /// How much had to be restored: words and elements by table, `active` counts of backends, `hooks` and `pins`.
    pub repairs: BTreeMap<String, u64>,
    /// What cannot be checked or restored now, one line each.
    pub trouble: Vec<String>,
}

/// A program in its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    pub hook: String,
    pub program_id: u32,
    /// 0 unless the kernel's BPF statistics are on.
    pub run_count: u64,
    /// In ns; 0 unless the kernel's BPF statistics are on.
    pub run_time_ns: u64,
}

/// How full a table is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// The map's name.
    pub table: String,
    /// Elements; what rests before it is used again counts.
    pub used: usize,
    pub capacity: usize,
}

/// A backend of a service port, with the kernel's counters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    pub namespace: String,
    pub name: String,
    /// The port's name; "" when it has none.
    pub port: String,
    pub protocol: String,
    pub family: String,
    /// With its port.
    pub address: String,
    /// A choice for the ClusterIP.
    pub internal: bool,
    /// A choice for the other frontends.
    pub external: bool,
    pub serving: bool,
    /// Connections sent there since it was added.
    pub connections: u64,
    /// Sockets that are connected to it now.
    pub active: u64,
}
