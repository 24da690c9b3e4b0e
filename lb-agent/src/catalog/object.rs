//! The objects that sources deliver, and their names.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::{EndpointSlice, Node, Service, ServiceCidr, text};

/// A change that a source reports.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The object is new or different.
    Set(Object),
    /// The object was removed.
    Remove(ObjectId),
    /// The object exists, but is unreadable. If the catalog has an earlier version of it, that stays.
    Unread(ObjectId),
    /// These are all objects of this kind.
    Only(Kind, HashSet<ObjectName>),
}

/// An object that the agent reads. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Node(Arc<Node>),
    ServiceCidr(Arc<ServiceCidr>),
}

impl Object {
    #[must_use]
    pub fn id(&self) -> ObjectId {
        let (kind, metadata) = match self {
            Self::Service(service) => (Kind::Service, &service.metadata),
            Self::EndpointSlice(slice) => (Kind::EndpointSlice, &slice.metadata),
            Self::Node(node) => (Kind::Node, &node.metadata),
            Self::ServiceCidr(cidr) => (Kind::ServiceCidr, &cidr.metadata),
        };
        ObjectId::new(kind, metadata.object_name())
    }
}

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Service,
    EndpointSlice,
    Node,
    ServiceCidr,
}

impl Kind {
    /// Whether its objects have a namespace.
    #[must_use]
    pub const fn is_namespaced(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        })
    }
}

/// An object's name within its kind. The namespace of a Node or a ServiceCIDR is empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: text::shared(namespace),
            name: text::shared(name),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

/// Identifies one object. It is displayed as `Service default/web`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    pub kind: Kind,
    pub name: ObjectName,
}

impl ObjectId {
    /// Drops the namespace if the kind has none.
    #[must_use]
    pub fn new(kind: Kind, mut name: ObjectName) -> Self {
        if !kind.is_namespaced() {
            name.namespace = Arc::default();
        }
        Self { kind, name }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}
