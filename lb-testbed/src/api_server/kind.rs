//! The kinds of objects on this server, and their names in the API.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A kind of object. All are of version v1 of their group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    ServiceCidr,
}

/// Names of a kind, as in discovery.
#[derive(Debug)]
pub(super) struct ResourceFacts {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) api_version: &'static str,
    pub(super) name: &'static str,
    pub(super) plural: &'static str,
    pub(super) singular: &'static str,
    pub(super) short_names: &'static [&'static str],
    pub(super) namespaced: bool,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::Service,
        Self::EndpointSlice,
        Self::ServiceCidr,
    ];

    /// By the object's `apiVersion` and `kind`.
    pub fn of(object: &Value) -> Result<Self> {
        let (version, name) = (&object["apiVersion"], &object["kind"]);
        Self::ALL
            .into_iter()
            .find(|kind| *version == kind.facts().api_version && *name == kind.facts().name)
            .with_context(|| format!("the API server has no kind {name} in {version}"))
    }

    /// The path of its collection in all namespaces.
    pub(super) fn path(self) -> String {
        format!("{}/{}", self.base(), self.facts().plural)
    }

    /// The path of its group and version.
    pub(super) fn base(self) -> String {
        let facts = self.facts();
        let root = if facts.group.is_empty() {
            "api"
        } else {
            "apis"
        };
        format!("/{root}/{}", facts.api_version)
    }

    pub(super) fn facts(self) -> &'static ResourceFacts {
        match self {
            Self::Namespace => &ResourceFacts {
                group: "",
                api_version: "v1",
                name: "Namespace",
                plural: "namespaces",
                singular: "namespace",
                short_names: &["ns"],
                namespaced: false,
            },
            Self::Node => &ResourceFacts {
                group: "",
                api_version: "v1",
                name: "Node",
                plural: "nodes",
                singular: "node",
                short_names: &["no"],
                namespaced: false,
            },
            Self::Service => &ResourceFacts {
                group: "",
                api_version: "v1",
                name: "Service",
                plural: "services",
                singular: "service",
                short_names: &["svc"],
                namespaced: true,
            },
            Self::EndpointSlice => &ResourceFacts {
                group: "discovery.k8s.io",
                api_version: "discovery.k8s.io/v1",
                name: "EndpointSlice",
                plural: "endpointslices",
                singular: "endpointslice",
                short_names: &[],
                namespaced: true,
            },
            Self::ServiceCidr => &ResourceFacts {
                group: "networking.k8s.io",
                api_version: "networking.k8s.io/v1",
                name: "ServiceCIDR",
                plural: "servicecidrs",
                singular: "servicecidr",
                short_names: &[],
                namespaced: false,
            },
            Self::Pod => &ResourceFacts {
                group: "",
                api_version: "v1",
                name: "Pod",
                plural: "pods",
                singular: "pod",
                short_names: &["po"],
                namespaced: true,
            },
        }
    }
}
