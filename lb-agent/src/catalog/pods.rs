//! The node's pods and the namespaces, for an agent that selects pods. Not in the [`super::Catalog`]: no Service depends on them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::namespace::Namespace;
use super::object::{Change, Object};
use super::object_id::{Kind, ObjectId, ObjectName};
use super::pod::Pod;

/// The pods of one node that have not finished, and the namespaces.
#[derive(Debug)]
pub struct Pods {
    node_name: Arc<str>,
    pods: BTreeMap<ObjectName, Arc<Pod>>,
    namespaces: HashMap<Arc<str>, Arc<Namespace>>,
    touched: BTreeSet<ObjectName>,
}

impl Pods {
    /// None yet, of the node of that name.
    #[must_use]
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.into(),
            pods: BTreeMap::new(),
            namespaces: HashMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Applies a change of a pod or a namespace. Others change nothing.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set(Object::Pod(pod)) => self.set_pod(pod),
            Change::Set(Object::Namespace(namespace)) => {
                let name = Arc::clone(&namespace.metadata.name);
                self.touch_all_in(&name);
                self.namespaces.insert(name, namespace);
            }
            Change::Remove(id) => self.remove(&id),
            Change::Only(kind, names) => self.retain(kind, &names),
            Change::Set(_) | Change::Unread(_) => {}
        }
    }

    /// The pods that changes have touched since the last call, with removed ones.
    pub fn take_touched(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.touched)
    }

    #[must_use]
    pub fn pod(&self, name: &ObjectName) -> Option<&Arc<Pod>> {
        self.pods.get(name)
    }

    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name).map(Arc::as_ref)
    }

    fn set_pod(&mut self, pod: Arc<Pod>) {
        let name = pod.metadata.object_name();
        if pod.spec.node_name == self.node_name && !pod.is_finished() {
            self.pods.insert(name.clone(), pod);
            self.touched.insert(name);
        } else {
            self.remove_pod(&name);
        }
    }

    fn remove(&mut self, id: &ObjectId) {
        match id.kind {
            Kind::Pod => self.remove_pod(&id.name),
            Kind::Namespace => {
                if self.namespaces.remove(&id.name.name).is_some() {
                    self.touch_all_in(&id.name.name);
                }
            }
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => {}
        }
    }

    fn remove_pod(&mut self, name: &ObjectName) {
        if self.pods.remove(name).is_some() {
            self.touched.insert(name.clone());
        }
    }

    /// Removes the objects of a kind that are not in `names`.
    fn retain(&mut self, kind: Kind, names: &HashSet<ObjectName>) {
        let known: Vec<ObjectName> = match kind {
            Kind::Pod => self.pods.keys().cloned().collect(),
            Kind::Namespace => {
                let known = self.namespaces.keys().map(|name| ObjectName {
                    namespace: Arc::default(),
                    name: Arc::clone(name),
                });
                known.collect()
            }
            Kind::Service | Kind::EndpointSlice | Kind::Node | Kind::ServiceCidr => return,
        };
        for name in known.into_iter().filter(|name| !names.contains(name)) {
            self.remove(&ObjectId { kind, name });
        }
    }

    fn touch_all_in(&mut self, namespace: &str) {
        let pods = self.pods.keys().filter(|pod| &*pod.namespace == namespace);
        self.touched.extend(pods.cloned());
    }
}
