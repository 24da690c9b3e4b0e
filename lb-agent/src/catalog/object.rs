//! The objects that sources deliver, and their changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::endpoint_slice::EndpointSlice;
use super::namespace::Namespace;
use super::node::Node;
use super::object_id::{Kind, ObjectId, ObjectName};
use super::pod::Pod;
use super::service::Service;
use super::service_cidr::ServiceCidr;

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

impl Change {
    /// The kind of the object that it is about, or of the objects.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Set(object) => object.kind(),
            Self::Remove(id) | Self::Unread(id) => id.kind,
            Self::Only(kind, _) => *kind,
        }
    }
}

/// An object that the agent reads. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Service(Arc<Service>),
    EndpointSlice(Arc<EndpointSlice>),
    Node(Arc<Node>),
    ServiceCidr(Arc<ServiceCidr>),
    Pod(Arc<Pod>),
    Namespace(Arc<Namespace>),
}

impl Object {
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Node(_) => Kind::Node,
            Self::ServiceCidr(_) => Kind::ServiceCidr,
            Self::Pod(_) => Kind::Pod,
            Self::Namespace(_) => Kind::Namespace,
        }
    }

    #[must_use]
    pub fn id(&self) -> ObjectId {
        let name = match self {
            Self::Service(service) => service.metadata.object_name(),
            Self::EndpointSlice(slice) => slice.metadata.object_name(),
            Self::Node(node) => node.metadata.object_name(),
            Self::ServiceCidr(cidr) => cidr.metadata.object_name(),
            Self::Pod(pod) => pod.metadata.object_name(),
            Self::Namespace(namespace) => namespace.metadata.object_name(),
        };
        ObjectId::new(self.kind(), name)
    }
}
