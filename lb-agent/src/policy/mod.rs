//! Decides which backends serve which frontends by kube-proxy's rules, without side effects: from the catalog to service ports.
//!
//! `service` evaluates one Service with `frontends`, `endpoints`, `topology` and `backends`. `claims` decides which of several Services
//! keeps a frontend that they all want. This file stores the last result and returns the differences. The rules are those of
//! kube-proxy 1.36 (pkg/proxy), unless a comment states otherwise.

mod address;
mod allocated;
mod annotations;
mod backends;
mod claims;
mod clients;
mod context;
mod drain;
mod endpoints;
mod entries;
pub mod explain;
mod explainer;
mod frontends;
mod health_check;
mod left_out;
mod masquerading;
mod node_ports;
mod options;
mod own_node;
mod report;
mod selector;
mod service;
mod service_port;
mod skip;
mod slow_start;
mod spill_over;
#[cfg(test)]
mod tests;
mod topology;
mod update;
mod view;
mod weight;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use self::allocated::AllocatedAddresses;
use self::claims::{Claimant, Claims, Site};
pub use self::clients::{ClientSelection, NotServed, annotation_problems};
use self::context::Context;
pub use self::drain::parse as parse_drain;
use self::entries::{ClaimedPort, Entries};
pub use self::explainer::Explainer;
pub use self::health_check::HealthCheck;
pub use self::masquerading::{Masquerade, Masquerading};
pub use self::node_ports::NodePorts;
pub use self::options::{Options, RefuseUnknown};
pub use self::own_node::{no_primary_address, primary_addresses};
pub use self::selector::Selector;
pub use self::service_port::{
    Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort, ServicePortKey, SpillOver,
};
pub use self::update::Update;
pub use self::view::{Scope, View};
pub use crate::catalog::Problem;
use crate::catalog::{Catalog, ObjectName};

/// The service ports that this node serves, and the problems of the objects they come from.
#[derive(Debug)]
pub struct Policy {
    options: Options,
    entries: Entries,
    claims: Claims,
    problems: BTreeMap<ObjectName, Vec<Problem>>,
    /// Slices without a Service, by the Service's name.
    orphans: BTreeMap<ObjectName, Vec<Problem>>,
    own_node: Option<Problem>,
    /// Problems with frontends that service ports did not get.
    lost: BTreeMap<ServicePortKey, Vec<Problem>>,
    named: AllocatedAddresses,
    cidr_problems: Vec<Problem>,
}

/// The current requirements of a Service for one of its ports.
struct Wanted {
    port: ServicePort,
    claimant: Arc<Claimant>,
}

/// The service ports that held frontends before an update.
type Holders = HashMap<Site, Option<Arc<Claimant>>>;

impl Policy {
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            named: AllocatedAddresses::new(match &options.refuse_unknown {
                RefuseUnknown::In(nets) => nets.clone(),
                RefuseUnknown::Nowhere | RefuseUnknown::InServiceCidrs => Vec::new(),
            }),
            cidr_problems: Vec::new(),
            options,
            entries: Entries::default(),
            claims: Claims::default(),
            problems: BTreeMap::new(),
            orphans: BTreeMap::new(),
            own_node: None,
            lost: BTreeMap::new(),
        }
    }

    /// Evaluates the touched Services again.
    ///
    /// Call it only after every source has completed its first list: before that, a slice's Service may not have arrived yet.
    pub fn update(
        &mut self,
        catalog: &Catalog,
        touched: impl IntoIterator<Item = ObjectName>,
    ) -> Update {
        let mut fresh = BTreeMap::new();
        let mut holders = Holders::new();
        let mut update = Update::default();
        if self.options.refuse_unknown == RefuseUnknown::InServiceCidrs {
            let (cidrs, problems) = allocated::cidrs_of(catalog);
            self.cidr_problems = problems;
            self.named.set_cidrs(cidrs, catalog, &mut update);
        }
        self.own_node = own_node::problem(catalog);
        for name in touched {
            self.named
                .update(&name, catalog.service(&name), &mut update);
            self.judge(catalog, &name, &mut fresh, &mut holders);
        }
        let mut dirty: BTreeSet<ServicePortKey> = fresh.keys().cloned().collect();
        for (site, before) in holders {
            if self.claims.holder(&site) != before.as_ref() {
                dirty.extend(self.claims.claimants(&site).map(|c| c.key.clone()));
            }
        }
        for key in dirty {
            match fresh.remove(&key) {
                Some(None) => self.remove(key, &mut update),
                wanted => self.settle(key, wanted.flatten(), &mut update),
            }
        }
        update
    }

    /// The settings of the packet path; none: there is none.
    #[must_use]
    pub const fn packets(&self) -> Option<&Masquerading> {
        self.options.packets.as_ref()
    }

    /// The ranges in which connections to addresses without a Service are refused. Empty: none are refused.
    #[must_use]
    pub fn refuse_unknown_in(&self) -> &[IpNet] {
        self.named.cidrs()
    }

    /// Returns the health check of a Service that the last [`Policy::update`] served; none if it has none.
    ///
    /// # Errors
    /// The Service needs a health check, and its port is missing or invalid.
    pub fn health_check(
        &self,
        catalog: &Catalog,
        name: &ObjectName,
    ) -> Result<Option<HealthCheck>, Problem> {
        let families = self.entries.keys_of(name).map(|key| key.family).collect();
        health_check::of(catalog, name, &families, &self.options.node_name)
    }

    /// Returns all service ports, sorted by key.
    pub fn service_ports(&self) -> impl Iterator<Item = &ServicePort> {
        let ports = self.entries.all().map(|entry| &entry.port);
        ports.filter(|port| !port.frontends.is_empty())
    }

    /// A service port, with or without frontends.
    #[must_use]
    pub fn port(&self, key: &ServicePortKey) -> Option<&ServicePort> {
        self.entries.get(key).map(|entry| &entry.port)
    }

    /// The service ports of a Service, sorted by key. Those that other Services took all frontends from are among them.
    pub fn ports_of(&self, name: &ObjectName) -> impl Iterator<Item = &ServicePort> {
        self.entries.of(name).map(|(_, entry)| &entry.port)
    }

    /// Explains the result of the last [`Policy::update`].
    #[must_use]
    pub fn explainer<'a>(&'a self, catalog: &'a Catalog) -> Explainer<'a> {
        Explainer {
            context: self.context(catalog),
            catalog,
            entries: &self.entries,
            claims: &self.claims,
            named: &self.named,
        }
    }

    /// The current problems of a Service and its slices.
    pub fn problems_of(&self, name: &ObjectName) -> impl Iterator<Item = &Problem> {
        let mut lost = None;
        if !self.lost.is_empty() {
            let keys = self.entries.keys_of(name);
            lost = Some(keys.filter_map(|key| self.lost.get(key)));
        }
        let lost = lost.into_iter().flatten();
        self.problems.get(name).into_iter().chain(lost).flatten()
    }

    /// Returns all current problems of the objects.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.lasting_problems().chain(self.passing_problems())
    }

    /// The problems that only a change of the objects resolves.
    pub fn lasting_problems(&self) -> impl Iterator<Item = &Problem> {
        let lost = self.lost.values().flatten();
        let of_objects = self.problems.values().flatten().chain(&self.cidr_problems);
        of_objects.chain(lost)
    }

    /// Problems that are normal for some seconds: objects of different kinds arrive on different watches, and controllers
    /// create and delete them one after the other.
    pub fn passing_problems(&self) -> impl Iterator<Item = &Problem> {
        self.orphans.values().flatten().chain(&self.own_node)
    }

    /// Evaluates one Service, moves its claims, and records the previous holders of the frontends.
    fn judge(
        &mut self,
        catalog: &Catalog,
        name: &ObjectName,
        fresh: &mut BTreeMap<ServicePortKey, Option<Wanted>>,
        holders: &mut Holders,
    ) {
        let (ports, problems) = service::judge(&self.context(catalog), catalog, name, None);
        let is_there = catalog.service(name).is_some() || name.name.is_empty();
        let (of_service, orphans) = match is_there {
            true => (problems, Vec::new()),
            false => (Vec::new(), problems),
        };
        keep(&mut self.problems, name, of_service);
        keep(&mut self.orphans, name, orphans);

        let mut gone: BTreeSet<ServicePortKey> = self.entries.keys_of(name).cloned().collect();
        for port in ports {
            let key = port.key.clone();
            gone.remove(&key);
            let created = port.created;
            let claimant = Arc::new(Claimant { created, key });
            self.claim(&claimant, &port.frontends, holders);
            fresh.insert(port.key.clone(), Some(Wanted { port, claimant }));
        }
        for key in gone {
            if let Some(entry) = self.entries.get(&key) {
                for site in sites(&key, &entry.wanted()) {
                    note_holder(&self.claims, holders, &site);
                    self.claims.release(&site, &entry.claimant);
                }
            }
            fresh.insert(key, None);
        }
    }

    fn context<'a>(&'a self, catalog: &'a Catalog) -> Context<'a> {
        Context {
            node_name: &self.options.node_name,
            zone: catalog.zone(),
            service_proxy_name: self.options.service_proxy_name.as_deref(),
            default_algorithm: self.options.default_algorithm,
            detects_outliers: self.options.detects_outliers,
            drain: self.options.drain,
            has_packet_path: self.options.packets.is_some(),
            refuses_external_ips: self.options.refuses_external_ips,
        }
    }

    /// Moves a service port's claims from the frontends it wanted to those it wants now.
    fn claim(&mut self, claimant: &Arc<Claimant>, wanted: &[Frontend], holders: &mut Holders) {
        let known = self.entries.get(&claimant.key);
        if known.is_some_and(|e| e.claimant == *claimant && e.wanted() == wanted) {
            return;
        }
        if let Some(entry) = known {
            for site in sites(&claimant.key, &entry.wanted()) {
                note_holder(&self.claims, holders, &site);
                self.claims.release(&site, &entry.claimant);
            }
        }
        for frontend in wanted {
            let site = Site::of(&claimant.key, frontend);
            note_holder(&self.claims, holders, &site);
            self.claims.add(site, frontend.kind, Arc::clone(claimant));
        }
    }

    /// Assigns a service port the frontends that it holds, and records whether anything differs.
    ///
    /// `wanted`: none when only the holders of the frontends may have changed.
    fn settle(&mut self, key: ServicePortKey, wanted: Option<Wanted>, update: &mut Update) {
        let before = self.entries.remove(&key);
        let (mut port, claimant, wanted) = match (wanted, &before) {
            (Some(Wanted { mut port, claimant }), _) => {
                let frontends = std::mem::take(&mut port.frontends);
                (port, claimant, frontends)
            }
            (None, Some(entry)) => (
                entry.port.clone(),
                Arc::clone(&entry.claimant),
                entry.wanted(),
            ),
            (None, None) => return,
        };
        let mut problems = Vec::new();
        let mut lost = Vec::new();
        port.frontends = Vec::with_capacity(wanted.len());
        for frontend in wanted {
            match self.claims.holder(&Site::of(&key, &frontend)) {
                Some(holder) if holder.key != key => {
                    problems.push(claims::problem(&key, &frontend, &holder.key));
                    lost.push(frontend);
                }
                _ => port.frontends.push(frontend),
            }
        }

        let before = before.map(|entry| entry.port);
        let was_published = before.as_ref().is_some_and(|b| !b.frontends.is_empty());
        if port.frontends.is_empty() {
            if was_published {
                update.removed.push(key.clone());
            }
        } else if before.as_ref() != Some(&port) {
            update.changed.push(port.clone());
        }
        if problems.is_empty() {
            self.lost.remove(&key);
        } else {
            self.lost.insert(key.clone(), problems);
        }
        let entry = ClaimedPort {
            port,
            claimant,
            lost,
        };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: ServicePortKey, update: &mut Update) {
        self.lost.remove(&key);
        if let Some(entry) = self.entries.remove(&key)
            && !entry.port.frontends.is_empty()
        {
            update.removed.push(key);
        }
    }
}

/// Stores the problems by the Service's name. A Service without problems is not stored.
fn keep(all: &mut BTreeMap<ObjectName, Vec<Problem>>, name: &ObjectName, problems: Vec<Problem>) {
    if problems.is_empty() {
        all.remove(name);
    } else {
        all.insert(name.clone(), problems);
    }
}

fn sites(key: &ServicePortKey, frontends: &[Frontend]) -> impl Iterator<Item = Site> {
    frontends.iter().map(|frontend| Site::of(key, frontend))
}

fn note_holder(claims: &Claims, holders: &mut Holders, site: &Site) {
    if !holders.contains_key(site) {
        holders.insert(*site, claims.holder(site).cloned());
    }
}
