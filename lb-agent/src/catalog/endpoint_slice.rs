//! The used fields of an EndpointSlice (discovery.k8s.io/v1), as written. The policy validates them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::metadata::{Metadata, null_is_default};
use super::object_id::ObjectName;
use super::text;

/// Some of the endpoints of a Service.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "text::or_empty")]
    pub address_type: Arc<str>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub ports: Box<[EndpointPort]>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub endpoints: Box<[Endpoint]>,
}

impl EndpointSlice {
    /// The Service that it belongs to. The name is empty if the label is missing.
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
    /// Absent means "", as in the API server.
    #[serde(deserialize_with = "text::or_empty")]
    pub name: Arc<str>,
    /// Absent means TCP.
    #[serde(deserialize_with = "text::maybe")]
    pub protocol: Option<Arc<str>>,
    pub port: Option<i32>,
}

/// One of `endpoints`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// The first of `addresses`. The others are not used.
    #[serde(rename = "addresses", deserialize_with = "first")]
    pub address: Option<Box<str>>,
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Conditions,
    #[serde(deserialize_with = "null_is_default")]
    pub hints: Hints,
    #[serde(deserialize_with = "text::maybe")]
    pub node_name: Option<Arc<str>>,
    #[serde(deserialize_with = "text::maybe")]
    pub zone: Option<Arc<str>>,
}

fn first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let list: Option<Vec<Box<str>>> = Option::deserialize(deserializer)?;
    Ok(list.and_then(|list| list.into_iter().next()))
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
    /// Whether the endpoint takes new connections.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Whether the endpoint responds, terminating or not. Absent means true, whatever the value of `ready`.
    #[must_use]
    pub fn is_serving(self) -> bool {
        self.serving.unwrap_or(true)
    }

    #[must_use]
    pub fn is_terminating(self) -> bool {
        self.terminating.unwrap_or(false)
    }
}

/// `hints` of an endpoint: the zones and nodes whose clients should use it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    #[serde(deserialize_with = "null_is_default")]
    pub for_zones: Box<[NamedHint]>,
    #[serde(deserialize_with = "null_is_default")]
    pub for_nodes: Box<[NamedHint]>,
}

/// A zone or a node in a hint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NamedHint {
    #[serde(deserialize_with = "text::text")]
    pub name: Arc<str>,
}
