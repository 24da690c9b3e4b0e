//! The path and JSON types of the comparison of shadow mode.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The path of [`ShadowReport`]; `null` of an agent that does not run in shadow mode.
pub const SHADOW: &str = "/v1/shadow";

/// Where kube-proxy's connections go, compared with where they would have gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowReport {
    /// How much later endpoints may change on one side than on the other (`--shadow-tolerance`).
    pub tolerance_seconds: f64,
    #[serde(flatten)]
    pub status: ShadowStatus,
    pub ports: Vec<ShadowedPort>,
}

/// The sums of all Services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowStatus {
    /// Compared flows: TCP connections, and UDP flows of conntrack.
    pub flows: u64,
    pub different: u64,
    /// Services with a different flow.
    pub different_services: usize,
    /// Flows that are judged when the tolerance is over.
    pub waiting: usize,
    /// How often flows came faster than they could be read. Some were then not compared.
    pub overruns: u64,
    /// Why no flows are seen now.
    pub trouble: Option<String>,
}

/// A port of a Service, in both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowedPort {
    /// "" if no Service that the agent balances has the address.
    pub namespace: String,
    pub name: String,
    /// The name of the port, "" if it has none; its number if the Service has no such port.
    pub port: String,
    pub protocol: String,
    pub flows: u64,
    pub different: u64,
    pub first_difference: Option<FlowDifference>,
    pub last_difference: Option<FlowDifference>,
}

/// A flow that went elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowDifference {
    pub time: Timestamp,
    /// `other-endpoint`, `not-translated`, `would-be-refused` or `unknown-frontend`.
    pub kind: String,
    pub client: String,
    pub frontend: String,
    /// Where it went; the frontend itself if it was not translated.
    pub endpoint: String,
    /// Some of the backends that the agent would have chosen from.
    pub backends: Vec<String>,
    /// How many there are.
    pub backend_count: usize,
}
