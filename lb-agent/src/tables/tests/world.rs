//! Small worlds of service ports, so that random changes meet each other often.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use crate::catalog::{Family, Protocol};
use crate::policy::{
    Algorithm, Backend, Frontend, FrontendKind, ServicePort, ServicePortKey, Update,
};

/// All service ports that there are at one time.
pub type World = BTreeMap<ServicePortKey, ServicePort>;

/// A service port with one ClusterIP: `number` names it.
pub fn port(number: u8, backends: Vec<Backend>) -> ServicePort {
    ServicePort {
        key: ServicePortKey {
            namespace: "default".into(),
            name: format!("service-{number}").into(),
            port: "".into(),
            protocol: Protocol::Tcp,
            family: Family::Ipv4,
        },
        algorithm: Algorithm::Random,
        affinity_seconds: None,
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
        internal: true,
        external: true,
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

/// Up to four Services that share few backends' addresses and fewer external IPs.
pub fn any_world() -> impl Strategy<Value = World> {
    let backend = (0..8_u8, 1..4_u16, any::<(bool, bool, bool)>()).prop_map(
        |(number, weight, (internal, external, serving))| Backend {
            weight,
            internal,
            external,
            serving: serving || !(internal || external),
            ..backend(number)
        },
    );
    let backends = prop::collection::vec(backend, 0..6).prop_map(|mut backends| {
        backends.sort_by_key(|backend| backend.address);
        backends.dedup_by_key(|backend| backend.address);
        backends
    });
    let one = (backends, prop::option::of(0..4_u8), any::<bool>());
    prop::collection::btree_map(0..4_u8, one, 0..4).prop_map(|services| {
        let mut taken = Vec::new();
        services
            .into_iter()
            .map(|(number, (backends, external, affinity))| {
                let mut port = port(number, backends);
                port.affinity_seconds = affinity.then_some(60);
                if let Some(external) = external.filter(|external| !taken.contains(external)) {
                    taken.push(external);
                    port.frontends
                        .push(frontend(FrontendKind::ExternalIp, external));
                }
                (port.key.clone(), port)
            })
            .collect()
    })
}
