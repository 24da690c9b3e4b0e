//! Selects the endpoints of a service port that clients on this node may use.
//!
//! The rules are those of kube-proxy's `CategorizeEndpoints` (pkg/proxy/topology.go).

use super::endpoints::EndpointCandidate;
use super::left_out::LeftOut;

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

/// The rule that selects endpoints of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The ready ones.
    Ready,
    /// The ready ones with a hint for this node.
    NodeHints,
    /// The ready ones with a hint for this node's zone.
    ZoneHints,
    /// None is ready: the terminating ones that still serve.
    Terminating,
    /// The policy Local: the ready ones on this node.
    LocalReady,
    /// The policy Local, and none is ready on this node: the terminating ones on this node that still serve.
    LocalTerminating,
}

/// Whether hints of one kind select endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintUse {
    Used,
    /// A ready endpoint has no such hint.
    Incomplete,
    /// No ready endpoint has a hint for this node, or for its zone.
    NotForThisNode,
}

impl Rule {
    /// For the policy Cluster: the ready endpoints, without those that hints reserve for other zones or nodes.
    pub(super) fn of_cluster(
        location: NodeLocation<'_>,
        candidates: &[EndpointCandidate<'_>],
    ) -> Self {
        if ready(candidates).next().is_none() {
            Self::Terminating
        } else if node_hints(location, candidates) == HintUse::Used {
            Self::NodeHints
        } else if zone_hints(location, candidates) == HintUse::Used {
            Self::ZoneHints
        } else {
            Self::Ready
        }
    }

    /// For the policy Local: the endpoints on this node. Hints are ignored.
    pub(super) fn of_local(
        location: NodeLocation<'_>,
        candidates: &[EndpointCandidate<'_>],
    ) -> Self {
        match ready(candidates).any(|candidate| is_local(location, candidate)) {
            true => Self::LocalReady,
            false => Self::LocalTerminating,
        }
    }

    pub(super) fn selects(
        self,
        location: NodeLocation<'_>,
        candidate: &EndpointCandidate<'_>,
    ) -> bool {
        self.leaves_out(location, candidate).is_none()
    }

    /// Whether nothing but the hints of the endpoint leaves it out.
    pub(super) fn passes_over(
        self,
        location: NodeLocation<'_>,
        candidate: &EndpointCandidate<'_>,
    ) -> bool {
        let why = self.leaves_out(location, candidate);
        matches!(why, Some(LeftOut::OtherNodesHint | LeftOut::OtherZonesHint))
    }

    /// Whether the rule would select the endpoint if it were ready. A terminating one does not come back.
    ///
    /// Kubernetes' controller gives hints to ready endpoints only (pkg trafficdist and topologycache of k8s.io/endpointslice), so
    /// without any, the place of the endpoint counts.
    pub(super) fn misses(
        self,
        location: NodeLocation<'_>,
        candidate: &EndpointCandidate<'_>,
    ) -> bool {
        let EndpointCandidate {
            conditions, hints, ..
        } = candidate;
        if conditions.is_ready() || conditions.is_terminating() {
            return false;
        }
        match self {
            Self::NodeHints if hints.for_nodes.is_empty() => is_local(location, candidate),
            Self::NodeHints => is_for_node(location, candidate),
            Self::ZoneHints if hints.for_zones.is_empty() => {
                let zone = candidate.zone.map(|zone| &**zone);
                location.zone.is_some() && zone == location.zone
            }
            Self::ZoneHints => is_for_zone(location, candidate),
            _ => false,
        }
    }

    /// Why the rule does not select an endpoint; none: it does.
    pub(super) fn leaves_out(
        self,
        location: NodeLocation<'_>,
        candidate: &EndpointCandidate<'_>,
    ) -> Option<LeftOut> {
        let is_of_other_node = matches!(self, Self::LocalReady | Self::LocalTerminating)
            && !is_local(location, candidate);
        if is_of_other_node {
            return Some(LeftOut::OtherNode);
        }
        let conditions = candidate.conditions;
        let has_weight = candidate.weight > 0;
        match self {
            Self::Terminating | Self::LocalTerminating if !conditions.is_terminating() => {
                match conditions.is_ready() {
                    true => Some(LeftOut::NoWeight),
                    false => Some(LeftOut::NotReady),
                }
            }
            Self::Terminating | Self::LocalTerminating if !conditions.is_serving() => {
                Some(LeftOut::NotServing)
            }
            Self::Terminating | Self::LocalTerminating => {
                (!has_weight).then_some(LeftOut::NoWeight)
            }
            _ if !conditions.is_ready() && conditions.is_terminating() => {
                Some(LeftOut::Terminating)
            }
            _ if !conditions.is_ready() => Some(LeftOut::NotReady),
            _ if !has_weight => Some(LeftOut::NoWeight),
            Self::NodeHints if !is_for_node(location, candidate) => Some(LeftOut::OtherNodesHint),
            Self::ZoneHints if !is_for_zone(location, candidate) => Some(LeftOut::OtherZonesHint),
            _ => None,
        }
    }
}

/// Whether hints of nodes select among the ready endpoints.
pub(super) fn node_hints(
    location: NodeLocation<'_>,
    candidates: &[EndpointCandidate<'_>],
) -> HintUse {
    if !ready(candidates).all(|candidate| !candidate.hints.for_nodes.is_empty()) {
        HintUse::Incomplete
    } else if !ready(candidates).any(|candidate| is_for_node(location, candidate)) {
        HintUse::NotForThisNode
    } else {
        HintUse::Used
    }
}

/// Whether hints of zones select among the ready endpoints, unless hints of nodes do.
pub(super) fn zone_hints(
    location: NodeLocation<'_>,
    candidates: &[EndpointCandidate<'_>],
) -> HintUse {
    if !ready(candidates).all(|candidate| !candidate.hints.for_zones.is_empty()) {
        HintUse::Incomplete
    } else if !ready(candidates).any(|candidate| is_for_zone(location, candidate)) {
        HintUse::NotForThisNode
    } else {
        HintUse::Used
    }
}

fn ready<'a, 'b>(
    candidates: &'a [EndpointCandidate<'b>],
) -> impl Iterator<Item = &'a EndpointCandidate<'b>> {
    candidates.iter().filter(|c| c.is_ready())
}

fn is_local(location: NodeLocation<'_>, candidate: &EndpointCandidate<'_>) -> bool {
    candidate
        .node
        .is_some_and(|node| **node == *location.node_name)
}

fn is_for_node(location: NodeLocation<'_>, candidate: &EndpointCandidate<'_>) -> bool {
    let mut hints = candidate.hints.for_nodes.iter();
    hints.any(|hint| *hint.name == *location.node_name)
}

fn is_for_zone(location: NodeLocation<'_>, candidate: &EndpointCandidate<'_>) -> bool {
    let mut hints = candidate.hints.for_zones.iter();
    location
        .zone
        .is_some_and(|zone| hints.any(|hint| *hint.name == *zone))
}
