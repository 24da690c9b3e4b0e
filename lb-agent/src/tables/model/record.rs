//! The model: all that the tables contain, and the changes that keep it consistent.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use lb_common::frontend::kind;
use lb_common::{FrontendKey, FrontendValue, config};

use super::super::backing::Elements;
use super::free::Free;
use super::guards::{Guards, guard_key, guard_value};
use super::held::{HeldBackend, HeldFrontend, HeldPort, HeldView};
use super::quarantine::{Item, Quarantine};
use crate::policy::ServicePortKey;

/// How often backends have stopped serving since this agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    pub tcp: u64,
    pub udp: u64,
}

#[derive(Debug)]
pub struct Model {
    /// The words of CONFIG.
    pub config: [u64; config::WORDS as usize],
    /// The id of each service port that was asked for.
    pub ids: HashMap<ServicePortKey, u32>,
    /// By service port id.
    pub ports: HashMap<u32, HeldPort>,
    pub frontends: HashMap<FrontendKey, HeldFrontend>,
    pub guards: Guards,
    /// Service ports that an earlier agent left and that were not asked for yet.
    pub orphans: BTreeSet<u32>,
    pub free: Free,
    pub quarantine: Quarantine,
    pub stops: Stops,
    /// By service port id: the connections of its backends that have stopped serving, minus those that were counted before this
    /// agent started. Wraps below 0.
    pub ended: HashMap<u32, u64>,
    /// There is a packet path, so that backends are in the NAT maps too.
    pub has_nat: bool,
    /// How many stores in the NAT maps there were.
    pub nat_stores: u64,
    /// A store in the NAT maps has failed: they have to be compared with the model.
    pub is_nat_stale: bool,
}

impl Model {
    /// The rows of a service port that was asked for.
    #[must_use]
    pub fn port(&self, key: &ServicePortKey) -> Option<&HeldPort> {
        self.ports.get(self.ids.get(key)?)
    }

    /// FRONTENDS has this element now. Another service port may have had it before.
    pub fn put_frontend(&mut self, key: FrontendKey, held: HeldFrontend) {
        let before = self.frontends.insert(key, held);
        // It was repaired.
        if before == Some(held) {
            return;
        }
        if before.is_some_and(|before| before.kind == kind::CLUSTER_IP) {
            self.guards.remove_frontend(key.address);
        }
        if held.is_cluster_ip() {
            self.guards.add_frontend(key.address);
        }
        if before.is_some_and(|before| before.owner == held.owner) {
            return;
        }
        if let Some(before) = before {
            self.disown(before.owner, &key);
        }
        let port = self.ports.entry(held.owner).or_default();
        port.frontends.push(key);
    }

    /// FRONTENDS has no such element any more.
    pub fn remove_frontend(&mut self, key: &FrontendKey) {
        let Some(held) = self.frontends.remove(key) else {
            return;
        };
        self.quarantine.add(Item::Frontend(held.id));
        if held.is_cluster_ip() {
            self.guards.remove_frontend(key.address);
        }
        self.disown(held.owner, key);
    }

    fn disown(&mut self, owner: u32, key: &FrontendKey) {
        if let Some(port) = self.ports.get_mut(&owner) {
            port.frontends.retain(|owned| owned != key);
        }
    }

    /// A service port has this view now. The run that it had before is quarantined.
    pub fn set_view(&mut self, port: u32, view: HeldView) {
        let views = &mut self.ports.entry(port).or_default().views;
        let Some(held) = views.iter_mut().find(|held| held.index == view.index) else {
            views.push(view);
            return;
        };
        let before = std::mem::replace(held, view).run;
        if before != view.run
            && let Some(run) = Item::run(before)
        {
            self.quarantine.add(run);
        }
    }

    /// Quarantines the views of a service port that no frontend names.
    pub fn retire_unnamed_views(&mut self, port: u32) {
        let Some(held) = self.ports.get_mut(&port) else {
            return;
        };
        let named: BTreeSet<u32> = held
            .frontends
            .iter()
            .filter_map(|key| self.frontends.get(key))
            .flat_map(|frontend| [frontend.view, frontend.outside_view])
            .collect();
        let quarantine = &mut self.quarantine;
        held.views.retain(|view| {
            let is_named = named.contains(&view.index);
            if !is_named {
                quarantine.add(Item::View(view.index));
                if let Some(run) = Item::run(view.run) {
                    quarantine.add(run);
                }
            }
            is_named
        });
    }

    /// A backend of this protocol has stopped serving.
    pub const fn count_stop(&mut self, protocol: u8) {
        if protocol == lb_common::UDP {
            self.stops.udp += 1;
        } else {
            self.stops.tcp += 1;
        }
    }

    /// A grace period is over: frees what waited for nothing else.
    pub fn end_grace(&mut self) {
        for item in self.quarantine.end_grace() {
            match item {
                Item::Run { .. } | Item::View(_) => self.free.release(item),
                Item::Backend(_) | Item::Frontend(_) => self.quarantine.named.push(item),
            }
        }
    }

    /// Frees those ids that no entry of a socket names any more. Returns the backends among them.
    pub fn free_unnamed(&mut self, is_named: impl Fn(Item) -> bool) -> Vec<u32> {
        let mut backends = Vec::new();
        for item in std::mem::take(&mut self.quarantine.named) {
            if is_named(item) {
                self.quarantine.named.push(item);
                continue;
            }
            self.free.release(item);
            if let Item::Backend(id) = item {
                backends.push(id);
            }
        }
        backends
    }

    /// The elements that the NAT maps should have: of all backends that a view may still choose, or that are quarantined.
    pub fn nat(&self) -> impl Iterator<Item = (u32, SocketAddr)> {
        let backends = self.ports.values().flat_map(|port| &port.backends);
        let is_whole = |held: &&HeldBackend| held.address.port() != 0;
        backends
            .filter(is_whole)
            .map(|held| (held.id, held.address))
    }
}

impl Elements for Model {
    fn value(&self, key: &FrontendKey) -> Option<FrontendValue> {
        if let Some(held) = self.frontends.get(key) {
            return Some(held.value(key));
        }
        let verdict = *self.guards.in_place.get(&key.address)?;
        (guard_key(key.address) == *key).then(|| guard_value(key.address, verdict))
    }

    fn keys(&self) -> Box<dyn Iterator<Item = FrontendKey> + '_> {
        let guards = self.guards.in_place.keys().copied().map(guard_key);
        Box::new(self.frontends.keys().copied().chain(guards))
    }
}
