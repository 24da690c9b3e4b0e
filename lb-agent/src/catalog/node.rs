//! The fields of a Node (v1) that are used.

use std::sync::Arc;

use serde::Deserialize;

use super::Metadata;

/// A node; only the agent's own matters.
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
