//! The paths and JSON types of the unix sockets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::shadow::ShadowStatus;

/// The path of [`Status`].
pub const STATUS: &str = "/v1/status";

/// The path of the remembered [`super::EventRecord`]s.
pub const EVENTS: &str = "/v1/events";

/// The path of the remembered [`super::EventRecord`]s and those that come, one line of JSON each.
pub const FOLLOW_EVENTS: &str = "/v1/events/follow";

/// The header of an answer that goes on: how many of its lines are remembered. These come first.
pub const REMEMBERED: &str = "socklb-remembered";

/// The path that accepts [`HandOver`].
pub const HAND_OVER: &str = "/v1/hand-over";

/// The path that reports whether a process works.
pub const LIVE: &str = "/livez";

/// The path that reports whether a process is ready.
pub const READY: &str = "/readyz";

/// Asks the agent that holds a pin folder to hand it over. The agent answers with [`HandingOver`], closes its ports and
/// unlocks the folder. An agent that holds another folder answers 409.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandOver {
    /// The version of the agent that asks.
    pub version: String,
    /// The device of the pin folder, whose path may differ between the two agents.
    pub device: u64,
    pub inode: u64,
}

/// The answer of an agent that hands over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HandingOver {
    pub version: String,
}

/// What the agent runs, where, and how much of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: String,
    pub node_name: String,
    pub cgroup: String,
    pub pin_dir: String,
    /// The contents of the source are in effect. Before that, those of an earlier agent are.
    pub ready: bool,
    pub source: SourceStatus,
    pub syncs: SyncStatus,
    pub hooks: Vec<HookStatus>,
    /// None: the hooks serve all clients.
    #[serde(default)]
    pub clients: Option<ClientStatus>,
    /// None: not in shadow mode. Else nothing is translated, and refused calls are those that would have been.
    #[serde(default)]
    pub shadow: Option<ShadowStatus>,
    /// None if the packet path is off.
    #[serde(default)]
    pub packet_path: Option<PacketPathStatus>,
    pub drift: DriftStatus,
    pub services: usize,
    pub endpoint_slices: usize,
    pub service_ports: usize,
    pub frontends: usize,
    pub backends: usize,
    /// The number of quarantined ids and runs.
    pub resting: usize,
    /// How full each table is; ORIGINS and SPILL appear after their first check.
    pub tables: Vec<TableStatus>,
    /// Service ports that do not fit into the tables, or only with earlier contents; each is among the problems.
    pub service_ports_refused: usize,
    /// Calls refused because the frontend had no backend.
    pub refused_no_backend: u64,
    /// Calls refused because the ClusterIP has no such port.
    pub refused_unknown_port: u64,
    /// Calls refused because no Service has the address (`--refuse-unknown`).
    pub refused_unknown_address: u64,
    pub socket_termination: TerminationStatus,
    #[serde(default)]
    pub outlier_detection: OutlierStatus,
    /// The problems, one line each.
    pub problems: Vec<String>,
}

/// Which clients the hooks serve, if not all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientStatus {
    /// The flags of the selection.
    pub selection: String,
    /// Pods whose sockets are balanced.
    pub served: usize,
    /// Pods whose sockets are left alone by the selection or by their annotation.
    pub not_served: usize,
    /// Pods whose sockets will be balanced when their network namespace is found.
    pub not_found: usize,
    /// Pods in the host's network.
    pub host_network: usize,
    /// Whether sockets in the host's network are balanced.
    pub includes_host: bool,
    /// Some of the pods that were not found, as `NAMESPACE/NAME`.
    pub missing: Vec<String>,
    /// What does not work, one line each.
    pub trouble: Vec<String>,
}

/// Sockets that the agent ends because their backends have stopped serving.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminationStatus {
    /// Whether sockets in the agent's own network namespace can be ended.
    pub own_namespace: bool,
    /// Whether sockets of pods can be ended.
    pub other_namespaces: bool,
    /// Why they cannot.
    pub lack: Option<String>,
    /// End TCP connections too (`--terminate-tcp`).
    pub includes_tcp: bool,
    /// The number of ended UDP sockets.
    pub udp: u64,
    pub tcp: u64,
    /// Backends that have stopped serving and whose TCP connections end within a drain time.
    #[serde(default)]
    pub draining_backends: usize,
    /// Connections to them that have not ended yet, as of the last look.
    #[serde(default)]
    pub draining_connections: usize,
    /// Sockets that the kernel did not end, and network namespaces that could not be searched.
    pub failures: u64,
}

/// Outlier detection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutlierStatus {
    /// Failed connects are noticed. That needs a Service with outlier detection that has a TCP port.
    pub is_on: bool,
    /// Why they are not, although a Service wants it.
    pub error: Option<String>,
    /// Backends that are ejected now.
    pub ejected: usize,
    /// Since the agent started, like the next two.
    pub ejections: u64,
    /// Connects that tried an ejected backend and failed.
    pub failed_trials: u64,
    pub readmissions: u64,
    /// Connects to ejected backends that were ended (`--abort-hanging`).
    #[serde(default)]
    pub aborted: u64,
}

/// The source of Services, and how current it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `manifests` or `kubernetes`.
    pub kind: String,
    /// Paths, or the API server's URL.
    pub from: String,
    /// One element for each kind that is watched at an API server.
    pub watches: Vec<WatchStatus>,
}

/// How the agent applies changes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// How often the agent has applied changes.
    pub count: u64,
    /// From the arrival of the last changes until the tables contained them, in µs.
    pub last_micros: u64,
    /// CPU time, in µs, for all objects at the start, after they were decoded.
    pub first_cpu_micros: u64,
    /// The part of it after the last object of the last kind arrived.
    pub first_tables_cpu_micros: u64,
}

/// The watch of one kind of object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchStatus {
    pub kind: String,
    /// All objects of the kind have been listed once.
    pub listed: bool,
    /// The number of lists.
    pub lists: u64,
    pub errors: u64,
    /// The time since the last message of the server, bookmarks included.
    pub heard_seconds_ago: Option<f64>,
    /// The time since the last object.
    pub event_seconds_ago: Option<f64>,
    /// Why no changes arrive; none while they do.
    pub trouble: Option<String>,
    pub trouble_seconds: Option<f64>,
}

/// Whether the kernel still contains what the agent gave it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftStatus {
    /// How often all tables were read back.
    pub checks: u64,
    /// The time since the last such check.
    pub checked_seconds_ago: Option<f64>,
    /// The number of repairs: words and elements by table, `active` counts of backends, `hooks` and `pins`.
    pub repairs: BTreeMap<String, u64>,
    /// Tables, hooks and pins that cannot be checked or repaired now, one line each.
    pub trouble: Vec<String>,
}

/// An attached program.
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

/// The packet path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketPathStatus {
    pub program_id: u32,
    /// 0 unless the kernel's BPF statistics are on.
    pub run_count: u64,
    /// In ns; 0 unless the kernel's BPF statistics are on.
    pub run_time_ns: u64,
    /// The names of the devices whose packets are balanced.
    pub devices: Vec<String>,
    /// What does not work now, one line each.
    pub trouble: Vec<String>,
}

/// How full a table is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// The map's name.
    pub table: String,
    /// In elements, including quarantined ones.
    pub used: usize,
    pub capacity: usize,
}
