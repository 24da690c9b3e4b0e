//! Checks that the agent's node is one of the cluster's nodes.

use crate::catalog::{Catalog, Kind, ObjectId, ObjectName, Problem};

/// Reports a node name that does not occur in the cluster. The agent then behaves as if the node had no endpoints and no zone:
/// the policy Local yields no backends here, and no hints apply.
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
