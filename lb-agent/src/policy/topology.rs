//! Selects the endpoints of a service port that clients on this node may use.
//!
//! The rules are those of kube-proxy's `CategorizeEndpoints` (pkg/proxy/topology.go).

use super::endpoints::EndpointCandidate;
use super::service_port::Backend;

/// The node for which the endpoints are selected.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeLocation<'a> {
    pub(super) node_name: &'a str,
    pub(super) zone: Option<&'a str>,
}

/// The traffic policies of a Service that are Local.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalPolicies {
    pub(super) internal: bool,
    pub(super) external: bool,
}

/// Returns the candidates that are backends: those in a view, and those that still serve existing UDP flows.
pub(super) fn backends(
    location: NodeLocation<'_>,
    local: LocalPolicies,
    candidates: &[EndpointCandidate<'_>],
) -> Vec<Backend> {
    let cluster = cluster_set(location, candidates);
    let of_node = (local.internal || local.external).then(|| local_set(location, candidates));
    let is_of_node = |index: usize| of_node.as_ref().is_some_and(|set| set[index]);
    let backends = candidates.iter().enumerate().map(|(index, candidate)| {
        let external = cluster[index];
        Backend {
            address: candidate.address,
            node: candidate.node.cloned(),
            zone: candidate.zone.cloned(),
            weight: 1,
            internal: match local.internal {
                true => is_of_node(index),
                false => external,
            },
            external,
            outside: local.external && is_of_node(index),
            serving: candidate.conditions.is_serving(),
        }
    });
    let mut backends: Vec<Backend> = backends
        .filter(|b| b.internal || b.external || b.outside || b.serving)
        .collect();
    // The agent keeps them, and there may be very many.
    backends.shrink_to_fit();
    backends
}

/// For the policy Cluster: the ready endpoints, without those that hints reserve for other zones or nodes.
fn cluster_set(location: NodeLocation<'_>, candidates: &[EndpointCandidate<'_>]) -> Vec<bool> {
    let ready = || candidates.iter().filter(|c| c.conditions.is_ready());
    if ready().next().is_none() {
        return flags(candidates, is_last_resort);
    }
    let for_node = |c: &EndpointCandidate<'_>| {
        c.hints
            .for_nodes
            .iter()
            .any(|h| *h.name == *location.node_name)
    };
    if ready().all(|c| !c.hints.for_nodes.is_empty()) && ready().any(for_node) {
        return flags(candidates, |c| c.conditions.is_ready() && for_node(c));
    }
    let for_zone = |c: &EndpointCandidate<'_>| {
        let zone = location.zone;
        zone.is_some_and(|zone| c.hints.for_zones.iter().any(|h| *h.name == *zone))
    };
    if ready().all(|c| !c.hints.for_zones.is_empty()) && ready().any(for_zone) {
        return flags(candidates, |c| c.conditions.is_ready() && for_zone(c));
    }
    flags(candidates, |c| c.conditions.is_ready())
}

/// For the policy Local: the endpoints on this node. Hints are ignored.
fn local_set(location: NodeLocation<'_>, candidates: &[EndpointCandidate<'_>]) -> Vec<bool> {
    let is_local =
        |c: &EndpointCandidate<'_>| c.node.is_some_and(|node| **node == *location.node_name);
    let ready = flags(candidates, |c| is_local(c) && c.conditions.is_ready());
    if ready.contains(&true) {
        return ready;
    }
    flags(candidates, |c| is_local(c) && is_last_resort(c))
}

/// Such an endpoint is used when no endpoint is ready.
fn is_last_resort(candidate: &EndpointCandidate<'_>) -> bool {
    candidate.conditions.is_serving() && candidate.conditions.is_terminating()
}

fn flags(
    candidates: &[EndpointCandidate<'_>],
    choose: impl Fn(&EndpointCandidate<'_>) -> bool,
) -> Vec<bool> {
    candidates.iter().map(choose).collect()
}
