//! The current service ports, by key.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::Claimant;
use super::service_port::{Frontend, ServicePort, ServicePortKey};
use crate::catalog::{Family, ObjectName, Protocol};

/// The service ports by key.
///
/// Boxed, because tree nodes are half empty when keys are inserted in order.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<ServicePortKey, Box<ClaimedPort>>);

/// The current state of a service port. It is published when it has a frontend.
#[derive(Debug)]
pub(super) struct ClaimedPort {
    pub(super) port: ServicePort,
    pub(super) claimant: Arc<Claimant>,
    /// The frontends that it wants and another service port keeps.
    pub(super) lost: Vec<Frontend>,
}

impl ClaimedPort {
    /// Returns all the frontends it wants, sorted.
    pub(super) fn wanted(&self) -> Vec<Frontend> {
        let mut wanted = self.port.frontends.clone();
        wanted.extend_from_slice(&self.lost);
        wanted.sort();
        wanted
    }
}

impl Entries {
    pub(super) fn get(&self, key: &ServicePortKey) -> Option<&ClaimedPort> {
        self.0.get(key).map(|entry| &**entry)
    }

    pub(super) fn insert(&mut self, key: ServicePortKey, entry: ClaimedPort) {
        self.0.insert(key, Box::new(entry));
    }

    pub(super) fn remove(&mut self, key: &ServicePortKey) -> Option<Box<ClaimedPort>> {
        self.0.remove(key)
    }

    /// Sorted by key.
    pub(super) fn all(&self) -> impl Iterator<Item = &ClaimedPort> {
        self.0.values().map(|entry| &**entry)
    }

    /// Those of a Service, sorted by key.
    pub(super) fn of(
        &self,
        name: &ObjectName,
    ) -> impl Iterator<Item = (&ServicePortKey, &ClaimedPort)> {
        let first = ServicePortKey {
            namespace: Arc::clone(&name.namespace),
            name: Arc::clone(&name.name),
            port: Arc::default(),
            protocol: Protocol::Tcp,
            family: Family::Ipv4,
        };
        let ObjectName { namespace, name } = name.clone();
        self.0
            .range(first..)
            .take_while(move |(key, _)| key.namespace == namespace && key.name == name)
            .map(|(key, entry)| (key, &**entry))
    }

    pub(super) fn keys_of(&self, name: &ObjectName) -> impl Iterator<Item = &ServicePortKey> {
        self.of(name).map(|(key, _)| key)
    }
}
