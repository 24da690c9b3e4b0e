//! Checks that the agent's node is one of the cluster's nodes.

use crate::catalog::{Catalog, Kind, ObjectId, ObjectName, Problem};

/// Reports a node name that does not occur in the cluster. The agent then behaves as if the node had no endpoints and no zone:
/// the policy Local yields no backends here, and no hints apply.
pub(super) fn problem(catalog: &Catalog) -> Option<Problem> {
    let id = ObjectId::new(Kind::Node, ObjectName::new("", catalog.node_name()));
    catalog.is_node_unknown().then(|| {
        Problem::of(
            &id,
            "no Node has this name, and all endpoints are on other nodes, so Local policies and hints select nothing: \
             set --node-name (or NODE_NAME) to the name that `kubectl get nodes` shows",
        )
    })
}
