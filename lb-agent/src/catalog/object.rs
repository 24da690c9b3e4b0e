//! The objects that sources deliver, and their changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::endpoint_slice::EndpointSlice;
use super::node::Node;
use super::object_id::{Kind, ObjectId, ObjectName};
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
