//! The backends of a service port: its endpoints, and the views that have them.

use super::endpoints::EndpointCandidate;
use super::service_port::{Backend, FULL_WEIGHT, SpillOver};
use super::spill_over::Split;
use super::topology::{LocalPolicies, NodeLocation, Rule};

/// Returns the candidates that are backends: those in a view, and those that still serve existing UDP flows. Also, which of them
/// get connections that spill over.
///
/// `spill_over`: the factor, in thousandths; none: nothing spills over.
pub(super) fn of(
    location: NodeLocation<'_>,
    local: LocalPolicies,
    spill_over: Option<u64>,
    candidates: &[EndpointCandidate<'_>],
) -> (Vec<Backend>, Option<Box<SpillOver>>) {
    let cluster = Rule::of_cluster(location, candidates);
    let of_node = (local.internal || local.external).then(|| Rule::of_local(location, candidates));
    let split =
        spill_over.and_then(|factor| Split::of(factor, cluster, location, local, candidates));
    let backends = candidates.iter().map(|candidate| {
        let is_of_node = of_node.is_some_and(|rule| rule.selects(location, candidate));
        let external = cluster.selects(location, candidate)
            || split.as_ref().is_some_and(|of| of.spills_to(candidate));
        Backend {
            address: candidate.address,
            node: candidate.node.cloned(),
            zone: candidate.zone.cloned(),
            weight: split
                .as_ref()
                .map_or(candidate.weight, |split| split.weight(candidate)),
            tenths: FULL_WEIGHT,
            internal: match local.internal {
                true => is_of_node,
                false => external,
            },
            external,
            outside: local.external && is_of_node,
            serving: candidate.conditions.is_serving(),
            watched: false,
        }
    });
    let mut backends: Vec<Backend> = backends
        .filter(|b| b.internal || b.external || b.outside || b.serving)
        .collect();
    // The agent keeps them, and there may be very many.
    backends.shrink_to_fit();
    let spill_over = split.map(|split| Box::new(split.into_spill_over()));
    (backends, spill_over)
}
