//! Small worlds of service ports, so that random changes often conflict.

use std::collections::BTreeMap;
#[cfg(test)]
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

#[cfg(test)]
use ipnet::IpNet;
#[cfg(test)]
use proptest::prelude::*;

use crate::catalog::{Family, Protocol};
use crate::policy::{
    Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort, ServicePortKey, Update,
};

/// All service ports at one time.
pub type World = BTreeMap<ServicePortKey, ServicePort>;

/// A service port with one ClusterIP, identified by `number`.
pub fn port(number: u8, backends: Vec<Backend>) -> ServicePort {
    ServicePort {
        key: ServicePortKey {
            namespace: "default".into(),
            name: format!("service-{number}").into(),
            port: "".into(),
            protocol: Protocol::Tcp,
            family: Family::Ipv4,
        },
        created: None,
        algorithm: Algorithm::Random,
        affinity_seconds: None,
        slow_start: None,
        spill_over: None,
        drain: None,
        external_local: false,
        source_ranges: Arc::default(),
        frontends: vec![frontend(FrontendKind::ClusterIp, number)],
        backends,
    }
}

pub fn frontend(kind: FrontendKind, number: u8) -> Frontend {
    let net = if kind == FrontendKind::ClusterIp {
        96
    } else {
        200
    };
    Frontend {
        kind,
        address: Some([10, net, 0, number].into()),
        port: 80,
    }
}

/// A backend that every view may choose.
pub fn backend(number: u8) -> Backend {
    Backend {
        address: SocketAddr::from(([10, 244, 0, number], 8080)),
        node: None,
        zone: None,
        weight: 1,
        tenths: FULL_WEIGHT,
        internal: true,
        external: true,
        outside: false,
        watched: false,
        serving: true,
    }
}

/// The change from one world to the next.
pub fn change(from: &World, to: &World) -> Update {
    Update {
        changed: to
            .values()
            .filter(|port| from.get(&port.key) != Some(port))
            .cloned()
            .collect(),
        removed: from
            .keys()
            .filter(|key| !to.contains_key(key))
            .cloned()
            .collect(),
        ..Update::default()
    }
}

/// Up to four Services that share a few backend addresses and fewer frontends: an external IP or a ClusterIP may belong to
/// another one in the next world. Occasionally one has a Maglev table, which takes many stores.
#[cfg(test)]
pub fn any_world() -> impl Strategy<Value = World> {
    // One that starts slowly has half of its weight, so that runs stay short.
    let tenths = prop_oneof![4 => Just(FULL_WEIGHT), 1 => Just(5)];
    let backend = (0..8_u8, 1..4_u16, tenths, any::<(bool, bool, bool, bool)>()).prop_map(
        |(number, weight, tenths, (internal, external, outside, serving))| Backend {
            weight,
            tenths,
            internal,
            external,
            outside,
            serving: serving || !(internal || external || outside),
            ..backend(number)
        },
    );
    let backends = prop::collection::vec(backend, 0..6).prop_map(|mut backends| {
        backends.sort_by_key(|backend| backend.address);
        backends.dedup_by_key(|backend| backend.address);
        backends
    });
    let cluster_ip = prop_oneof![4 => Just(None), 1 => (0..4_u8).prop_map(Some)];
    let algorithm = prop_oneof![
        6 => Just(Algorithm::Random),
        1 => Just(Algorithm::LeastConn),
        1 => Just(Algorithm::RoundRobin),
        1 => Just(Algorithm::Maglev),
    ];
    let has_node_port = prop::bool::weighted(0.2);
    let one = (
        backends,
        cluster_ip,
        prop::option::of(0..4_u8),
        has_node_port,
        algorithm,
        any::<bool>(),
        (any::<bool>(), 0..3_u8),
    );
    prop::collection::btree_map(0..4_u8, one, 0..4).prop_map(|services| {
        let mut taken = Vec::new();
        let mut has_maglev = false;
        let services = services.into_iter().map(
            |(
                number,
                (backends, cluster_ip, external, has_node_port, algorithm, affinity, local),
            )| {
                let mut port = port(number, backends);
                let (is_local, ranges) = local;
                port.external_local = is_local;
                let ranges = (0..ranges).map(|range| IpNet::from(IpAddr::from([192, 0, 2, range])));
                port.source_ranges = ranges.collect();
                port.affinity_seconds = affinity.then_some(60);
                // The last one belongs to no other Service.
                let mut cluster_ips = [cluster_ip.unwrap_or(number), number, 4 + number]
                    .map(|number| frontend(FrontendKind::ClusterIp, number))
                    .into_iter();
                let mut wanted =
                    Vec::from_iter(cluster_ips.find(|frontend| !taken.contains(frontend)));
                wanted.extend(external.map(|number| frontend(FrontendKind::ExternalIp, number)));
                if has_node_port {
                    wanted.extend(node_ports(number));
                }
                wanted.retain(|frontend| !taken.contains(frontend));
                taken.extend_from_slice(&wanted);
                port.frontends = wanted;
                if algorithm != Algorithm::Maglev {
                    port.algorithm = algorithm;
                } else if !std::mem::replace(&mut has_maglev, true) {
                    port.algorithm = algorithm;
                    port.backends.truncate(2);
                }
                (port.key.clone(), port)
            },
        );
        services.collect()
    })
}

/// On an address of the node, for the node's own processes only.
#[cfg(test)]
fn node_ports(number: u8) -> [Frontend; 2] {
    [[10, 0, 0, 1], [127, 0, 0, 1]].map(|address| Frontend {
        kind: FrontendKind::NodePort,
        address: Some(address.into()),
        port: 30_000 + u16::from(number),
    })
}
