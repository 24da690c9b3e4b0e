//! What a service port should look like in the tables, with an id for each part: it fits whole, or nothing is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use lb_common::config::NEXT_SERVICE_PORT;
use lb_common::{FrontendKey, SlotRun};

use super::super::backing::{SourcePrefix, Table};
use super::super::cells::{cells, fingerprint};
use super::super::encode::{self, WeightUnit, frontend_keys};
use super::super::model::{
    Free, HeldBackend, HeldFrontend, HeldPort, HeldView, Item, Model, find_backend,
};
use super::super::role::Role;
use super::slots::slots;
use crate::catalog::Protocol;
use crate::policy::{Scope, ServicePort, View};

/// Why the tables could not take a service port.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{} is full: {needed} needed, {left} left", table.name())]
    Full {
        table: Table,
        needed: usize,
        left: usize,
    },
    #[error("FRONTENDS cannot be written: {0}")]
    Frontends(#[source] io::Error),
}

/// A service port as it should be.
pub struct WantedPort {
    pub id: u32,
    pub views: Vec<WantedView>,
    pub frontends: BTreeMap<FrontendKey, HeldFrontend>,
    /// Sorted by address, each with the state that it should have.
    pub backends: Vec<HeldBackend>,
    pub source_ranges: BTreeSet<SourcePrefix>,
    /// Whatever was taken for it.
    taken: Vec<Item>,
}

pub struct WantedView {
    pub held: HeldView,
    /// For a new run. None: the view keeps the run that it has.
    pub slots: Option<Vec<u32>>,
}

/// Takes whatever a service port needs and does not have, and gives all of it back if anything is missing.
pub fn assign(model: &mut Model, port: &ServicePort) -> Result<WantedPort, ApplyError> {
    let known = model.ids.get(&port.key).copied();
    let mut target = WantedPort {
        id: known.unwrap_or_else(|| next_id(model)),
        views: Vec::new(),
        frontends: BTreeMap::new(),
        backends: Vec::new(),
        source_ranges: BTreeSet::new(),
        taken: Vec::new(),
    };
    target.source_ranges = encode::source_ranges(target.id, port);
    let views = port.views();
    let result = check_ids(model, port, &views)
        .and_then(|()| assign_backends(model, port, &mut target))
        .and_then(|()| {
            views.iter().try_for_each(|view| {
                let index = assign_view(model, port, view, &mut target)?;
                if view.scope == Scope::Outside {
                    name_outside_view(index, view, port.key.protocol, &mut target);
                    return Ok(());
                }
                assign_frontends(model, index, port, view, &mut target)
            })
        });
    match result {
        Ok(()) => Ok(target),
        Err(error) => {
            for item in target.taken {
                model.free.release(item);
            }
            Err(error)
        }
    }
}

/// A service port id that was not given out before, or not for four billion ids.
fn next_id(model: &Model) -> u32 {
    let next = model.config[NEXT_SERVICE_PORT as usize];
    let mut next = u32::try_from(next).unwrap_or_default().max(1);
    while model.ports.contains_key(&next) {
        next = next.wrapping_add(1).max(1);
    }
    next
}

/// Whether there are ids for all its frontends and views. Checked first, so that the error contains all that it needs.
fn check_ids(model: &Model, port: &ServicePort, views: &[View<'_>]) -> Result<(), ApplyError> {
    let enough = |table, needed, left| match needed > left {
        true => Err(ApplyError::Full {
            table,
            needed,
            left,
        }),
        false => Ok(()),
    };
    let left = model.free.frontends.left();
    if port.frontends.len() > left {
        let keys: BTreeSet<FrontendKey> = frontend_keys(port).collect();
        let missing = |key: &&FrontendKey| !model.frontends.contains_key(*key);
        let needed = keys.iter().filter(missing).count();
        enough(Table::FrontendList, needed, left)?;
    }
    let held = model.port(&port.key);
    let missing = |view: &&View<'_>| held.is_none_or(|h| h.view(Role::of(view.scope)).is_none());
    let needed = views.iter().filter(missing).count();
    enough(Table::Views, needed, model.free.views.left())
}

fn assign_backends(
    model: &mut Model,
    port: &ServicePort,
    target: &mut WantedPort,
) -> Result<(), ApplyError> {
    let home = home(model, port);
    // Behind the homes of twice as many views as there are.
    let views = model.free.views.lowest().unwrap_or(0);
    let others = lb_common::view::home(views.saturating_mul(2)).start;
    let held = model.ids.get(&port.key).and_then(|id| model.ports.get(id));
    let held = held.map_or(&[][..], |held| &held.backends);
    let missing = |address: SocketAddr| find_backend(held, address).is_none();
    let needed = port.backends.iter().filter(|b| missing(b.address)).count();
    let left = model.free.backends.left();
    if needed > left {
        return Err(ApplyError::Full {
            table: Table::Backends,
            needed,
            left,
        });
    }
    let unit = WeightUnit::of(port);
    for backend in &port.backends {
        let id = match find_backend(held, backend.address) {
            Some(held) => held.id,
            None => {
                let ids = &mut model.free.backends;
                let Some(id) = ids.take_preferred(home.clone(), others) else {
                    continue;
                };
                target.taken.push(Item::Backend(id));
                id
            }
        };
        target.backends.push(HeldBackend {
            address: backend.address,
            id,
            state: encode::backend_state(backend),
            weight: unit.weight(backend),
        });
    }
    Ok(())
}

/// The ids that a service port's backends get if they are free: readers prefetch these as soon as they know the view.
fn home(model: &mut Model, port: &ServicePort) -> Range<u32> {
    let held = model.port(&port.key);
    let first = held.and_then(|held| held.views.iter().find(|view| view.role != Role::Outside));
    let index = match first.map(|view| view.index) {
        Some(index) => Some(index),
        None if port.views().is_empty() => None,
        // The one that it is about to get.
        None => model.free.views.lowest(),
    };
    index.map_or(0..0, lb_common::view::home)
}

/// Returns the view's index.
fn assign_view(
    model: &mut Model,
    port: &ServicePort,
    view: &View<'_>,
    target: &mut WantedPort,
) -> Result<u32, ApplyError> {
    let role = Role::of(view.scope);
    let held = model.port(&port.key).and_then(|port| port.view(role));
    let held = held.copied();
    let backends: Vec<&HeldBackend> = view
        .backends
        .iter()
        .filter_map(|backend| find_backend(&target.backends, backend.address))
        .collect();
    let algorithm = encode::algorithm_number(port.algorithm);
    let slots = slots(algorithm, &backends, held.map_or(0, |view| view.run.length));
    let index = match held {
        Some(view) => view.index,
        None => {
            let index = model.free.views.take().ok_or(ApplyError::Full {
                table: Table::Views,
                needed: 1,
                left: 0,
            })?;
            target.taken.push(Item::View(index));
            index
        }
    };
    let fingerprint = fingerprint(cells(&slots));
    let has_them = |view: &HeldView| {
        view.run.length as usize == slots.len() && view.fingerprint == fingerprint
    };
    let (run, slots) = match held.filter(has_them) {
        Some(view) => (view.run, None),
        None => {
            let (run, _) = take_run(&mut model.free, index, &slots)?;
            target.taken.extend(Item::run(run));
            (run, Some(slots))
        }
    };
    if let Some(slots) = &slots {
        let (service_port, before) = (&port.key, held.map_or(0, |view| view.run.length));
        let after = slots.len();
        tracing::debug!(
            event = "tables.slots_changed",
            %service_port,
            view = index,
            ?role,
            before,
            after,
            "the slots of a view change",
        );
    }
    target.views.push(WantedView {
        held: HeldView {
            index,
            run,
            role,
            algorithm,
            affinity_seconds: port.affinity_seconds.unwrap_or(0),
            member: encode::member(role),
            flags: encode::view_flags(port, &view.backends),
            fingerprint,
        },
        slots,
    });
    Ok(index)
}

fn assign_frontends(
    model: &mut Model,
    view: u32,
    port: &ServicePort,
    wanted: &View<'_>,
    target: &mut WantedPort,
) -> Result<(), ApplyError> {
    for frontend in &wanted.frontends {
        let Some(key) = encode::frontend_key(frontend, port.key.protocol) else {
            continue;
        };
        if target.frontends.contains_key(&key) {
            continue;
        }
        let id = match model.frontends.get(&key) {
            Some(held) => held.id,
            None => {
                let id = model.free.frontends.take().ok_or(ApplyError::Full {
                    table: Table::FrontendList,
                    needed: 1,
                    left: 0,
                })?;
                target.taken.push(Item::Frontend(id));
                id
            }
        };
        let held = HeldFrontend {
            id,
            view,
            owner: target.id,
            kind: encode::frontend_kind(frontend.kind),
            is_host_only: frontend.is_host_only(),
            has_source_ranges: port.has_source_ranges(frontend),
            outside_view: 0,
        };
        target.frontends.insert(key, held);
    }
    Ok(())
}

/// Its frontends have their own views by now: the scope of packets from outside comes last.
fn name_outside_view(index: u32, view: &View<'_>, protocol: Protocol, target: &mut WantedPort) {
    for frontend in &view.frontends {
        let key = encode::frontend_key(frontend, protocol);
        let held = key.and_then(|key| target.frontends.get_mut(&key));
        if let Some(held) = held {
            held.outside_view = index;
        }
    }
}

/// A free run for a view's slots, and the fingerprint of its cells.
pub fn take_run(free: &mut Free, view: u32, slots: &[u32]) -> Result<(SlotRun, u64), ApplyError> {
    let length = u32::try_from(slots.len()).ok();
    let run = length.and_then(|length| free.take_run(view, length));
    let run = run.ok_or_else(|| ApplyError::Full {
        table: Table::Slots,
        needed: slots.len().div_ceil(2),
        left: free.left(Table::Slots),
    })?;
    Ok((run, fingerprint(cells(slots))))
}

/// The slots that a view should have.
pub fn slots_of_view(view: &HeldView, port: &HeldPort) -> Vec<u32> {
    let is_of = |backend: &&HeldBackend| backend.state & view.role.bit() != 0;
    let of: Vec<&HeldBackend> = port.backends.iter().filter(is_of).collect();
    slots(view.algorithm, &of, view.run.length)
}
