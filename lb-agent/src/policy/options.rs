//! The settings that the rules need besides the objects.

use std::time::Duration;

use ipnet::IpNet;

use super::masquerading::Masquerading;
use super::service_port::Algorithm;

/// The settings that the rules need besides the objects.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the agent's node, as in `nodeName` of endpoints and `forNodes` of hints.
    pub node_name: String,
    /// The agent also serves Services with this value of the label `service.kubernetes.io/service-proxy-name`.
    pub service_proxy_name: Option<String>,
    /// For Services without an annotation for it.
    pub default_algorithm: Algorithm,
    /// The same.
    pub detects_outliers: bool,
    /// The same: see [`super::ServicePort::drain`].
    pub drain: Option<Duration>,
    /// The ranges in which connections to addresses without a Service are refused.
    pub refuse_unknown: RefuseUnknown,
    /// The agent also balances packets that start at no socket of this node; none: it does not.
    pub packets: Option<Masquerading>,
    /// `spec.externalIPs` get no frontend.
    pub refuses_external_ips: bool,
}

/// The ranges in which connections to addresses without a Service are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RefuseUnknown {
    #[default]
    Nowhere,
    In(Vec<IpNet>),
    /// In the ranges of the cluster's ServiceCIDRs.
    InServiceCidrs,
}
