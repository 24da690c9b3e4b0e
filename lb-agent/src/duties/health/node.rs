//! Whether cloud load balancers may send traffic to this node.

use std::fmt;

use crate::catalog::{Catalog, Node};

/// The cluster autoscaler sets it on a node that it is about to remove (`ToBeDeletedTaint` in
/// pkg/proxy/healthcheck/proxy_health.go).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Whether load balancers may use the node, and why not. `/healthz` depends on it, `/livez` does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeEligibility {
    Eligible,
    /// There is no Node object with the name of this node.
    #[default]
    Missing,
    /// The Node has a `deletionTimestamp`.
    BeingDeleted,
    /// The Node has the cluster autoscaler's taint `ToBeDeletedByClusterAutoscaler`, with whatever effect.
    ToBeDeleted,
}

impl NodeEligibility {
    /// `must_exist`: a node without a Node object is not eligible. False for manifests, which need not describe nodes.
    #[must_use]
    pub fn of(catalog: &Catalog, must_exist: bool) -> Self {
        match catalog.own_node() {
            Some(node) => Self::of_node(node),
            None if catalog.has_own_node() || !must_exist => Self::Eligible,
            None => Self::Missing,
        }
    }

    fn of_node(node: &Node) -> Self {
        if node.metadata.is_being_deleted {
            return Self::BeingDeleted;
        }
        if node.spec.taints.iter().any(|t| *t.key == *TO_BE_DELETED) {
            return Self::ToBeDeleted;
        }
        Self::Eligible
    }

    #[must_use]
    pub const fn is_eligible(self) -> bool {
        matches!(self, Self::Eligible)
    }
}

impl fmt::Display for NodeEligibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eligible => "eligible",
            Self::Missing => "there is no Node object of this node",
            Self::BeingDeleted => "the Node is being deleted",
            Self::ToBeDeleted => "the cluster autoscaler is about to remove the node",
        })
    }
}
