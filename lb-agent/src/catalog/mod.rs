//! The current Services, their EndpointSlices, the node and the ServiceCIDRs, and the Services that a change touches.
//!
//! A source feeds the catalog with [`Change`]s, and the policy reads it. A slice may arrive before its Service, and stays when
//! the Service is removed: the two arrive on different watches, in any order.

mod annotations;
mod endpoint_slice;
mod label_map;
mod metadata;
mod metrics;
mod namespace;
mod node;
mod node_names;
mod object;
mod object_id;
mod pod;
mod pods;
mod problem;
mod protocol;
mod service;
mod service_cidr;
#[cfg(test)]
mod tests;
mod text;
mod trigger_time;
mod triggers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use self::node_names::NodeNames;
use self::triggers::Triggers;

pub use self::annotations::Annotations;
pub use self::endpoint_slice::{
    Conditions, Endpoint, EndpointPort, EndpointSlice, Hints, NamedHint,
};
pub use self::label_map::LabelMap;
pub use self::metadata::{CreationTimestamp, Labels, Metadata};
pub use self::metrics::CatalogMetrics;
pub use self::namespace::{Namespace, NamespaceMetadata};
pub use self::node::{Node, NodeSpec, Taint};
pub use self::object::{Change, Object};
pub use self::object_id::{Kind, ObjectId, ObjectName};
pub use self::pod::{Pod, PodMetadata, PodSpec, PodStatus};
pub use self::pods::Pods;
pub use self::problem::{Printable, Problem};
pub use self::protocol::{Family, Protocol, is_name};
pub use self::service::{
    ClientIpConfig, LoadBalancerIngress, LoadBalancerStatus, PortSpec, Service, ServiceSpec,
    ServiceStatus, SessionAffinityConfig,
};
pub use self::service_cidr::{ServiceCidr, ServiceCidrSpec};
pub use self::trigger_time::TriggerTime;
pub use self::triggers::Trigger;

/// Services, their slices and the agent's own node.
#[derive(Debug)]
pub struct Catalog {
    node_name: Arc<str>,
    /// None also if the label is empty, as in kube-proxy.
    zone: Option<Arc<str>>,
    /// A Node with the name of the agent's node exists.
    has_node: bool,
    /// That Node as last read.
    own_node: Option<Arc<Node>>,
    node_names: NodeNames,
    services: HashMap<ObjectName, Arc<Service>>,
    /// Every slice, by the Service that it names. The slices of a Service are sorted by name.
    slices: HashMap<ObjectName, Vec<Arc<EndpointSlice>>>,
    /// The Service, of the same namespace, under which a slice is stored. The slice's label may have changed since.
    owners: HashMap<ObjectName, Arc<str>>,
    /// Services that exist but are unreadable.
    unread: HashSet<ObjectName>,
    service_cidrs: BTreeMap<Arc<str>, Arc<ServiceCidr>>,
    touched: BTreeSet<ObjectName>,
    triggers: Triggers,
}

impl Catalog {
    /// Creates an empty catalog for the node of that name.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.into(),
            zone: None,
            has_node: false,
            own_node: None,
            node_names: NodeNames::new(node_name),
            services: HashMap::new(),
            slices: HashMap::new(),
            owners: HashMap::new(),
            unread: HashSet::new(),
            service_cidrs: BTreeMap::new(),
            touched: BTreeSet::new(),
            triggers: Triggers::default(),
        }
    }

    /// Applies a change and records which Services it touches.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set(Object::Service(service)) => self.set_service(service),
            Change::Set(Object::EndpointSlice(slice)) => self.set_slice(slice),
            Change::Set(Object::Node(node)) => {
                if node.metadata.name == self.node_name {
                    self.has_node = true;
                    self.set_zone(node.zone().map(Arc::clone));
                    self.own_node = Some(node);
                }
            }
            Change::Set(Object::ServiceCidr(cidr)) => {
                let name = Arc::clone(&cidr.metadata.name);
                self.service_cidrs.insert(name, cidr);
            }
            // `Pods` has these.
            Change::Set(Object::Pod(_) | Object::Namespace(_)) => {}
            Change::Remove(id) => self.remove(&id),
            Change::Only(kind, names) => self.retain(kind, &names),
            Change::Unread(id) => {
                if id.kind == Kind::Service && !self.services.contains_key(&id.name) {
                    self.touched.insert(id.name.clone());
                    self.unread.insert(id.name);
                } else if id.kind == Kind::Node && id.name.name == self.node_name {
                    self.has_node = true;
                }
            }
        }
    }

    /// Returns the Services that changes have touched since the last call, for the policy to evaluate again.
    ///
    /// They may include names without a Service: removed Services, and Services that only slices name.
    pub fn take_touched(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.touched)
    }

    /// Collects the triggers of changes of slices, those after `since`.
    pub fn collect_triggers(&mut self, since: Timestamp) {
        self.triggers.collect(since);
    }

    /// Returns the triggers since the last call, in no particular order.
    pub fn take_triggers(&mut self) -> Vec<Trigger> {
        self.triggers.take()
    }

    #[must_use]
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name).map(Arc::as_ref)
    }

    /// Returns all Services, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(Arc::as_ref)
    }

    /// Whether this Service exists but is unreadable, and no earlier version of it is stored.
    #[must_use]
    pub fn is_unread(&self, name: &ObjectName) -> bool {
        self.unread.contains(name)
    }

    /// Returns the slices that name this Service, sorted by name.
    pub fn slices(&self, name: &ObjectName) -> impl Iterator<Item = &EndpointSlice> + Clone {
        let slices = self.slices.get(name).into_iter();
        slices.flatten().map(Arc::as_ref)
    }

    /// The name of the agent's own node.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Whether slices name nodes but never the agent's, and no Node of that name exists. The agent may have been started with a
    /// wrong name.
    #[must_use]
    pub const fn is_node_unknown(&self) -> bool {
        !self.has_node && self.node_names.are_all_others()
    }

    /// Whether a Node with the name of the agent's node exists, readable or not.
    #[must_use]
    pub const fn has_own_node(&self) -> bool {
        self.has_node
    }

    /// The agent's node as last read.
    #[must_use]
    pub fn own_node(&self) -> Option<&Node> {
        self.own_node.as_deref()
    }

    /// The own node's `topology.kubernetes.io/zone`, if present and not empty.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Returns the cluster's ServiceCIDRs, sorted by name.
    pub fn service_cidrs(&self) -> impl Iterator<Item = &ServiceCidr> {
        self.service_cidrs.values().map(Arc::as_ref)
    }

    /// Returns the number of Services and of slices.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.services.len(), self.owners.len())
    }

    fn set_service(&mut self, service: Arc<Service>) {
        let name = service.metadata.object_name();
        self.unread.remove(&name);
        if self.services.get(&name) != Some(&service) {
            self.services.insert(name.clone(), service);
            self.touched.insert(name);
        }
    }

    fn set_slice(&mut self, slice: Arc<EndpointSlice>) {
        let name = slice.metadata.object_name();
        let owner = slice.service();
        let current = self.owners.get(&name);
        if current.is_some_and(|current| *current != owner.name) {
            self.remove_slice(&name);
        }
        let slices = self
            .slices
            .entry(owner.clone())
            .or_insert_with(|| Vec::with_capacity(1));
        match index_of(slices, &name.name) {
            Ok(index) if slices[index] == slice => return,
            Ok(index) => {
                self.triggers.changed(&owner, &slice);
                self.node_names.remove(&slices[index]);
                self.node_names.add(&slice);
                slices[index] = slice;
            }
            Err(index) => {
                self.triggers.changed(&owner, &slice);
                self.node_names.add(&slice);
                slices.insert(index, slice);
            }
        }
        self.owners.insert(name, Arc::clone(&owner.name));
        self.touched.insert(owner);
    }

    fn set_zone(&mut self, zone: Option<Arc<str>>) {
        if self.zone == zone {
            return;
        }
        self.zone = zone;
        self.touched.extend(self.services.keys().cloned());
    }

    fn remove(&mut self, id: &ObjectId) {
        match id.kind {
            Kind::Service => {
                let was_unread = self.unread.remove(&id.name);
                if self.services.remove(&id.name).is_some() || was_unread {
                    self.touched.insert(id.name.clone());
                }
            }
            Kind::EndpointSlice => self.remove_slice(&id.name),
            Kind::Node => {
                if id.name.name == self.node_name {
                    self.has_node = false;
                    self.own_node = None;
                    self.set_zone(None);
                }
            }
            Kind::ServiceCidr => {
                self.service_cidrs.remove(&id.name.name);
            }
            Kind::Pod | Kind::Namespace => {}
        }
    }

    /// Removes the objects of a kind that are not in `names`.
    fn retain(&mut self, kind: Kind, names: &HashSet<ObjectName>) {
        let is_gone = |name: &&ObjectName| !names.contains(*name);
        let gone: Vec<ObjectName> = match kind {
            Kind::Service => {
                let known = self.services.keys().chain(&self.unread);
                known.filter(is_gone).cloned().collect()
            }
            Kind::EndpointSlice => self.owners.keys().filter(is_gone).cloned().collect(),
            Kind::Node => {
                let own = ObjectName {
                    namespace: Arc::default(),
                    name: Arc::clone(&self.node_name),
                };
                [own].iter().filter(is_gone).cloned().collect()
            }
            Kind::ServiceCidr => {
                let known = self.service_cidrs.keys().map(|name| ObjectName {
                    namespace: Arc::default(),
                    name: Arc::clone(name),
                });
                known.filter(|name| !names.contains(name)).collect()
            }
            Kind::Pod | Kind::Namespace => Vec::new(),
        };
        for name in gone {
            self.remove(&ObjectId { kind, name });
        }
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(owner) = self.owners.remove(name) else {
            return;
        };
        let owner = ObjectName {
            namespace: Arc::clone(&name.namespace),
            name: owner,
        };
        self.triggers.removed(&owner);
        if let Some(slices) = self.slices.get_mut(&owner) {
            if let Ok(index) = index_of(slices, &name.name) {
                self.node_names.remove(&slices.remove(index));
            }
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.touched.insert(owner);
    }
}

/// The index of the slice with that name, or the index where it would be inserted.
fn index_of(slices: &[Arc<EndpointSlice>], name: &str) -> Result<usize, usize> {
    slices.binary_search_by(|slice| (*slice.metadata.name).cmp(name))
}
