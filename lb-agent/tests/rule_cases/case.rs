//! The format of recorded cases.
//!
//! An unknown field is an error, so that no new kind of expectation is ignored.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;

/// A file of cases; `about` explains them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    pub about: String,
    /// Cases of kube-proxy that were not recorded, by name.
    #[serde(default)]
    pub skipped_upstream: Vec<String>,
    pub cases: Vec<Case>,
}

/// The events, and the expected state after them, by service port (`namespace/name:port/TCP`) or Service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    pub id: String,
    pub source: String,
    #[serde(default)]
    pub note: String,
    /// The mode of kube-proxy; none if the case is about all of them.
    #[serde(default)]
    pub modes: Vec<String>,
    /// The only family that the expectations cover.
    pub ip_family: Option<String>,
    pub node: Node,
    #[serde(default)]
    pub events: Vec<Event>,
    #[serde(default)]
    pub then_events: Vec<Event>,

    pub expect_endpoints: Option<BTreeMap<String, Vec<Endpoint>>>,
    pub expect_service_ports: Option<BTreeMap<String, ServicePort>>,
    pub expect: Option<BTreeMap<String, Sets>>,
    pub expect_verdict: Option<BTreeMap<String, Verdicts>>,

    // After `thenEvents`.
    pub expect_changed: Option<bool>,
    pub expect_changed_services: Option<Vec<String>>,
    #[serde(rename = "expectUDPCleanup")]
    pub expect_udp_cleanup: Option<bool>,
    pub expect_local_ready_endpoints: Option<BTreeMap<String, usize>>,
    pub expect_endpoints_after: Option<BTreeMap<String, Vec<Endpoint>>>,
    pub expect_verdict_after: Option<BTreeMap<String, Verdicts>>,

    // Connections instead of events. A list of ranges is in Go's format: `[192.168.0.0/24 127.0.0.1/32]`.
    /// As Go prints a list of ranges: `[192.168.0.0/24 127.0.0.1/32]`.
    #[serde(default)]
    pub node_port_addresses: String,
    #[serde(default)]
    pub masquerade_all: bool,
    #[serde(default)]
    pub objects: Vec<Value>,
    #[serde(default)]
    pub flows: Vec<Flow>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub name: String,
    pub labels: Value,
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub event_type: EventType,
    pub object: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    Added,
    Modified,
    Deleted,
}

/// An endpoint of a service port, usable or not.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    pub endpoint: SocketAddr,
    pub is_local: bool,
    pub ready: bool,
    pub serving: bool,
    #[expect(
        dead_code,
        reason = "part of the format; the verdicts say what comes of it"
    )]
    pub terminating: bool,
}

/// The addresses of a service port in the case's family.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePort {
    #[serde(rename = "clusterIP")]
    pub cluster_ip: IpAddr,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<IpAddr>,
    #[serde(rename = "loadBalancerVIPs")]
    pub load_balancer_vips: Vec<IpAddr>,
    pub load_balancer_source_ranges: Vec<String>,
    pub health_check_node_port: u16,
    pub port: u16,
    pub protocol: String,
}

/// The endpoints under each traffic policy; none for a policy that the Service never uses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sets {
    pub cluster: Option<Vec<SocketAddr>>,
    pub local: Option<Vec<SocketAddr>>,
    pub all_reachable: Vec<SocketAddr>,
    pub has_any_endpoints: bool,
}

/// The result of a connection, by its destination and client.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdicts {
    pub internal: Verdict,
    pub external: Option<Verdict>,
    pub external_from_local: Option<Verdict>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    pub verdict: Word,
    pub endpoints: Vec<SocketAddr>,
}

/// A connection of a client to an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    pub name: String,
    pub client: Client,
    #[serde(rename = "sourceIP")]
    pub source_ip: IpAddr,
    pub protocol: String,
    #[serde(rename = "destIP")]
    pub dest_ip: IpAddr,
    #[serde(rename = "destPort")]
    pub dest_port: u16,
    pub verdict: Word,
    /// Addresses, or a word of the packet filter.
    pub endpoints: Vec<String>,
    pub masquerade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    Pod,
    Node,
    /// On another machine.
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    Endpoints,
    Reject,
    Drop,
    /// Not translated.
    #[serde(rename = "")]
    Pass,
}
