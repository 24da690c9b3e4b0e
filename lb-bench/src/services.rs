//! The Services of the benches: each with one port and three endpoints, all in one pod.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use lb_testbed::{Family, Manifests, ServiceManifest, SliceManifest};
use serde_json::json;

/// The port of each Service.
pub(crate) const PORT: u16 = 80;
/// The port that the pod listens on.
pub(crate) const BACKEND_PORT: u16 = 8080;
/// The endpoints of each Service.
pub(crate) const BACKENDS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(10, 244, 0, 101),
    Ipv4Addr::new(10, 244, 0, 102),
    Ipv4Addr::new(10, 244, 0, 103),
];

/// The NodePort of the first Service.
const FIRST_NODE_PORT: u16 = 20_000;
/// Services in one manifest file.
const SERVICES_PER_FILE: usize = 5_000;

/// The kind of all Services of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    Tcp,
    Udp,
    /// TCP, with session affinity.
    Affinity,
    /// TCP, with the algorithm least-conn.
    LeastConn,
}

/// The ClusterIP and port of a Service.
pub(crate) fn frontend(number: usize) -> SocketAddrV4 {
    let first = u32::from(Ipv4Addr::new(10, 96, 0, 1));
    let number = u32::try_from(number).unwrap_or(u32::MAX - first);
    SocketAddrV4::new(Ipv4Addr::from(first + number), PORT)
}

/// The NodePort of a Service, if they have any: not in the range of the API server, which has room for 2,768.
pub(crate) fn node_port(number: usize) -> u16 {
    u16::try_from(usize::from(FIRST_NODE_PORT) + number).unwrap_or(u16::MAX)
}

/// Writes the manifests of this number of Services.
pub(crate) fn write(manifests: &Manifests, kind: ServiceKind, services: usize) -> Result<()> {
    write_each(manifests, kind, services, |_, service| service)
}

/// As [`write`], with a NodePort for each.
pub(crate) fn write_node_ports(
    manifests: &Manifests,
    kind: ServiceKind,
    services: usize,
) -> Result<()> {
    write_each(manifests, kind, services, |number, service| {
        let protocol = match kind {
            ServiceKind::Udp => "UDP",
            _ => "TCP",
        };
        let port = json!({
            "name": "main", "port": PORT, "nodePort": node_port(number), "protocol": protocol,
        });
        service
            .spec("type", "NodePort".into())
            .spec("ports", json!([port]))
    })
}

fn write_each(
    manifests: &Manifests,
    kind: ServiceKind,
    services: usize,
    change: impl Fn(usize, ServiceManifest) -> ServiceManifest,
) -> Result<()> {
    for (index, first) in (0..services).step_by(SERVICES_PER_FILE).enumerate() {
        let last = services.min(first + SERVICES_PER_FILE);
        let objects = (first..last).flat_map(|number| {
            let name = format!("service-{number}");
            [
                change(number, service(kind, &name, number)).to_json(),
                slice(kind, &name).to_json(),
            ]
        });
        manifests.write(&format!("services-{index}.json"), objects)?;
    }
    Ok(())
}

fn service(kind: ServiceKind, name: &str, number: usize) -> ServiceManifest {
    let service = ServiceManifest::new(name).cluster_ip(*frontend(number).ip());
    match kind {
        ServiceKind::Tcp => service.port("main", PORT),
        ServiceKind::Udp => service.udp_port("main", PORT),
        ServiceKind::Affinity => service
            .port("main", PORT)
            .spec("sessionAffinity", "ClientIP".into()),
        ServiceKind::LeastConn => service
            .port("main", PORT)
            .annotation("socklb.dev/algorithm", "least-conn"),
    }
}

fn slice(kind: ServiceKind, name: &str) -> SliceManifest {
    let slice = SliceManifest::new(name, Family::IPv4).addresses(BACKENDS);
    match kind {
        ServiceKind::Udp => slice.udp_port("main", BACKEND_PORT),
        _ => slice.port("main", BACKEND_PORT),
    }
}
