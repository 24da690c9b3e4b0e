//! How long connections to a stopped backend go on: what its Service says, or what it last said.
//!
//! The backends of a removed service port are remembered by their ids, until no connection names them any more. An agent that
//! has just started does not know them: it takes the default.

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::drains::{Rule, Rules};
use crate::catalog::{ObjectName, Protocol};
use crate::policy::{Policy, ServicePortKey, Update};
use crate::tables::{Backing, Tables};

#[derive(Debug, Default)]
pub struct Graces {
    default: Option<Duration>,
    /// A Service has asked for a drain since the agent started, or all do.
    is_asked: bool,
    changes: u64,
    /// Of the Services that an update is about, as they were before it.
    before: HashMap<ServicePortKey, Option<Duration>>,
    /// The backends of removed service ports, by id, each with what its Service last said.
    removed: HashMap<u32, (ServicePortKey, Option<Duration>)>,
}

impl Graces {
    /// `default`: for Services without an annotation.
    pub fn new(default: Option<Duration>) -> Self {
        Self {
            default,
            is_asked: default.is_some(),
            ..Self::default()
        }
    }

    /// Whether any connection may have to be drained.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// How often a Service has changed its drain time, or was the first to ask for one.
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// These Services are about to be updated.
    pub fn begin_update(&mut self, policy: &Policy, services: &BTreeSet<ObjectName>) {
        if self.is_asked {
            let ports = services.iter().flat_map(|name| policy.ports_of(name));
            let ports = ports.filter(|port| port.key.protocol == Protocol::Tcp);
            self.before = ports.map(|port| (port.key.clone(), port.drain)).collect();
        }
    }

    /// The policy has changed; the tables have not, so far.
    pub fn note<B: Backing>(&mut self, update: &Update, policy: &Policy, tables: &Tables<B>) {
        let before = std::mem::take(&mut self.before);
        let was_asked = self.is_asked;
        self.is_asked |= update.changed.iter().any(|port| port.drain.is_some());
        if !self.is_asked {
            return;
        }
        let differs = update.changed.iter().any(|port| {
            let before = before.get(&port.key);
            before.is_some_and(|before| *before != port.drain)
        });
        self.changes += u64::from(differs || !was_asked);
        let removed = update.removed.iter();
        for key in removed.filter(|key| key.protocol == Protocol::Tcp) {
            let last = before.get(key).copied();
            let last = last.or_else(|| policy.port(key).map(|port| port.drain));
            let last = last.unwrap_or(self.default);
            let backends = tables.backends_of(key);
            self.removed
                .extend(backends.map(|backend| (backend.id, (key.clone(), last))));
        }
    }

    /// Forgets the backends whose ids are free. Call it every second.
    pub fn forget<B: Backing>(&mut self, tables: &Tables<B>) {
        if !self.removed.is_empty() {
            let in_use: BTreeSet<u32> = tables.quarantined_backends().collect();
            self.removed.retain(|id, _| in_use.contains(id));
        }
    }
}

/// What the Services say now.
#[derive(Debug)]
pub struct GraceRules<'a, B> {
    graces: &'a Graces,
    policy: &'a Policy,
    tables: &'a Tables<B>,
    /// The service ports by id.
    names: OnceCell<HashMap<u32, ServicePortKey>>,
}

impl<'a, B> GraceRules<'a, B> {
    pub const fn new(graces: &'a Graces, policy: &'a Policy, tables: &'a Tables<B>) -> Self {
        Self {
            graces,
            policy,
            tables,
            names: OnceCell::new(),
        }
    }
}

impl<B: Backing> Rules for GraceRules<'_, B> {
    fn name(&self, backend: u32, service_port: u32) -> Option<ServicePortKey> {
        if let Some((key, _)) = self.graces.removed.get(&backend) {
            return Some(key.clone());
        }
        let names = self.names.get_or_init(|| self.tables.names());
        names.get(&service_port).cloned()
    }

    fn rule(&self, backend: u32, port: Option<&ServicePortKey>, address: SocketAddr) -> Rule {
        if let Some(port) = port.and_then(|port| self.policy.port(port)) {
            let found = port
                .backends
                .binary_search_by_key(&address, |backend| backend.address);
            return Rule {
                grace: port.drain,
                has_returned: found.is_ok(),
            };
        }
        let removed = self.graces.removed.get(&backend);
        Rule {
            grace: removed.map_or(self.graces.default, |(_, last)| *last),
            has_returned: false,
        }
    }
}
