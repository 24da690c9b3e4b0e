//! The used fields of a Node (v1).

use std::sync::Arc;

use serde::Deserialize;

use super::Metadata;

/// A node. Only the agent's own node is used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    pub metadata: Metadata,
}

impl Node {
    /// Its zone; none when the label is absent or empty.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<str>> {
        let zone = self.metadata.labels.zone.as_ref();
        zone.filter(|zone| !zone.is_empty())
    }
}
