//! The JSON types of an explanation: what a connect to a target gets, and why.

use serde::{Deserialize, Serialize};

/// The path of an [`Explanation`]; [`super::ExplainRequest`] adds the query.
pub const EXPLAIN: &str = "/v1/explain";

/// What a connect to a target gets, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `ADDRESS:PORT/PROTOCOL`, or `NAMESPACE/NAME` with a port or none.
    pub target: String,
    pub node: String,
    pub zone: Option<String>,
    /// What the explanation does not know, one sentence each.
    pub notes: Vec<String>,
    pub service_ports: Vec<ExplainedPort>,
    /// What would be a frontend but for a rule.
    pub skipped: Vec<Skipped>,
    /// The problems of the Services involved and of their EndpointSlices, one line each.
    pub problems: Vec<String>,
    pub verdict: Verdict,
}

/// A service port that the target belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedPort {
    pub namespace: String,
    pub name: String,
    /// The name of the port; "" if it has none.
    pub port: String,
    pub protocol: String,
    pub family: String,
    pub algorithm: String,
    /// How long a client keeps its backend, in seconds; none without `sessionAffinity: ClientIP`.
    pub affinity_seconds: Option<u32>,
    /// How long the share of a new backend grows; none: it gets its whole share at once.
    pub slow_start_seconds: Option<u64>,
    /// How long connections go on after their backend has stopped serving; none: nothing ends them.
    pub drain_seconds: Option<u64>,
    /// Failed connects to its backends are counted.
    pub outlier_detection: bool,
    pub frontends: Vec<ExplainedFrontend>,
    pub views: Vec<ExplainedView>,
    /// The backends that the client has by session affinity: as a process on this node, and as the sender of packets.
    pub clients: Vec<ExplainedClient>,
}

/// The backend that a client has by session affinity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedClient {
    /// `sockets` or `packets`.
    pub of: String,
    /// None: the backend is no longer one of the service port's, so the next connection gets another.
    pub backend: Option<String>,
    /// For how long it holds without another connection.
    pub seconds_left: u32,
}

/// What the tables contain for a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedTables {
    /// Its id in FRONTEND_LIST; none: FRONTENDS has no valid element for it.
    pub id: Option<u32>,
    /// The view of sockets, then the one of packets from outside if that is another.
    pub views: Vec<ViewInTables>,
    /// Empty: the tables are as wanted.
    pub differences: Vec<TableDifference>,
}

/// An element of VIEWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewInTables {
    pub index: u32,
    /// The number of its slots.
    pub slots: u32,
    pub backends: Vec<BackendInTables>,
}

/// An element of BACKENDS that slots name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInTables {
    pub id: u32,
    pub address: String,
    /// The names of its state's bits, as in `dump`, and `ejected`.
    pub state: String,
    /// The number of slots that name it.
    pub slots: usize,
}

/// A difference between the tables and what is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDifference {
    /// One word.
    pub reason: String,
    pub message: String,
}

/// A frontend, and what a connect to it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedFrontend {
    /// `ClusterIP`, `NodePort`, `ExternalIP` or `LoadBalancer`.
    pub kind: String,
    /// The address with the port; `*` for a NodePort if the node's addresses are unknown.
    pub address: String,
    /// The view that sockets of this node use: `all`, `internal` or `external`, as in `plan`.
    pub scope: String,
    /// Which connections of the packet path are masqueraded; none without it.
    pub masquerade: Option<String>,
    /// The clients whose packets are let in; empty: all.
    pub source_ranges: Vec<String>,
    /// Only the host's own processes reach it.
    pub is_host_only: bool,
    pub verdict: Verdict,
    /// None: the tables were not asked.
    pub tables: Option<ExplainedTables>,
}

/// How the backends of a view were selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedView {
    /// `all`, `internal`, `external` or `outside`, as in `plan`.
    pub scope: String,
    /// Who uses it, in words.
    pub used_by: String,
    /// The traffic policy that applies: `Cluster` or `Local`.
    pub traffic_policy: String,
    pub steps: Vec<PolicyStep>,
    /// All endpoints of the Service's EndpointSlices, in their order.
    pub endpoints: Vec<ExplainedEndpoint>,
    /// The number of chosen endpoints.
    pub backends: usize,
}

/// A step of the policy that chose the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStep {
    /// `Ready`, `Weight`, `Terminating`, `NodeHints`, `ZoneHints`, `SpillOver` or `Local`.
    pub step: String,
    pub message: String,
    /// The number of endpoints after the step.
    pub left: usize,
}

/// An endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedEndpoint {
    /// The name of its EndpointSlice.
    pub slice: String,
    /// With the port, if its slice has this port.
    pub address: String,
    pub node: Option<String>,
    pub zone: Option<String>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub chosen: bool,
    /// Why it is not chosen: one word. `SpillOver`: why it is, though hints do not select it.
    pub reason: Option<String>,
    /// The same as a sentence.
    pub message: Option<String>,
}

/// Something that would be a frontend but for a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Skipped {
    /// `Service shop/web`.
    pub object: String,
    /// `ClusterIP 10.96.0.10`, or "" for the Service as a whole.
    pub what: String,
    /// One word.
    pub reason: String,
    pub message: String,
}

/// What a connect gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// A sentence.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It goes to a backend.
    Balanced,
    /// It fails with ECONNREFUSED.
    Refused,
    /// It passes as it is.
    Unchanged,
    /// There is no such Service, or it has no such port.
    Unknown,
}
