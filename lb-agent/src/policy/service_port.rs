//! What the policy hands to the tables: one service port, with all that it takes to balance it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalog::{Family, Protocol};

/// One port of one Service in one address family: the unit that has backends, an algorithm and affinity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePortKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// The port's name; "" when it has none.
    pub port: Arc<str>,
    pub protocol: Protocol,
    pub family: Family,
}

impl fmt::Display for ServicePortKey {
    /// As kube-proxy writes it, with the family: `default/web:http/TCP (IPv4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{} ({})", self.protocol, self.family)
    }
}

/// How a backend is picked from the slots of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Uniformly at random.
    #[default]
    Random,
    /// Of two random backends the one with fewer active connections.
    LeastConn,
    /// By a hash of the client, which keeps most clients where they are when backends change.
    Maglev,
    /// One after the other.
    RoundRobin,
}

impl Algorithm {
    /// All of them, as annotations and flags name them.
    pub const NAMES: [(&str, Self); 4] = [
        ("random", Self::Random),
        ("least-conn", Self::LeastConn),
        ("maglev", Self::Maglev),
        ("round-robin", Self::RoundRobin),
    ];
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, algorithm)| algorithm).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            format!("write one of {}", names.join(", "))
        })
    }
}

/// Where clients of a service port connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrontendKind {
    ClusterIp,
    NodePort,
    ExternalIp,
    LoadBalancer,
}

/// An address and port that clients connect to; the protocol is the service port's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    pub kind: FrontendKind,
    /// None for a NodePort, which answers on all of the node's addresses.
    pub address: Option<IpAddr>,
    /// In host order.
    pub port: u16,
}

/// One endpoint of one service port, and where it may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Always of the service port's family.
    pub address: SocketAddr,
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
    /// How many slots it gets; at least 1.
    pub weight: u16,
    /// A choice for the ClusterIP.
    pub internal: bool,
    /// A choice for NodePort, external IP and LoadBalancer IP, for clients on this node.
    pub external: bool,
    /// Keeps the UDP flows it has, whether it gets new ones or not.
    pub serving: bool,
}

/// All that it takes to balance one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub key: ServicePortKey,
    /// When an API server made its Service.
    pub created: Option<Timestamp>,
    pub algorithm: Algorithm,
    /// `sessionAffinity: ClientIP`: for how many seconds a client stays with its backend.
    pub affinity_seconds: Option<u32>,
    /// Sorted, without duplicates.
    pub frontends: Vec<Frontend>,
    /// Sorted by address, without duplicates.
    pub backends: Vec<Backend>,
}

impl ServicePort {
    /// Where room is short, those with a lower one come first: the oldest. What no API server has dated comes last.
    #[must_use]
    pub fn seniority(&self) -> Timestamp {
        self.created.unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, algorithm)| algorithm == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

impl fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "ExternalIP",
            Self::LoadBalancer => "LoadBalancer",
        })
    }
}
