//! The frontends of a service port in an explanation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::asked::Asked;
use super::facts::Facts;
use super::{contents, verdict};
use crate::catalog::Family;
use crate::policy::explain::{NoFrontend, NodePortSkip};
use crate::policy::{Frontend, FrontendKind, Scope, ServicePort};
use crate::serve::ExplainedFrontend;

/// The frontends of a service port, on the node's addresses if they are known.
pub(super) fn expanded(facts: &Facts<'_>, port: &ServicePort) -> Vec<Frontend> {
    match facts.node_ports {
        Some(node_ports) => node_ports.expand(port.clone()).frontends,
        None => port.frontends.clone(),
    }
}

/// The kind of a frontend, with its address and port.
pub(super) fn what(frontend: &Frontend) -> String {
    format!("{} {}", frontend.kind, address(frontend))
}

/// The NodePorts that settings exclude: as a whole, or on some of the node's addresses.
pub(super) fn skipped_node_ports(
    facts: &Facts<'_>,
    port: &ServicePort,
) -> Vec<(String, NoFrontend)> {
    let Some(node_ports) = facts.node_ports else {
        return Vec::new();
    };
    let mut skipped = Vec::new();
    let loopback: IpAddr = match port.key.family {
        Family::Ipv4 => Ipv4Addr::LOCALHOST.into(),
        Family::Ipv6 => Ipv6Addr::LOCALHOST.into(),
    };
    let own = node_ports.addresses.iter().copied();
    let own = own.filter(|address| Family::of(*address) == port.key.family);
    for frontend in port.frontends.iter().filter(|of| of.address.is_none()) {
        for ip in own.clone().chain([loopback]) {
            let Some(why) = node_ports.skip(&ip, frontend.port) else {
                continue;
            };
            let is_everywhere = matches!(why, NodePortSkip::Range(_));
            let what = match is_everywhere {
                true => what(frontend),
                false => format!("{} {}", frontend.kind, SocketAddr::new(ip, frontend.port)),
            };
            skipped.push((what, NoFrontend::NodePort(why)));
            if is_everywhere {
                break;
            }
        }
    }
    skipped
}

/// The view that sockets use.
pub(super) fn scope_of(port: &ServicePort, frontend: &Frontend) -> Scope {
    if !port.backends.iter().any(|b| b.internal != b.external) {
        return Scope::All;
    }
    match frontend.kind {
        FrontendKind::ClusterIp => Scope::Internal,
        _ => Scope::External,
    }
}

pub(super) fn frontend(
    facts: &Facts<'_>,
    asked: &Asked<'_>,
    frontend: &Frontend,
) -> ExplainedFrontend {
    let port = asked.port;
    let ranges = match port.has_source_ranges(frontend) {
        true => &port.source_ranges[..],
        false => &[],
    };
    let masquerade = facts.policy.packets();
    ExplainedFrontend {
        kind: frontend.kind.to_string(),
        address: address(frontend),
        scope: scope_of(port, frontend).to_string(),
        masquerade: masquerade.map(|packets| packets.of(port, frontend).to_string()),
        source_ranges: ranges.iter().map(ToString::to_string).collect(),
        is_host_only: frontend.is_host_only(),
        verdict: verdict::of_frontend(facts, asked, frontend),
        tables: contents::of_frontend(facts.tables, port, frontend),
    }
}

fn address(frontend: &Frontend) -> String {
    match frontend.address {
        Some(address) => SocketAddr::new(address, frontend.port).to_string(),
        None => format!("*:{}", frontend.port),
    }
}
