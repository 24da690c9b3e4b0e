//! Whether the agent's node is one of the cluster's.

use crate::catalog::{Catalog, Kind, ObjectId, ObjectName, Problem};

/// A node's name that nothing in the cluster has. It is as if the node had no endpoints and no zone: what is `Local` has no
/// backends here, and hints are not for it.
pub(super) fn problem(catalog: &Catalog) -> Option<Problem> {
    let id = ObjectId::new(Kind::Node, ObjectName::new("", catalog.node_name()));
    catalog.is_node_unknown().then(|| {
        Problem::of(
            &id,
            "there is no Node of this name and no endpoint on it, only on others, so Local policies and hints find nothing here: \
             set --node-name (or NODE_NAME) to the name that `kubectl get nodes` shows",
        )
    })
}
