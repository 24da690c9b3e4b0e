//! The paths and JSON types of the lists of objects.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The path of the list of [`ServiceStatus`].
pub const SERVICES: &str = "/v1/services";

/// The path of the list of [`FrontendStatus`].
pub const FRONTENDS: &str = "/v1/frontends";

/// The path of the list of [`BackendStatus`].
pub const BACKENDS: &str = "/v1/backends";

/// A Service that the agent balances, or would balance but for its problems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `spec.type`; ClusterIP if there is none.
    #[serde(rename = "type")]
    pub service_type: Cow<'static, str>,
    /// In the order of `spec.clusterIPs`.
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<IpAddr>,
    pub ports: Vec<PortStatus>,
    /// None if no port is balanced.
    pub algorithm: Option<Cow<'static, str>>,
    /// How long a client keeps its backend, in seconds; none without `sessionAffinity: ClientIP`.
    pub affinity_seconds: Option<u32>,
    /// How long its TCP connections go on after their backend has stopped serving; none without a drain time.
    #[serde(default)]
    pub drain_seconds: Option<u64>,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: Cow<'static, str>,
    /// `Cluster` or `Local`; none for a Service that has only ClusterIPs.
    pub external_traffic_policy: Option<Cow<'static, str>>,
    /// The number of frontends in the tables.
    pub frontends: usize,
    pub backends: BackendNumbers,
    /// Connections sent to its backends since they were added. A backend that goes takes its count with it.
    pub connections: u64,
    /// Connections since the agent started, those to backends that are gone included: it never decreases while this agent runs.
    pub connections_since_start: u64,
    /// Sockets that are connected to its backends now.
    pub active: u64,
    /// Calls refused because it had no backend, since it was added.
    pub refused: u64,
    /// TCP sockets closed before their connection was established, since it was added.
    pub failed: u64,
    /// None unless `--latency` has measured any.
    pub round_trips: Option<RoundTripStatus>,
    /// Its problems and those of its EndpointSlices, one line each.
    pub problems: Vec<String>,
}

/// Smoothed round-trip times of the TCP connections of a Service, each counted when its connection is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoundTripStatus {
    /// In µs.
    pub sum_micros: u64,
    /// The number of times of up to 16 µs, then of up to 32 µs, and so on: the limit of each bucket is twice that of the one before.
    /// The last bucket counts all longer times.
    pub buckets: Vec<u64>,
}

/// A port of a Service that the agent balances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortStatus {
    /// "" if it has none.
    pub name: Arc<str>,
    pub protocol: Cow<'static, str>,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// Numbers of backends. One that several ports or families of a Service have counts once for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendNumbers {
    /// Those that a frontend offers.
    pub used: usize,
    /// Those that keep their UDP flows, used or not.
    pub serving: usize,
    pub total: usize,
}

/// A frontend in the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendStatus {
    pub namespace: String,
    pub name: String,
    /// The name of the port; "" if it has none.
    pub port: String,
    pub protocol: String,
    pub family: String,
    /// `ClusterIP`, `NodePort`, `ExternalIP` or `LoadBalancer`.
    pub kind: String,
    /// The address with the port. A NodePort has a frontend for each address of the node.
    pub address: String,
    /// Its id in FRONTEND_LIST.
    pub id: u32,
    /// Whose backends it offers: those of `all` frontends, or the `internal` or `external` ones, as in `plan`.
    pub scope: String,
    /// The number of backends that it offers to sockets, and to packets unless `outside_backends` differs.
    pub backends: usize,
    /// The number of backends that it offers to packets from outside, if that is another view.
    pub outside_backends: Option<usize>,
}

/// A backend of a service port, with the kernel's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    pub namespace: String,
    pub name: String,
    /// The name of the port; "" if it has none.
    pub port: String,
    pub protocol: String,
    pub family: String,
    /// The address with the port.
    pub address: String,
    /// Its id in BACKENDS.
    pub id: u32,
    /// None if its EndpointSlice does not say.
    pub node: Option<String>,
    /// None if its EndpointSlice does not say.
    pub zone: Option<String>,
    /// The backend is a choice for the ClusterIP.
    pub internal: bool,
    /// The backend is a choice for the other frontends.
    pub external: bool,
    pub serving: bool,
    /// Connections spill over to it: it is a choice although hints do not select it.
    #[serde(default)]
    pub spill_over: bool,
    /// Its share of new connections is its part of the sum of a view's weights. 0: it gets none.
    #[serde(default = "usual_weight")]
    pub weight: u16,
    /// How much of its weight counts: less than 100 while it starts slowly.
    #[serde(default = "whole_weight")]
    pub weight_percent: u8,
    /// Connections sent to it since it was added.
    pub connections: u64,
    /// Sockets that are connected to it now.
    pub active: u64,
    /// Connects to it that failed in a row. Counted only with outlier detection.
    #[serde(default)]
    pub failures: u32,
    /// It gets no new connection because connects to it failed; `ejected_seconds` says for how long.
    #[serde(default)]
    pub ejected: bool,
    /// The time in seconds until a connection may try it again; 0: the next one may, or one does. None: it is not ejected.
    #[serde(default)]
    pub ejected_seconds: Option<u64>,
}

const fn usual_weight() -> u16 {
    1
}

const fn whole_weight() -> u8 {
    100
}
