//! What the rules need besides a Service and its slices.

use std::time::Duration;

use super::service_port::Algorithm;
use super::topology::NodeLocation;

/// The node and the settings that the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) node_name: &'a str,
    pub(super) zone: Option<&'a str>,
    pub(super) service_proxy_name: Option<&'a str>,
    pub(super) default_algorithm: Algorithm,
    pub(super) detects_outliers: bool,
    pub(super) drain: Option<Duration>,
    pub(super) has_packet_path: bool,
    pub(super) refuses_external_ips: bool,
}

impl<'a> Context<'a> {
    pub(super) const fn location(&self) -> NodeLocation<'a> {
        NodeLocation {
            node_name: self.node_name,
            zone: self.zone,
        }
    }
}
