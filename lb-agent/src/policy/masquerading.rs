//! Which connections of the packet path are masqueraded: their backends see the node's address instead of the client's.

use std::fmt;

use ipnet::IpNet;

use super::service_port::{Frontend, FrontendKind, ServicePort};
use crate::catalog::Family;

/// The settings that decide on connections to ClusterIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masquerading {
    /// The addresses of the cluster's pods: packets from elsewhere are masqueraded. Empty: unknown.
    pub cluster_cidrs: Vec<IpNet>,
    /// All are.
    pub is_for_all: bool,
}

/// Which clients' connections to a frontend are masqueraded. A connection of a pod to itself always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    All,
    /// Those from outside of the cluster's pods.
    FromOutside,
    None,
}

impl fmt::Display for Masquerade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::FromOutside => "from-outside",
            Self::None => "none",
        })
    }
}

impl Masquerading {
    /// Which connections to a frontend are masqueraded, by kube-proxy's rules (pkg/proxy/nftables/proxier.go). The program `packet`
    /// decides by the same ones.
    #[must_use]
    pub fn of(&self, port: &ServicePort, frontend: &Frontend) -> Masquerade {
        // The node's own processes reach it by their sockets.
        if frontend.is_host_only() || port.external_local && frontend.is_reached_from_outside() {
            return Masquerade::None;
        }
        if self.is_for_all || frontend.kind != FrontendKind::ClusterIp {
            return Masquerade::All;
        }
        let is_of = |cidr: &IpNet| Family::of(cidr.addr()) == port.key.family;
        match self.cluster_cidrs.iter().any(is_of) {
            true => Masquerade::FromOutside,
            false => Masquerade::None,
        }
    }
}
