//! The used fields of a Pod (v1).

use std::sync::Arc;

use serde::Deserialize;

use super::annotations::Annotations;
use super::label_map::LabelMap;
use super::metadata::{default_namespace, default_when_empty, null_is_default};
use super::object_id::ObjectName;
use super::text;

/// A pod. Only those of the agent's node are used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pod {
    pub metadata: PodMetadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: PodSpec,
    #[serde(default, deserialize_with = "null_is_default")]
    pub status: PodStatus,
}

/// `metadata` of a Pod.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PodMetadata {
    #[serde(deserialize_with = "text::text")]
    pub name: Arc<str>,
    /// "default" if the manifest has none, null or "".
    #[serde(default = "default_namespace", deserialize_with = "default_when_empty")]
    pub namespace: Arc<str>,
    /// Empty if the manifest has never been in a cluster.
    #[serde(default, deserialize_with = "text::or_empty")]
    uid: Arc<str>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: LabelMap,
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: Annotations,
}

impl PodMetadata {
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    #[serde(deserialize_with = "text::or_empty")]
    pub node_name: Arc<str>,
    #[serde(deserialize_with = "null_is_default")]
    pub host_network: bool,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PodStatus {
    #[serde(deserialize_with = "text::or_empty")]
    phase: Arc<str>,
}

impl Pod {
    /// The UID in the name of its cgroup.
    #[must_use]
    pub const fn cgroup_uid(&self) -> &Arc<str> {
        match &self.metadata.annotations.config_mirror {
            Some(uid) => uid,
            None => &self.metadata.uid,
        }
    }

    /// Whether all its containers have ended for good.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        matches!(&*self.status.phase, "Succeeded" | "Failed")
    }
}
