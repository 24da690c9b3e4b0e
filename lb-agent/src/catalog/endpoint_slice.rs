//! The fields of an EndpointSlice (discovery.k8s.io/v1) that are used, as written: the policy judges them.

use std::sync::Arc;

use serde::Deserialize;

use super::metadata::null_is_default;
use super::{Metadata, ObjectName};

/// Some of the endpoints of a Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub address_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub ports: Vec<EndpointPort>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    /// The Service that it belongs to; its name is empty when the label is not there.
    #[must_use]
    pub fn service(&self) -> ObjectName {
        ObjectName {
            namespace: Arc::clone(&self.metadata.namespace),
            name: self
                .metadata
                .labels
                .service_name
                .clone()
                .unwrap_or_default(),
        }
    }
}

/// One of `ports`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    /// Absent means "", as the API server has it.
    #[serde(deserialize_with = "null_is_default")]
    pub name: Arc<str>,
    /// Absent means TCP.
    pub protocol: Option<String>,
    pub port: Option<i32>,
}

/// One of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Only the first is used.
    #[serde(deserialize_with = "null_is_default")]
    pub addresses: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Conditions,
    #[serde(deserialize_with = "null_is_default")]
    pub hints: Hints,
    pub node_name: Option<Arc<str>>,
    pub zone: Option<Arc<str>>,
}

/// `conditions` of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl Conditions {
    /// Takes new connections.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Answers, terminating or not. Absent means true, whatever `ready` says.
    #[must_use]
    pub fn is_serving(self) -> bool {
        self.serving.unwrap_or(true)
    }

    #[must_use]
    pub fn is_terminating(self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// `hints` of an endpoint: where it wants its clients to be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    #[serde(deserialize_with = "null_is_default")]
    pub for_zones: Vec<NamedHint>,
    #[serde(deserialize_with = "null_is_default")]
    pub for_nodes: Vec<NamedHint>,
}

/// A zone or a node in a hint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NamedHint {
    pub name: Arc<str>,
}
