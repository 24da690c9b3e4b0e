//! The used fields of a Service (v1), as written. The policy validates them.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::{Metadata, null_is_default};
use super::text;

/// A Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Service {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: ServiceSpec,
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    #[serde(rename = "type", deserialize_with = "text::maybe")]
    pub service_type: Option<Arc<str>>,
    #[serde(rename = "clusterIP", deserialize_with = "text::maybe")]
    pub cluster_ip: Option<Arc<str>>,
    #[serde(rename = "clusterIPs", deserialize_with = "text::list")]
    pub cluster_ips: Box<[Arc<str>]>,
    #[serde(deserialize_with = "text::list")]
    pub ip_families: Box<[Arc<str>]>,
    #[serde(deserialize_with = "null_is_default")]
    pub ports: Box<[PortSpec]>,
    #[serde(rename = "externalIPs", deserialize_with = "text::list")]
    pub external_ips: Box<[Arc<str>]>,
    #[serde(deserialize_with = "text::list")]
    pub load_balancer_source_ranges: Box<[Arc<str>]>,
    #[serde(deserialize_with = "text::maybe")]
    pub session_affinity: Option<Arc<str>>,
    pub session_affinity_config: Option<SessionAffinityConfig>,
    #[serde(deserialize_with = "text::maybe")]
    pub internal_traffic_policy: Option<Arc<str>>,
    #[serde(deserialize_with = "text::maybe")]
    pub external_traffic_policy: Option<Arc<str>>,
    pub health_check_node_port: Option<i32>,
}

/// One of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortSpec {
    #[serde(deserialize_with = "text::or_empty")]
    pub name: Arc<str>,
    /// Absent means TCP.
    #[serde(deserialize_with = "text::maybe")]
    pub protocol: Option<Arc<str>>,
    pub port: Option<i32>,
    pub node_port: Option<i32>,
}

/// `spec.sessionAffinityConfig`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SessionAffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    pub timeout_seconds: Option<i32>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoadBalancerStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub ingress: Box<[LoadBalancerIngress]>,
}

/// One of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// Absent if the load balancer has only a host name.
    #[serde(deserialize_with = "text::maybe")]
    pub ip: Option<Arc<str>>,
    /// Absent means VIP.
    #[serde(deserialize_with = "text::maybe")]
    pub ip_mode: Option<Arc<str>>,
}
