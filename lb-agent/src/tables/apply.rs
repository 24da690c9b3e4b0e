//! What is new: the stores themselves, in the order that readers rely on.

use std::collections::BTreeSet;
use std::io;

use lb_common::{
    Backend as BackendLine, FrontendEntry, FrontendKey, FrontendValue, SlotRun, Target, View,
};

use super::cell::{cells, fingerprint, store_cell};
use super::member::{self, Member};
use super::reserve::{Planned, PlannedFrontend, Reserved};
use super::{ApplyError, Backing, FrontendState, Table, Tables, ViewState, form};
use crate::policy::{Backend, ServicePort};

impl<B: Backing> Tables<B> {
    /// Adds all that a service port needs, and switches its views over. Nothing goes yet.
    ///
    /// A frontend that moves to a view of its own must not see the shared view's next choice before it has
    /// moved, nor one that moves to a shared view its last choice after: hence the order.
    pub(super) fn raise(&mut self, port: &ServicePort) -> Result<(), ApplyError> {
        let known = self.ids.get(&port.key).copied();
        let reserved = self.reserve(port, known)?;
        let id = known.unwrap_or_else(|| self.next_service_port());
        self.ids.insert(port.key.clone(), id);
        self.ports.entry(id).or_default().protocol = form::protocol(port.key.protocol);

        self.write_backends(id, port, &reserved);
        self.keep_members(id, port, &reserved);
        let mut written = Ok(());
        for is_new in [true, false] {
            for view in reserved.views.iter().filter(|view| view.is_new == is_new) {
                self.write_view(id, port, view);
                let frontends = self.write_frontends(id, &reserved, view);
                written = written.and(frontends);
            }
        }
        written
    }

    /// Takes over service ports that an earlier agent left in the tables, known by their ClusterIPs. Another frontend may
    /// have come from elsewhere since: by that one a Service would take over what is another's, and show its backends there.
    pub(super) fn adopt(&mut self, ports: &[ServicePort]) {
        if self.orphans.is_empty() {
            return;
        }
        let all: BTreeSet<FrontendKey> = ports.iter().flat_map(frontend_keys).collect();
        for port in ports {
            if self.ids.contains_key(&port.key) {
                continue;
            }
            let wanted: BTreeSet<FrontendKey> = frontend_keys(port).collect();
            let is_others = |key: &FrontendKey| all.contains(key) && !wanted.contains(key);
            let owner = wanted
                .iter()
                .filter_map(|key| self.frontends.get(key))
                .map(|state| state.owner)
                .filter(|owner| self.orphans.contains(owner))
                .find(|owner| match self.cluster_ip(*owner) {
                    Some(cluster_ip) => wanted.contains(&cluster_ip),
                    // The earlier agent had not come so far.
                    None => self
                        .ports
                        .get(owner)
                        .is_some_and(|left| !left.frontends.iter().any(is_others)),
                });
            if let Some(owner) = owner {
                self.orphans.remove(&owner);
                self.ids.insert(port.key.clone(), owner);
            }
        }
    }

    fn cluster_ip(&self, id: u32) -> Option<FrontendKey> {
        let mut keys = self.ports.get(&id)?.frontends.iter();
        let is_cluster_ip = |key: &&FrontendKey| {
            let state = self.frontends.get(key);
            state.is_some_and(|state| state.is_cluster_ip())
        };
        keys.find(is_cluster_ip).copied()
    }

    /// New backends whole, into ids that nobody names; those that stay get the bits that they had and those
    /// that they are to have, until the views are switched.
    fn write_backends(&mut self, service_port: u32, port: &ServicePort, reserved: &Reserved) {
        for backend in &port.backends {
            let Some(member) = member::find(&reserved.members, backend.address) else {
                continue;
            };
            let state = form::backend_state(backend);
            if reserved.new.contains(&member.id) {
                let line = form::backend_line(member.address, service_port, state);
                let words: [u64; BackendLine::WORDS] = bytemuck::must_cast(line);
                // The state last: a line that has one is whole.
                for word in (0..BackendLine::WORDS).filter(|&word| word != BackendLine::STATE_WORD)
                {
                    self.backing
                        .store(Table::Backends, member.id, word, words[word]);
                }
                self.store_state(member.id, state);
            } else if member.state | state != member.state {
                self.store_state(member.id, member.state | state);
            }
        }
    }

    pub(super) fn store_state(&mut self, backend: u32, state: u64) {
        self.backing
            .store(Table::Backends, backend, BackendLine::STATE_WORD, state);
    }

    /// The slots into a free run, then one store that makes them the view's.
    fn write_view(&mut self, service_port: u32, port: &ServicePort, planned: &Planned) {
        let (algorithm, affinity_seconds) = (
            form::algorithm_number(port.algorithm),
            port.affinity_seconds.unwrap_or(0),
        );
        let line = form::view_line(service_port, planned.role, algorithm, affinity_seconds);
        let words: [u64; View::WORDS] = bytemuck::must_cast(line);
        for (word, &value) in words.iter().enumerate().take(View::CELLS_WORD) {
            if word != View::SLOTS_WORD
                && self.backing.load(Table::Views, planned.index, word) != value
            {
                self.backing.store(Table::Views, planned.index, word, value);
            }
        }
        let view = self.known_view(service_port, planned);
        view.algorithm = algorithm;
        view.affinity_seconds = affinity_seconds;
        let Some((run, slots)) = &planned.slots else {
            return;
        };
        let before = view.run;
        tracing::debug!(
            view = planned.index,
            role = ?planned.role,
            slots = slots.len(),
            before = before.length,
            "{}: backends changed", port.key,
        );
        self.give_run(service_port, planned.index, *run, slots);
    }

    /// Writes a free run, makes it the view's, and lets the one that it had rest.
    pub(super) fn give_run(&mut self, service_port: u32, index: u32, run: SlotRun, slots: &[u32]) {
        let mut cell = run.base;
        for value in cells(slots) {
            store_cell(&mut self.backing, cell, value);
            cell = cell.wrapping_add(1);
        }
        self.backing
            .store(Table::Views, index, View::SLOTS_WORD, run.to_word());
        let views = self
            .ports
            .get_mut(&service_port)
            .map(|port| &mut port.views);
        let view = views.and_then(|views| views.iter_mut().find(|view| view.index == index));
        if let Some(view) = view {
            let before = std::mem::replace(&mut view.run, run);
            view.fingerprint = fingerprint(cells(slots));
            self.retire_run(before);
        }
    }

    /// What is noted of a view; without a run if it is new.
    fn known_view(&mut self, service_port: u32, planned: &Planned) -> &mut ViewState {
        let views = &mut self.ports.entry(service_port).or_default().views;
        let at = views.iter().position(|view| view.index == planned.index);
        let at = at.unwrap_or_else(|| {
            views.push(ViewState {
                index: planned.index,
                run: SlotRun::default(),
                role: planned.role,
                algorithm: 0,
                affinity_seconds: 0,
                fingerprint: 0,
            });
            views.len() - 1
        });
        &mut views[at]
    }

    /// The frontends of a view, which is whole by now.
    fn write_frontends(
        &mut self,
        id: u32,
        reserved: &Reserved,
        view: &Planned,
    ) -> Result<(), ApplyError> {
        let mut result = Ok(());
        for (key, planned) in &reserved.frontends {
            if planned.role != view.role {
                continue;
            }
            if let Err(error) = self.write_frontend(key, planned, view.index) {
                result = Err(ApplyError::Frontends(error));
                continue;
            }
            let state = FrontendState {
                id: planned.id,
                view: view.index,
                owner: id,
                kind: planned.kind,
                is_host_only: planned.is_host_only,
            };
            let before = self.frontends.insert(*key, state);
            if before.is_some_and(|before| before.is_cluster_ip()) {
                self.guards.remove(key.address);
            }
            if state.is_cluster_ip() {
                self.guards.add(key.address);
            }
            if before.is_none_or(|before| before.owner != id) {
                self.ports.entry(id).or_default().frontends.push(*key);
            }
        }
        result
    }

    fn write_frontend(
        &mut self,
        key: &FrontendKey,
        planned: &PlannedFrontend,
        view: u32,
    ) -> io::Result<()> {
        let entry = form::frontend_entry(key, planned.kind);
        let words: [u64; FrontendEntry::WORDS] = bytemuck::must_cast(entry);
        for (word, &value) in words.iter().enumerate() {
            if self.backing.load(Table::FrontendList, planned.id, word) != value {
                self.backing
                    .store(Table::FrontendList, planned.id, word, value);
            }
        }
        let is_there = |before: &FrontendState| {
            (before.view, before.is_host_only) == (view, planned.is_host_only)
        };
        if self.frontends.get(key).is_some_and(is_there) {
            return Ok(());
        }
        let target = Target {
            view,
            frontend: planned.id,
            is_host_only: planned.is_host_only,
        };
        let value = FrontendValue::new(key, target);
        let written = self.backing.put_frontend(key, &value);
        if written.is_err() && planned.is_new {
            self.frontend_ids.give_back(planned.id);
        }
        written
    }

    /// Notes who is a member now; those that are to go stay until [`Self::lower_members`].
    fn keep_members(&mut self, id: u32, port: &ServicePort, reserved: &Reserved) {
        let kept = |member: &Member| {
            member::find(&reserved.members, member.address).is_some_and(|kept| kept.id == member.id)
        };
        let state = self.ports.entry(id).or_default();
        state.members.retain(|member| !kept(member));
        // Those that slots name come before others with their address, which go.
        let members = reserved.members.iter().map(|member| Member {
            state: member.state | wanted_state(&port.backends, member),
            ..*member
        });
        state.members.splice(0..0, members);
        state.members.sort_by_key(|member| member.address);
    }
}

pub fn frontend_keys(port: &ServicePort) -> impl Iterator<Item = FrontendKey> {
    port.frontends
        .iter()
        .filter_map(|frontend| form::frontend_key(frontend, port.key.protocol))
}

/// The bits that a member is to have; none for one that is to go.
pub fn wanted_state(backends: &[Backend], member: &Member) -> u64 {
    backends
        .binary_search_by_key(&member.address, |backend| backend.address)
        .ok()
        .and_then(|found| backends.get(found))
        .map_or(0, form::backend_state)
}
