//! The used fields of a Node (v1).

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::{Metadata, null_is_default};
use super::text;

/// A node. Only the agent's own node is used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: NodeSpec,
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: NodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    #[serde(deserialize_with = "null_is_default")]
    pub taints: Box<[Taint]>,
}

/// One of `spec.taints`. Its value and effect are not used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Taint {
    #[serde(deserialize_with = "text::or_empty")]
    pub key: Arc<str>,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Box<[NodeAddress]>,
}

/// One of `status.addresses`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, or a kind of name.
    #[serde(rename = "type", deserialize_with = "text::or_empty")]
    pub kind: Arc<str>,
    #[serde(deserialize_with = "text::or_empty")]
    pub address: Arc<str>,
}

impl Node {
    /// Its zone; none when the label is absent or empty.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<str>> {
        let zone = self.metadata.labels.zone.as_ref();
        zone.filter(|zone| !zone.is_empty())
    }
}
