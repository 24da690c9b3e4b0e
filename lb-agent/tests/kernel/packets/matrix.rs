//! Every kind of frontend, from every place: who answers, and which client it sees.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_testbed::{Family, Pod, sandboxed_within};
use serde_json::json;

use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask_until_all};

const LIMIT: Duration = Duration::from_secs(300);

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Outside,
    PodWithoutHooks,
    PodWithHooks,
    Node,
}

/// The traffic policies of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Cluster,
    /// `externalTrafficPolicy: Local`.
    ExternalLocal,
    /// `internalTrafficPolicy: Local`.
    InternalLocal,
}

/// Whether all endpoints answer, or only those of the node; and whether they see the client or the node.
///
/// kube-proxy's rules for packets (pkg/proxy/iptables/proxier.go, the chains of the external and the internal traffic policy), and
/// for sockets no translation of the source at all.
fn expected(kind: Kind, policy: Policy, from: From) -> (bool, bool) {
    let is_local = policy == Policy::ExternalLocal;
    let is_cluster_wide = policy != Policy::InternalLocal;
    match (from, kind) {
        // The internal policy is the ClusterIP's, and holds for everybody. Those outside of --cluster-cidr are masqueraded.
        (From::Outside, Kind::ClusterIp) => (is_cluster_wide, true),
        (_, Kind::ClusterIp) => (is_cluster_wide, false),
        // Sockets get all endpoints, also with the external policy Local.
        (From::PodWithHooks | From::Node, _) => (true, false),
        (From::Outside, _) => (!is_local, !is_local),
        (From::PodWithoutHooks, _) => (true, !is_local),
    }
}

#[test]
fn every_frontend_is_reached_from_everywhere() {
    sandboxed_within(LIMIT, |sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let near = scene.pods(2)?;
        let far = scene.remote_pod("far")?;
        let endpoints = [(&near[0], "node-a"), (&near[1], "node-a"), (&far, "node-b")];
        let cluster = Service::new("cluster", 10);
        let local = Service::new("local", 20).with("externalTrafficPolicy", json!("Local"));
        let internal = Service::new("internal", 30).with("internalTrafficPolicy", json!("Local"));
        for service in [&cluster, &local, &internal] {
            scene.write(service, &endpoints)?;
        }
        let _running = scene.start()?;
        let clients = [
            (From::Outside, scene.outside.machine().clone()),
            (From::PodWithoutHooks, scene.node.pod_without_hooks("vm")?),
            (From::PodWithHooks, scene.node.pod("client")?),
            (From::Node, scene.node.host()),
        ];
        for (service, policy) in [
            (&cluster, Policy::Cluster),
            (&local, Policy::ExternalLocal),
            (&internal, Policy::InternalLocal),
        ] {
            for (from, client) in &clients {
                for kind in Kind::ALL {
                    for family in FAMILIES {
                        check(&scene, service, policy, (*from, client), kind, family)
                            .with_context(|| {
                                format!("{} {kind:?} {family:?} from {from:?}", service.name)
                            })?;
                    }
                }
            }
        }
        Ok(())
    });
}

fn check(
    scene: &Scene<'_>,
    service: &Service,
    policy: Policy,
    (from, client): (From, &Pod),
    kind: Kind,
    family: Family,
) -> Result<()> {
    let (all, masqueraded) = expected(kind, policy, from);
    let servers: &[&str] = match all {
        true => &["pod-0", "pod-1", "far"],
        false => &["pod-0", "pod-1"],
    };
    let to = service.at(kind, family, scene.outside.node_address(family));
    for protocol in PROTOCOLS {
        let seen = ask_until_all(client, to, protocol, servers)?;
        let allowed: BTreeSet<IpAddr> = match (masqueraded, from) {
            (true, _) | (false, From::Node) => scene.node_addresses(family),
            (false, _) => [client.address(family)].into(),
        };
        anyhow::ensure!(
            seen.is_subset(&allowed),
            "{protocol:?}: the servers saw {seen:?}, and only {allowed:?} may ask them"
        );
    }
    Ok(())
}
