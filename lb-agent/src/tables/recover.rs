//! What an earlier agent left: FRONTENDS → VIEWS → SLOTS → BACKENDS. What is not reachable is free.
//!
//! Nothing that is read here is trusted: a pinned table may hold anything. An element of FRONTENDS that makes no
//! sense is a stray and goes at once, since what it names is about to be given to others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use lb_common::frontend::kind;
use lb_common::view::{BANK_SLOTS, banks, is_own};
use lb_common::{
    Address, Backend as BackendLine, FrontendEntry, FrontendKey, SlotRun, Target, View,
};

use super::cell::{fingerprint_of, load_cell};
use super::guard::{self, Guards};
use super::ids::Ids;
use super::member::Member;
use super::resting::{Item, Resting};
use super::runs::Runs;
use super::stale::Stops;
use super::{Backing, FrontendState, PortState, Role, Table, Tables, ViewState, form};

impl<B: Backing> Tables<B> {
    /// Takes over tables, empty or not.
    ///
    /// A grace period must have passed since the last agent ended: what is not reachable is given out again
    /// at once. Errors: FRONTENDS, ORIGINS or SPILL cannot be read.
    pub fn recover(mut backing: B) -> io::Result<Self> {
        let mut found = Found::default();
        find_frontends(&backing, &mut found)?;
        drop_overlaps(&mut found);
        for key in &found.strays {
            backing.remove_frontend(key)?;
        }
        if !found.strays.is_empty() {
            tracing::warn!(
                "{} elements of FRONTENDS made no sense and were removed",
                found.strays.len()
            );
        }
        let used_backends = find_members(&mut backing, &mut found);
        let (frontend_ids, view_indexes, backend_ids, resting) =
            allocators(&backing, &found, used_backends)?;
        let mut runs: Vec<(u32, u32)> = found
            .views
            .values()
            .map(|view| (view.run.base, view.run.cells()))
            .filter(|&(_, cells)| cells > 0)
            .collect();
        runs.sort_unstable();
        let runs = Runs::without(backing.length(Table::Slots), &runs);

        for (&index, view) in &found.views {
            let port = found.ports.entry(view.service_port).or_default();
            port.views.push(ViewState {
                index,
                run: view.run,
                role: view.role,
                algorithm: view.algorithm,
                affinity_seconds: view.affinity_seconds,
                fingerprint: fingerprint_of(&backing, view.run),
            });
        }
        for (key, state) in &found.frontends {
            let port = found.ports.entry(state.owner).or_default();
            port.frontends.push(*key);
            port.protocol = key.protocol;
        }
        let mut guards = Guards::recovered(found.guards);
        for (key, state) in &found.frontends {
            if state.is_cluster_ip() {
                guards.add(key.address);
            }
        }
        let config = std::array::from_fn(|word| match u32::try_from(word) {
            Ok(word) if word < backing.length(Table::Config) => {
                backing.load(Table::Config, word, 0)
            }
            _ => 0,
        });
        let mut tables = Self {
            backing,
            config,
            ids: HashMap::new(),
            orphans: found.ports.keys().copied().collect(),
            ports: found.ports,
            frontends: found.frontends.into_iter().collect(),
            frontend_ids,
            view_indexes,
            backend_ids,
            runs,
            resting,
            guards,
            stops: Stops::default(),
        };
        tables.store_nets();
        Ok(tables)
    }
}

/// What was found, still without its allocators.
#[derive(Default)]
struct Found {
    frontends: BTreeMap<FrontendKey, FrontendState>,
    views: BTreeMap<u32, FoundView>,
    ports: HashMap<u32, PortState>,
    strays: Vec<FrontendKey>,
    guards: BTreeMap<Address, u32>,
}

struct FoundView {
    service_port: u32,
    run: SlotRun,
    role: Role,
    algorithm: u32,
    affinity_seconds: u32,
}

/// Sorts the elements of FRONTENDS into those that name a view and the strays.
fn find_frontends(backing: &impl Backing, found: &mut Found) -> io::Result<()> {
    let mut ids = BTreeSet::new();
    let mut elements = backing.frontends()?;
    elements.sort_by_key(|(key, _)| *key);
    for (key, value) in elements {
        if key.zero != 0 {
            found.strays.push(key);
            continue;
        }
        if guard::is_guard(&key) {
            // What is not readable is written again.
            let what = value.read(key.tag()).map_or(u32::MAX, |t| t.frontend);
            found.guards.insert(key.address, what);
            continue;
        }
        let read = value.read(key.tag()).filter(|target| {
            (1..backing.length(Table::Views)).contains(&target.view)
                && (1..backing.length(Table::FrontendList)).contains(&target.frontend)
                && ids.insert(target.frontend)
        });
        let Some(Target {
            view,
            frontend,
            is_host_only,
        }) = read
        else {
            found.strays.push(key);
            continue;
        };
        let entry = load_frontend(backing, frontend);
        if (entry.address, entry.port, entry.protocol) != (key.address, key.port, key.protocol) {
            found.strays.push(key);
            continue;
        }
        let line = load_view(backing, view);
        let known = found.views.entry(view).or_insert_with(|| FoundView {
            service_port: line.service_port,
            run: SlotRun::from_word(line.slots),
            role: Role::External,
            algorithm: line.algorithm,
            affinity_seconds: line.affinity_seconds,
        });
        if entry.kind == kind::CLUSTER_IP {
            known.role = Role::Internal;
        }
        let state = FrontendState {
            id: frontend,
            view,
            owner: line.service_port,
            kind: entry.kind,
            is_host_only,
        };
        found.frontends.insert(key, state);
    }
    // A run that is neither within SLOTS nor the view's own makes its frontends strays.
    let cells = backing.length(Table::Slots);
    let broken: BTreeSet<u32> = found
        .views
        .iter()
        .filter(|(index, view)| {
            let run = view.run;
            if is_own(run.base) {
                return !banks(**index).contains(&run.base)
                    || !(1..=BANK_SLOTS).contains(&run.length);
            }
            let end = run.base.checked_add(run.cells());
            end.is_none_or(|end| end > cells)
        })
        .map(|(&index, _)| index)
        .collect();
    drop_views(found, &broken);
    Ok(())
}

/// Of two views whose runs overlap, the one that begins later goes.
fn drop_overlaps(found: &mut Found) {
    let mut runs: Vec<(SlotRun, u32)> = found
        .views
        .iter()
        .filter(|(_, view)| view.run.cells() > 0 && !is_own(view.run.base))
        .map(|(&index, view)| (view.run, index))
        .collect();
    runs.sort_by_key(|(run, index)| (run.base, *index));
    let mut end = 0;
    let mut broken = BTreeSet::new();
    for (run, index) in runs {
        if run.base < end {
            broken.insert(index);
        } else {
            end = run.base + run.cells();
        }
    }
    drop_views(found, &broken);
}

fn drop_views(found: &mut Found, broken: &BTreeSet<u32>) {
    if broken.is_empty() {
        return;
    }
    found.views.retain(|index, _| !broken.contains(index));
    let frontends = std::mem::take(&mut found.frontends);
    for (key, state) in frontends {
        if broken.contains(&state.view) {
            found.strays.push(key);
        } else {
            found.frontends.insert(key, state);
        }
    }
}

/// The backends of each service port: those that its slots name, and those whose lines say that they are
/// used though no slot names them (a UDP flow may).
///
/// Returns their ids, sorted. Clears the state of lines that belong to nobody: the service port id that they name may be
/// given out again.
fn find_members(backing: &mut impl Backing, found: &mut Found) -> Vec<u32> {
    let length = backing.length(Table::Backends);
    let mut named: BTreeMap<u32, u32> = BTreeMap::new();
    let mut owners = BTreeSet::new();
    for view in found.views.values() {
        owners.insert(view.service_port);
        for slot in 0..view.run.length {
            let cell = load_cell(backing, view.run.cell(slot));
            let id = lb_common::view::slot_of(cell, slot);
            if !(1..length).contains(&id) {
                continue;
            }
            let owner = named.entry(id).or_insert(view.service_port);
            if *owner != view.service_port
                && load_backend(backing, id).service_port == view.service_port
            {
                *owner = view.service_port;
            }
        }
    }
    let mut used = Vec::new();
    for id in 1..length {
        let state = backing.load(Table::Backends, id, BackendLine::STATE_WORD);
        let by_slot = named.get(&id).copied();
        if state == 0 && by_slot.is_none() {
            continue;
        }
        let line = load_backend(backing, id);
        let is_member = owners.contains(&line.service_port)
            && by_slot.is_none_or(|owner| owner == line.service_port);
        if !is_member && state != 0 {
            backing.store(Table::Backends, id, BackendLine::STATE_WORD, 0);
        }
        if !is_member && by_slot.is_none() {
            continue;
        }
        used.push(id);
        let owner = by_slot.unwrap_or(line.service_port);
        found.ports.entry(owner).or_default().members.push(Member {
            // One that only a slot of another service port names can be nobody's choice, and goes with the slots.
            address: if is_member {
                form::socket_address(line.address, line.port)
            } else {
                form::socket_address([0; 4], 0)
            },
            id,
            state: if is_member { line.state } else { 0 },
            weight: 1,
        });
    }
    for port in found.ports.values_mut() {
        port.members.sort_by_key(|member| member.address);
    }
    used
}

/// The allocators: what is used, and what rests because a socket may still name it.
fn allocators(
    backing: &impl Backing,
    found: &Found,
    mut backends: Vec<u32>,
) -> io::Result<(Ids, Ids, Ids, Resting)> {
    let mut resting = Resting::default();
    let mut frontends: BTreeSet<u32> = found.frontends.values().map(|state| state.id).collect();
    let length = backing.length(Table::FrontendList);
    let mut named = BTreeSet::new();
    backing.places(&mut |_, pair| {
        if (1..length).contains(&pair.frontend) {
            named.insert(pair.frontend);
        }
    })?;
    for id in named {
        if frontends.insert(id) {
            resting.named.push(Item::Frontend(id));
        }
    }
    let length = backing.length(Table::Backends);
    let counted: Vec<u32> = (1..length)
        .filter(|&id| backing.load(Table::Backends, id, BackendLine::ACTIVE_WORD) != 0)
        .filter(|id| backends.binary_search(id).is_err())
        .collect();
    resting
        .named
        .extend(counted.iter().copied().map(Item::Backend));
    backends.extend(counted);
    backends.sort_unstable();
    let frontends: Vec<u32> = frontends.into_iter().collect();
    let views: Vec<u32> = found.views.keys().copied().collect();
    Ok((
        Ids::without(backing.length(Table::FrontendList), &frontends),
        Ids::without(backing.length(Table::Views), &views),
        Ids::without(length, &backends),
        resting,
    ))
}

fn load_view(backing: &impl Backing, index: u32) -> View {
    let words: [u64; View::WORDS] =
        std::array::from_fn(|word| backing.load(Table::Views, index, word));
    bytemuck::must_cast(words)
}

pub(super) fn load_frontend(backing: &impl Backing, id: u32) -> FrontendEntry {
    let words: [u64; FrontendEntry::WORDS] =
        std::array::from_fn(|word| backing.load(Table::FrontendList, id, word));
    bytemuck::must_cast(words)
}

pub(super) fn load_backend(backing: &impl Backing, id: u32) -> BackendLine {
    let words: [u64; BackendLine::WORDS] =
        std::array::from_fn(|word| backing.load(Table::Backends, id, word));
    bytemuck::must_cast(words)
}
