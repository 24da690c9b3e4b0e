//! The used fields of `metadata`, including only the used labels.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::annotations::Annotations;
use super::object_id::ObjectName;
use super::text;

/// `metadata` of a Service, an EndpointSlice or a Node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    #[serde(deserialize_with = "text::text")]
    pub name: Arc<str>,
    /// "default" if the manifest has none, null or "". A Node has no namespace, so its value means nothing.
    #[serde(default = "default_namespace", deserialize_with = "default_when_empty")]
    pub namespace: Arc<str>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: Labels,
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: Annotations,
    #[serde(default)]
    pub creation_timestamp: CreationTimestamp,
    /// `deletionTimestamp` is present: the object is being deleted. Used of a Node only.
    #[serde(default, rename = "deletionTimestamp", deserialize_with = "is_present")]
    pub is_being_deleted: bool,
}

impl Metadata {
    #[must_use]
    pub fn object_name(&self) -> ObjectName {
        ObjectName {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }
}

/// The time at which an API server created the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CreationTimestamp {
    /// The manifest has never been in a cluster.
    #[default]
    Absent,
    At(Timestamp),
    /// Any other value, as written. The object is used nevertheless.
    Unreadable(String),
}

impl CreationTimestamp {
    #[must_use]
    pub const fn time(&self) -> Option<Timestamp> {
        match self {
            Self::At(time) => Some(*time),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for CreationTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Null => Self::Absent,
            Value::String(text) => text.parse().map_or(Self::Unreadable(text), Self::At),
            other => Self::Unreadable(other.to_string()),
        })
    }
}

/// The labels that kube-proxy uses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// On a slice: the Service that it belongs to, in its own namespace.
    #[serde(
        rename = "kubernetes.io/service-name",
        deserialize_with = "text::present"
    )]
    pub service_name: Option<Arc<str>>,
    /// Any value, even an empty one, assigns the Service to the proxy of that name.
    #[serde(
        rename = "service.kubernetes.io/service-proxy-name",
        deserialize_with = "text::present"
    )]
    pub service_proxy_name: Option<Arc<str>>,
    /// Any value marks the objects of a headless Service.
    #[serde(
        rename = "service.kubernetes.io/headless",
        deserialize_with = "text::present"
    )]
    pub headless: Option<Arc<str>>,
    /// On a Node.
    #[serde(
        rename = "topology.kubernetes.io/zone",
        deserialize_with = "text::present"
    )]
    pub zone: Option<Arc<str>>,
}

pub(super) fn default_namespace() -> Arc<str> {
    text::shared("default")
}

pub(super) fn default_when_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<str>, D::Error> {
    Ok(text::maybe(deserializer)?
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or_else(default_namespace))
}

/// Any value but null counts, since the API server writes only times.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value: Option<IgnoredAny> = Option::deserialize(deserializer)?;
    Ok(value.is_some())
}

/// Treats null as absent: Go writes `null` for an empty value.
pub(super) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
