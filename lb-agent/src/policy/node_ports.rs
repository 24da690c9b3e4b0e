//! NodePorts on the node's own addresses. Each address is a frontend of its own, so that `getpeername` can return the address
//! that the client used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::service_port::{Frontend, FrontendKind, ServicePort};
use crate::catalog::Family;

/// The addresses and ports on which the node serves NodePorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// The node's addresses, sorted, without loopback.
    pub addresses: Vec<IpAddr>,
    /// First and last port. The agent does not serve NodePorts outside this range.
    pub range: (u16, u16),
    /// `--nodeport-addresses`: the ranges of addresses on which NodePorts are served. A family without a range is served on all
    /// addresses (`NewNodePortAddresses` in kube-proxy's pkg/proxy/util/nodeport_addresses.go).
    pub allowed: Vec<IpNet>,
    /// `--nodeport-addresses primary`: these are ranges too, each of one address; empty until the Node is known, and then no
    /// family is served on all addresses. None: not asked for.
    pub primary: Option<Vec<IpAddr>>,
}

/// Why a NodePort has no frontend on an address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortSkip {
    /// It is outside of this range (`--nodeport-range`).
    Range((u16, u16)),
    /// `--nodeport-addresses` excludes the address.
    Address,
}

impl NodePorts {
    /// The node's addresses on which NodePorts are served; none if that is all addresses.
    #[must_use]
    pub fn restricted(&self) -> Option<Vec<IpAddr>> {
        let is_restricted = !self.allowed.is_empty() || self.primary.is_some();
        is_restricted.then(|| {
            let addresses = self.addresses.iter();
            addresses.copied().filter(|a| self.allows(a)).collect()
        })
    }

    /// Whether the primary addresses are asked for, and not known.
    #[must_use]
    pub fn lacks_primary(&self) -> bool {
        self.primary.as_ref().is_some_and(Vec::is_empty)
    }

    fn allows(&self, address: &IpAddr) -> bool {
        let family = Family::of(*address);
        let primary = self.primary.iter().flatten();
        let ranges = self.allowed.iter().copied();
        let mut of_family = ranges
            .chain(primary.map(|address| IpNet::from(*address)))
            .filter(|range| Family::of(range.addr()) == family)
            .peekable();
        match of_family.peek() {
            Some(_) => of_family.any(|range| range.contains(address)),
            None => !self.lacks_primary(),
        }
    }

    /// Why a NodePort has no frontend on an address of the node; none: it has one.
    #[must_use]
    pub fn skip(&self, address: &IpAddr, port: u16) -> Option<NodePortSkip> {
        if !self.serves(port) {
            return Some(NodePortSkip::Range(self.range));
        }
        (!self.allows(address)).then_some(NodePortSkip::Address)
    }

    fn serves(&self, port: u16) -> bool {
        (self.range.0..=self.range.1).contains(&port)
    }

    /// Replaces the wildcard address of NodePorts with the node's addresses, and with loopback for the host's own processes.
    #[must_use]
    pub fn expand(&self, mut port: ServicePort) -> ServicePort {
        let is_open = |frontend: &&Frontend| frontend.address.is_none();
        let open: Vec<u16> = port
            .frontends
            .iter()
            .filter(is_open)
            .map(|frontend| frontend.port)
            .collect();
        if open.is_empty() {
            return port;
        }
        port.frontends.retain(|frontend| !is_open(&frontend));
        let loopback: IpAddr = match port.key.family {
            Family::Ipv4 => Ipv4Addr::LOCALHOST.into(),
            Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        };
        let of_family = self
            .addresses
            .iter()
            .filter(|address| Family::of(**address) == port.key.family);
        for address in of_family.chain([&loopback]).filter(|a| self.allows(a)) {
            let in_range = open.iter().filter(|number| self.serves(**number));
            port.frontends.extend(in_range.map(|&number| Frontend {
                kind: FrontendKind::NodePort,
                address: Some(*address),
                port: number,
            }));
        }
        port.frontends.sort();
        port
    }
}
