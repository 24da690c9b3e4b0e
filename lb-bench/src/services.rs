//! The Services that are measured: each with one port and three endpoints, all of which are in one pod.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use lb_testbed::{Family, Manifests, ServiceManifest, SliceManifest};

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

/// Services in a file of manifests.
const A_FILE: usize = 5_000;

/// What the Services are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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

/// Writes the manifests of so many Services.
pub(crate) fn write(manifests: &Manifests, kind: Kind, services: usize) -> Result<()> {
    for (index, first) in (0..services).step_by(A_FILE).enumerate() {
        let last = services.min(first + A_FILE);
        let objects = (first..last).flat_map(|number| {
            let name = format!("service-{number}");
            [
                service(kind, &name, number).to_json(),
                slice(kind, &name).to_json(),
            ]
        });
        manifests.write(&format!("services-{index}.json"), objects)?;
    }
    Ok(())
}

fn service(kind: Kind, name: &str, number: usize) -> ServiceManifest {
    let service = ServiceManifest::new(name).cluster_ip(*frontend(number).ip());
    match kind {
        Kind::Tcp => service.port("main", PORT),
        Kind::Udp => service.udp_port("main", PORT),
        Kind::Affinity => service
            .port("main", PORT)
            .spec("sessionAffinity", "ClientIP".into()),
        Kind::LeastConn => service
            .port("main", PORT)
            .annotation("socklb.dev/algorithm", "least-conn"),
    }
}

fn slice(kind: Kind, name: &str) -> SliceManifest {
    let slice = SliceManifest::new(name, Family::IPv4).addresses(BACKENDS);
    match kind {
        Kind::Udp => slice.udp_port("main", BACKEND_PORT),
        _ => slice.port("main", BACKEND_PORT),
    }
}
