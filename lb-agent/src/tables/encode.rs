//! The policy's values as the tables contain them: addresses of 16 bytes, ports in network byte order.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

use lb_common::backend::state;
use lb_common::frontend::kind;
use lb_common::view::{algorithm, flag};
use lb_common::{Address, Backend as BackendLine, FrontendEntry, FrontendKey, View, source_range};

use super::backing::SourcePrefix;
use super::role::Role;
use crate::catalog::Protocol;
use crate::policy::{Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort};

/// An address as the tables contain it: 16 bytes, IPv4 mapped.
#[must_use]
pub fn address(address: IpAddr) -> Address {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    bytemuck::must_cast(octets)
}

/// The address and port of a line of the tables.
///
/// `port`: in network byte order.
#[must_use]
pub fn socket_address(address: Address, port: u16) -> SocketAddr {
    let address = std::net::Ipv6Addr::from(bytemuck::must_cast::<Address, [u8; 16]>(address));
    let port = u16::from_be(port);
    match address.to_ipv4_mapped() {
        Some(address) => SocketAddrV4::new(address, port).into(),
        None => SocketAddrV6::new(address, port, 0, 0).into(),
    }
}

/// The protocol's number (IPPROTO_…).
#[must_use]
pub const fn protocol(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => lb_common::TCP,
        Protocol::Udp => lb_common::UDP,
    }
}

/// A frontend's key; none for a NodePort without an address of the node.
#[must_use]
pub fn frontend_key(frontend: &Frontend, of: Protocol) -> Option<FrontendKey> {
    Some(FrontendKey::new(
        address(frontend.address?),
        frontend.port.to_be(),
        protocol(of),
    ))
}

#[must_use]
pub const fn frontend_kind(of: FrontendKind) -> u8 {
    match of {
        FrontendKind::ClusterIp => kind::CLUSTER_IP,
        FrontendKind::NodePort => kind::NODE_PORT,
        FrontendKind::ExternalIp => kind::EXTERNAL_IP,
        FrontendKind::LoadBalancer => kind::LOAD_BALANCER,
    }
}

/// The reverse of [`frontend_kind`]; none for a number of another version.
#[must_use]
pub const fn kind_of(number: u8) -> Option<FrontendKind> {
    match number {
        kind::CLUSTER_IP => Some(FrontendKind::ClusterIp),
        kind::NODE_PORT => Some(FrontendKind::NodePort),
        kind::EXTERNAL_IP => Some(FrontendKind::ExternalIp),
        kind::LOAD_BALANCER => Some(FrontendKind::LoadBalancer),
        _ => None,
    }
}

#[must_use]
pub const fn frontend_entry(key: &FrontendKey, kind: u8, outside_view: u32) -> FrontendEntry {
    FrontendEntry {
        address: key.address,
        port: key.port,
        protocol: key.protocol,
        kind,
        outside_view,
    }
}

/// The bits of [`state`] that a backend has.
#[must_use]
pub fn backend_state(backend: &Backend) -> u64 {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    let uses = bit(backend.internal, state::INTERNAL)
        | bit(backend.external, state::EXTERNAL)
        | bit(backend.outside, state::OUTSIDE)
        | bit(backend.serving, state::SERVING);
    uses | bit(backend.watched && uses != 0, state::WATCHED)
}

/// The unit of the weights in the lines of a service port's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightUnit {
    One,
    /// While a backend starts slowly.
    Tenth,
}

impl WeightUnit {
    #[must_use]
    pub fn of(port: &ServicePort) -> Self {
        let mut backends = port.backends.iter();
        if backends.all(|backend| backend.tenths == FULL_WEIGHT) {
            return Self::One;
        }
        let heaviest = port.backends.iter().map(|backend| backend.weight).max();
        // A tenth of more than that is exact enough.
        match heaviest.unwrap_or_default() > u16::MAX / u16::from(FULL_WEIGHT) {
            true => Self::One,
            false => Self::Tenth,
        }
    }

    /// The weight in a backend's line. A backend without any is in no view.
    #[must_use]
    pub fn weight(self, backend: &Backend) -> u16 {
        let tenths = u32::from(backend.weight) * u32::from(backend.tenths);
        let weight = match self {
            Self::One => tenths / u32::from(FULL_WEIGHT),
            Self::Tenth => tenths,
        };
        u16::try_from(weight).unwrap_or(u16::MAX).max(1)
    }
}

/// The keys of a service port's frontends.
pub fn frontend_keys(port: &ServicePort) -> impl Iterator<Item = FrontendKey> {
    port.frontends
        .iter()
        .filter_map(|frontend| frontend_key(frontend, port.key.protocol))
}

/// A backend's line with its counters at 0.
#[must_use]
pub fn backend_line(at: SocketAddr, service_port: u32, state: u64, weight: u16) -> BackendLine {
    BackendLine {
        address: address(at.ip()),
        service_port,
        port: at.port().to_be(),
        more_weight: weight.saturating_sub(1),
        state,
        ..BackendLine::default()
    }
}

#[must_use]
pub const fn algorithm_number(of: Algorithm) -> u32 {
    match of {
        Algorithm::Random => algorithm::RANDOM,
        Algorithm::LeastConn => algorithm::LEAST_CONN,
        Algorithm::Maglev => algorithm::MAGLEV,
        Algorithm::RoundRobin => algorithm::ROUND_ROBIN,
    }
}

/// A view without slots.
///
/// `algorithm`: one of [`algorithm`]. `affinity_seconds`: 0 for none. `flags`: bits of [`lb_common::view::flag`].
#[must_use]
pub fn view_line(
    service_port: u32,
    role: Role,
    algorithm: u32,
    affinity_seconds: u32,
    flags: u32,
) -> View {
    View {
        service_port,
        algorithm,
        affinity_seconds,
        member: member(role),
        flags,
        ..View::default()
    }
}

/// The bits of [`lb_common::view::flag`] of a view with these backends.
#[must_use]
pub fn view_flags(port: &ServicePort, backends: &[&Backend]) -> u32 {
    // Each usable endpoint is in the view of the policy Cluster.
    let is_elsewhere = backends.is_empty() && port.backends.iter().any(|b| b.external);
    if is_elsewhere {
        flag::ENDPOINTS_ELSEWHERE
    } else {
        0
    }
}

/// The keys of a service port's source ranges, sorted.
#[must_use]
pub fn source_ranges(service_port: u32, of: &ServicePort) -> BTreeSet<SourcePrefix> {
    let ranges = of.source_ranges.iter();
    ranges
        .map(|range| {
            let network = address(range.network());
            SourcePrefix {
                bits: source_range::prefix_length(network, range.prefix_len()),
                key: source_range::key(service_port, network),
            }
        })
        .collect()
}

/// [`View::member`] of a view with this role.
#[must_use]
pub fn member(role: Role) -> u32 {
    u32::try_from(role.bit()).unwrap_or_default()
}
