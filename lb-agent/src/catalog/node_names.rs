//! Counts which nodes the slices' endpoints run on: the agent's node, or only others.

use std::sync::Arc;

use super::endpoint_slice::EndpointSlice;

/// Counts the slices by the nodes that their endpoints name.
#[derive(Debug)]
pub(super) struct NodeNames {
    own: Arc<str>,
    /// Slices with an endpoint on the agent's node.
    on_own: usize,
    /// Slices with an endpoint on another node.
    on_others: usize,
}

impl NodeNames {
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.into(),
            on_own: 0,
            on_others: 0,
        }
    }

    pub(super) fn add(&mut self, slice: &EndpointSlice) {
        let [own, others] = self.named_by(slice);
        self.on_own += usize::from(own);
        self.on_others += usize::from(others);
    }

    /// Reverts [`Self::add`].
    pub(super) fn remove(&mut self, slice: &EndpointSlice) {
        let [own, others] = self.named_by(slice);
        self.on_own -= usize::from(own);
        self.on_others -= usize::from(others);
    }

    /// Whether endpoints name nodes, but never the agent's.
    pub(super) const fn are_all_others(&self) -> bool {
        self.on_own == 0 && self.on_others > 0
    }

    /// Whether a slice names the agent's node, and whether it names another.
    fn named_by(&self, slice: &EndpointSlice) -> [bool; 2] {
        let mut named = [false; 2];
        for name in slice.endpoints.iter().filter_map(|e| e.node_name.as_ref()) {
            named[usize::from(*name != self.own)] = true;
        }
        named
    }
}
