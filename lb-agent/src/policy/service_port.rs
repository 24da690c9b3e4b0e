//! The result of the policy: one service port, with all data that the tables need to balance it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
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
    /// In kube-proxy's format, with the family added: `default/web:http/TCP (IPv4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{} ({})", self.protocol, self.family)
    }
}

/// How a hook picks a backend from the slots of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Uniformly at random.
    #[default]
    Random,
    /// The one of two random backends that has fewer active connections.
    LeastConn,
    /// By a hash of the client. Most clients keep their backend when backends change.
    Maglev,
    /// In turn, one after the other.
    RoundRobin,
}

impl Algorithm {
    /// All algorithms, by the names in annotations and flags.
    pub const NAMES: [(&str, Self); 4] = [
        ("random", Self::Random),
        ("least-conn", Self::LeastConn),
        ("maglev", Self::Maglev),
        ("round-robin", Self::RoundRobin),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        let name = Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self);
        name.map_or("", |(name, _)| name)
    }
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

/// The kinds of address that clients of a service port connect to.
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
    /// None for a NodePort, which is served on all of the node's addresses.
    pub address: Option<IpAddr>,
    /// In host order.
    pub port: u16,
}

impl Frontend {
    /// Whether it is a NodePort on a loopback address, which only the host's own processes reach.
    #[must_use]
    pub fn is_host_only(&self) -> bool {
        let is_loopback = self.address.is_some_and(|address| address.is_loopback());
        self.kind == FrontendKind::NodePort && is_loopback
    }

    /// Whether `externalTrafficPolicy` applies to it.
    #[must_use]
    pub fn is_reached_from_outside(&self) -> bool {
        self.kind != FrontendKind::ClusterIp && !self.is_host_only()
    }
}

/// [`Backend::tenths`] of a backend that is not starting.
pub const FULL_WEIGHT: u8 = 10;

/// One endpoint of one service port, and the views that contain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Always of the service port's family.
    pub address: SocketAddr,
    pub node: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
    /// Its share of new connections is its part of the sum of all weights in the view. 0: no view has it. With
    /// [`ServicePort::spill_over`] it is not that of its slice, but gives it its part of either share.
    pub weight: u16,
    /// The tenths of its weight that count: fewer than [`FULL_WEIGHT`] while it starts slowly. The policy does not know the time,
    /// and always says so many.
    pub tenths: u8,
    /// It is in the view of the ClusterIP.
    pub internal: bool,
    /// It is in the view of NodePort, external IP and LoadBalancer IP, for clients on this node.
    pub external: bool,
    /// It is in the view of these for packets from outside, with `externalTrafficPolicy: Local`.
    pub outside: bool,
    /// It keeps its existing UDP flows, whether it gets new ones or not.
    pub serving: bool,
    /// Outlier detection: failed connects to it are counted. Only for TCP.
    pub watched: bool,
}

/// Connections that go to endpoints which hints do not select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillOver {
    /// Their part of all connections, rounded: 1 to 99.
    pub percent: u8,
    /// Their endpoints, sorted.
    pub to: Vec<SocketAddr>,
}

/// All data needed to balance one service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    pub key: ServicePortKey,
    /// The creation timestamp of its Service.
    pub created: Option<Timestamp>,
    pub algorithm: Algorithm,
    /// `sessionAffinity: ClientIP`: the time in seconds for which a client keeps its backend.
    pub affinity_seconds: Option<u32>,
    /// The time that a new backend takes to get its whole share; none: it gets it at once.
    pub slow_start: Option<Duration>,
    /// A part of the connections goes to endpoints that hints do not select; none: hints are followed, or there are none.
    pub spill_over: Option<Box<SpillOver>>,
    /// How long connections go on after their backend has stopped serving; none: nobody asks for it. Only for TCP.
    pub drain: Option<Duration>,
    /// `externalTrafficPolicy: Local`: packets from outside get the endpoints of this node only. Always false without the
    /// packet path.
    pub external_local: bool,
    /// `loadBalancerSourceRanges` of the family: the clients of its LoadBalancer IPs. Empty: all.
    pub source_ranges: Arc<[IpNet]>,
    /// Sorted, without duplicates.
    pub frontends: Vec<Frontend>,
    /// Sorted by address, without duplicates.
    pub backends: Vec<Backend>,
}

impl ServicePort {
    /// Whether only packets from its source ranges reach a frontend, and no socket.
    #[must_use]
    pub fn has_source_ranges(&self, frontend: &Frontend) -> bool {
        frontend.kind == FrontendKind::LoadBalancer && !self.source_ranges.is_empty()
    }

    /// Whether a backend gets connections only because they spill over.
    #[must_use]
    pub fn spills_to(&self, backend: SocketAddr) -> bool {
        let spill_over = self.spill_over.as_ref();
        spill_over.is_some_and(|of| of.to.binary_search(&backend).is_ok())
    }

    /// When the tables are short of room, service ports with a lower value come first: the oldest ones. Service ports without a
    /// creation timestamp come last.
    #[must_use]
    pub fn seniority(&self) -> Timestamp {
        self.created.unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
