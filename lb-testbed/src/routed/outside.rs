//! A machine outside of the node, with subnets from the ranges for documentation (RFC 5737, RFC 3849).

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::link::Link;
use super::tun::Cable;
use crate::cgroup::Cgroup;
use crate::namespace::NetworkNamespace;
use crate::pod::{DEVICE, Family, Pod};

/// The last numbers of the node's and the machine's addresses in their subnets.
const NODE: u8 = 1;
const MACHINE: u8 = 2;
/// Addresses in an IPv4 subnet (a /28).
const SUBNET: u8 = 16;

/// A machine that reaches the node over a link of its own. Machine 0 is 192.0.2.2 and 2001:db8::2 behind the node's device
/// `outside0` with 192.0.2.1 and 2001:db8::1; machine 1 is 192.0.2.18 and 2001:db8:0:1::2, and so on.
///
/// It knows its own subnets only; see [`Self::route_via_node`].
#[derive(Debug)]
pub struct Outside {
    machine: Pod,
    number: u8,
    node: NetworkNamespace,
    /// Carries the packets of a link without a kernel device of its own.
    _cable: Option<Cable>,
}

impl Outside {
    pub(super) const AT_MOST: u8 = u8::MAX / SUBNET;

    pub(super) fn new(
        name: &str,
        number: u8,
        link: Link,
        node: &NetworkNamespace,
        cgroup: Cgroup,
    ) -> Result<Self> {
        let namespace = NetworkNamespace::create()
            .with_context(|| format!("cannot make a network namespace for machine {name}"))?;
        let machine = Pod::with_addresses(
            name,
            subnet4(number, MACHINE),
            subnet6(number, MACHINE),
            namespace,
        )
        .in_cgroup(cgroup);
        let cable = link.lay(&device(number), node, machine.namespace())?;
        node.ip(&set_up(&device(number), number, NODE))
            .with_context(|| format!("cannot set up the node's link to {name}"))?;
        machine.ip(&format!(
            "link set lo up\n{}",
            set_up(DEVICE, number, MACHINE)
        ))?;
        Ok(Self {
            machine,
            number,
            node: node.clone(),
            _cable: cable,
        })
    }

    /// The machine, to run clients and servers on.
    pub fn machine(&self) -> &Pod {
        &self.machine
    }

    /// The node's device of this link: `outside0`, `outside1`, …
    pub fn device(&self) -> String {
        device(self.number)
    }

    /// The node's address on this link.
    pub fn node_address(&self, family: Family) -> IpAddr {
        match family {
            Family::IPv4 => subnet4(self.number, NODE).into(),
            Family::IPv6 => subnet6(self.number, NODE).into(),
        }
    }

    /// The machine's subnet, as `loadBalancerSourceRanges` takes it.
    pub fn subnet(&self, family: Family) -> String {
        match family {
            Family::IPv4 => format!("{}/28", subnet4(self.number, 0)),
            Family::IPv6 => format!("{}/64", subnet6(self.number, 0)),
        }
    }

    /// Sends packets for these addresses or CIDRs to the node: for LoadBalancer IPs, external IPs, ClusterIPs or pods.
    pub fn route_via_node<D: Display>(
        &self,
        destinations: impl IntoIterator<Item = D>,
    ) -> Result<()> {
        let mut lines = String::new();
        for destination in destinations {
            let destination = destination.to_string();
            let family = if destination.contains(':') {
                Family::IPv6
            } else {
                Family::IPv4
            };
            let gateway = self.node_address(family);
            // Writing to a String does not fail.
            let _ = writeln!(lines, "route add {destination} via {gateway}");
        }
        self.machine.ip(&lines)
    }

    /// More addresses for the machine, of any range; the node gets a route to each. A client has one of them only if it asks for
    /// it ([`crate::Question::from`]).
    pub fn add_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let (mut own, mut routes) = (String::new(), String::new());
        for address in addresses {
            let (family, length) = match address {
                IpAddr::V4(_) => (Family::IPv4, 32),
                IpAddr::V6(_) => (Family::IPv6, 128),
            };
            // The kernel prefers addresses of the device that packets leave by.
            let _ = writeln!(own, "addr add {address}/{length} dev lo");
            let gateway = self.machine.address(family);
            let _ = writeln!(routes, "route add {address} via {gateway}");
        }
        self.machine.ip(&own)?;
        self.node
            .ip(&routes)
            .with_context(|| format!("cannot add routes to {}", self.machine.name()))
    }
}

fn device(number: u8) -> String {
    format!("outside{number}")
}

/// Commands that give a device its addresses.
fn set_up(device: &str, number: u8, last: u8) -> String {
    format!(
        "addr add {}/28 dev {device}\n\
         addr add {}/64 dev {device} nodad\n\
         link set {device} up\n",
        subnet4(number, last),
        subnet6(number, last)
    )
}

fn subnet4(number: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number * SUBNET + last)
}

fn subnet6(number: u8, last: u8) -> Ipv6Addr {
    let [number, last] = [number, last].map(u16::from);
    Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, last)
}
