//! The used fields of a ServiceCIDR (networking.k8s.io/v1).

use serde::Deserialize;

use super::metadata::{Metadata, null_is_default};

/// Ranges from which the cluster assigns addresses to its Services.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServiceCidr {
    pub metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: ServiceCidrSpec,
}

/// `spec` of a ServiceCIDR.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceCidrSpec {
    #[serde(deserialize_with = "null_is_default")]
    pub cidrs: Vec<String>,
}
