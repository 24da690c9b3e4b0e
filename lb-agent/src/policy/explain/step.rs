//! The steps in which the endpoints of a view were selected.

use std::fmt;

use super::super::endpoints::EndpointCandidate;
use super::super::service_port::SpillOver;
use super::super::topology::{self, HintUse, NodeLocation, Rule};
use crate::counted::counted;

/// One step of the selection of endpoints, in the order of kube-proxy's `CategorizeEndpoints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many endpoints of these are ready.
    Ready { ready: usize, of: usize },
    /// Some of the ready ones have weight 0, and so many do not.
    Weight { left: usize },
    /// None is ready: so many terminate, and still serve.
    Terminating { left: usize },
    /// Ready endpoints have hints for nodes. So many are left.
    NodeHints { hints: HintUse, left: usize },
    /// Ready endpoints have hints for zones. So many are left.
    ZoneHints {
        hints: HintUse,
        left: usize,
        /// Whether the node has a zone.
        has_zone: bool,
    },
    /// Too few of those that hints are for are ready: so many percent of the connections spill over to others.
    SpillOver {
        percent: u8,
        others: usize,
        left: usize,
    },
    /// The policy is Local: so many ready endpoints are on this node.
    Local { ready: usize },
    /// The policy is Local, and none is ready on this node: so many there terminate, and still serve.
    LocalTerminating { left: usize },
}

impl Step {
    /// The steps that lead to a rule.
    pub(super) fn of(
        rule: Rule,
        location: NodeLocation<'_>,
        candidates: &[EndpointCandidate<'_>],
    ) -> Vec<Self> {
        let left_by = |rule: Rule| {
            let left = candidates.iter();
            left.filter(|c| rule.leaves_out(location, c).is_none())
                .count()
        };
        let ready = candidates.iter().filter(|c| c.conditions.is_ready());
        let ready = ready.count();
        let mut steps = vec![Self::Ready {
            ready,
            of: candidates.len(),
        }];
        if candidates.is_empty() {
            return steps;
        }
        let left = left_by(Rule::Ready);
        if left != ready {
            steps.push(Self::Weight { left });
        }
        let left = left_by(rule);
        match rule {
            Rule::Terminating => steps.push(Self::Terminating { left }),
            Rule::LocalReady => steps.push(Self::Local { ready: left }),
            Rule::LocalTerminating => {
                steps.extend([Self::Local { ready: 0 }, Self::LocalTerminating { left }]);
            }
            Rule::Ready | Rule::NodeHints | Rule::ZoneHints => {
                steps.extend(Self::of_hints(rule, location, candidates, left));
            }
        }
        steps
    }

    fn of_hints(
        rule: Rule,
        location: NodeLocation<'_>,
        candidates: &[EndpointCandidate<'_>],
        left: usize,
    ) -> impl Iterator<Item = Self> {
        let ready = || candidates.iter().filter(|c| c.is_ready());
        let for_nodes = ready().any(|c| !c.hints.for_nodes.is_empty());
        let for_nodes = for_nodes.then(|| Self::NodeHints {
            hints: topology::node_hints(location, candidates),
            left,
        });
        let for_zones = rule != Rule::NodeHints && ready().any(|c| !c.hints.for_zones.is_empty());
        let for_zones = for_zones.then(|| Self::ZoneHints {
            hints: topology::zone_hints(location, candidates),
            left,
            has_zone: location.zone.is_some(),
        });
        for_nodes.into_iter().chain(for_zones)
    }

    /// `selected`: the number of endpoints that hints select.
    pub(super) const fn of_spill_over(spill_over: &SpillOver, selected: usize) -> Self {
        let others = spill_over.to.len();
        Self::SpillOver {
            percent: spill_over.percent,
            others,
            left: selected + others,
        }
    }

    /// The step as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "Ready",
            Self::Weight { .. } => "Weight",
            Self::Terminating { .. } | Self::LocalTerminating { .. } => "Terminating",
            Self::NodeHints { .. } => "NodeHints",
            Self::ZoneHints { .. } => "ZoneHints",
            Self::SpillOver { .. } => "SpillOver",
            Self::Local { .. } => "Local",
        }
    }

    /// The number of endpoints that are left after the step.
    #[must_use]
    pub const fn left(&self) -> usize {
        match *self {
            Self::Ready { ready: left, .. }
            | Self::Weight { left }
            | Self::Terminating { left }
            | Self::NodeHints { left, .. }
            | Self::ZoneHints { left, .. }
            | Self::SpillOver { left, .. }
            | Self::Local { ready: left }
            | Self::LocalTerminating { left } => left,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ready { of: 0, .. } => f.write_str("no endpoint has this port"),
            Self::Ready { ready, of } => {
                let are = if of == 1 { "is" } else { "are" };
                write!(f, "{ready} of {} {are} ready", counted(of, "endpoint"))
            }
            Self::Weight { left } => {
                let have = if left == 1 { "has" } else { "have" };
                write!(f, "{left} of these {have} a weight above 0")
            }
            Self::Terminating { left } => {
                write!(f, "none is ready; {left} terminating and still serving")
            }
            Self::Local { ready } => write!(f, "{ready} ready on this node"),
            Self::LocalTerminating { left } => {
                write!(
                    f,
                    "none is ready on this node; {left} there terminating and still serving"
                )
            }
            Self::SpillOver {
                percent, others, ..
            } => write!(
                f,
                "too few of these are ready: {percent} % of the connections spill over to {}",
                counted(others, "other")
            ),
            Self::NodeHints { hints, left } => match hints {
                HintUse::Used => write!(f, "hints for this node select {left}"),
                HintUse::Incomplete => {
                    f.write_str("hints for nodes are ignored: a ready endpoint has none")
                }
                HintUse::NotForThisNode => {
                    f.write_str("hints for nodes are ignored: none names this node")
                }
            },
            Self::ZoneHints {
                hints,
                left,
                has_zone,
            } => match hints {
                HintUse::Used => write!(f, "hints for this node's zone select {left}"),
                HintUse::Incomplete => {
                    f.write_str("hints for zones are ignored: a ready endpoint has none")
                }
                HintUse::NotForThisNode if !has_zone => {
                    f.write_str("hints for zones are ignored: this node has no zone")
                }
                HintUse::NotForThisNode => {
                    f.write_str("hints for zones are ignored: none names this node's zone")
                }
            },
        }
    }
}
