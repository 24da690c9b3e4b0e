//! The used fields of a Namespace (v1).

use std::sync::Arc;

use serde::Deserialize;

use super::label_map::LabelMap;
use super::metadata::null_is_default;
use super::object_id::ObjectName;
use super::text;

/// A namespace, whose labels select pods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    pub metadata: NamespaceMetadata,
}

/// `metadata` of a Namespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct NamespaceMetadata {
    #[serde(deserialize_with = "text::text")]
    pub name: Arc<str>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: LabelMap,
}

impl NamespaceMetadata {
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: Arc::default(),
            name: Arc::clone(&self.name),
        }
    }
}
