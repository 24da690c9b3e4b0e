//! The model of the tables that an earlier agent left: FRONTENDS → VIEWS → SLOTS → BACKENDS. Everything unreachable is free.
//!
//! Nothing that is read here is trusted: a pinned table may contain anything. An element of FRONTENDS that makes no sense
//! is a stray. It has to be removed before anything else is stored, since the ids that it names are about to be given out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use lb_common::frontend::kind;
use lb_common::view::{BANK_SLOTS, banks, is_own};
use lb_common::{
    Address, Backend as BackendLine, FrontendEntry, FrontendKey, SlotRun, Target, View,
};

use super::super::backing::{ReadTables, SourcePrefix, Table};
use super::super::cells::{fingerprint_of, slots_of};
use super::super::encode;
use super::super::role::Role;
use super::extents::Extents;
use super::free::Free;
use super::guards::{Guards, is_guard};
use super::held::{HeldBackend, HeldFrontend, HeldPort, HeldView};
use super::ids::Ids;
use super::quarantine::{Item, Quarantine};
use super::record::{Model, Stops};

/// Tables as they were found, and what has to be stored before they are used.
#[derive(Debug)]
pub struct Found {
    pub model: Model,
    /// Elements of FRONTENDS that make no sense.
    pub strays: Vec<FrontendKey>,
    /// Backend ids whose state has to be cleared: their lines name a service port that does not have them.
    pub unowned: Vec<u32>,
    /// Elements of SOURCE_RANGES that belong to no service port.
    pub unowned_ranges: Vec<SourcePrefix>,
}

/// Reads tables, empty or not.
///
/// A grace period must have passed since the last agent ended: everything unreachable is free at once. Errors: FRONTENDS,
/// ORIGINS or SPILL cannot be read.
pub fn read(backing: &impl ReadTables) -> io::Result<Found> {
    let mut rows = Rows::default();
    find_frontends(backing, &mut rows)?;
    drop_overlaps(&mut rows);
    let mut unowned = Vec::new();
    let used_backends = find_backends(backing, &mut rows, &mut unowned);
    let (free, quarantine) = allocators(backing, &rows, used_backends)?;
    let mut guards = Guards::found(rows.guards);
    for (owner, view) in rows.views.into_values() {
        let view = HeldView {
            fingerprint: fingerprint_of(backing, view.run),
            ..view
        };
        rows.ports.entry(owner).or_default().views.push(view);
    }
    for (key, held) in &rows.frontends {
        let port = rows.ports.entry(held.owner).or_default();
        port.frontends.push(*key);
        port.protocol = key.protocol;
        if held.is_cluster_ip() {
            guards.add_frontend(key.address);
        }
    }
    let config = std::array::from_fn(|word| match u32::try_from(word) {
        Ok(word) if word < backing.length(Table::Config) => backing.load(Table::Config, word, 0),
        _ => 0,
    });
    let mut model = Model {
        config,
        ids: HashMap::new(),
        orphans: rows.ports.keys().copied().collect(),
        ports: rows.ports,
        frontends: rows.frontends.into_iter().collect(),
        guards,
        free,
        quarantine,
        stops: Stops::default(),
        ended: HashMap::new(),
        has_nat: false,
        nat_stores: 0,
        is_nat_stale: false,
    };
    let unowned_ranges = find_source_ranges(backing, &mut model)?;
    Ok(Found {
        model,
        strays: rows.strays,
        unowned,
        unowned_ranges,
    })
}

/// The rows that were found so far.
#[derive(Default)]
struct Rows {
    frontends: BTreeMap<FrontendKey, HeldFrontend>,
    /// The owner and the view, without its fingerprint, by index.
    views: BTreeMap<u32, (u32, HeldView)>,
    ports: HashMap<u32, HeldPort>,
    strays: Vec<FrontendKey>,
    guards: BTreeMap<Address, u32>,
}

impl Rows {
    /// A view that a frontend names, and its owner. Its role is the outside one until a frontend has it as its own.
    fn view(&mut self, backing: &impl ReadTables, index: u32) -> (u32, &mut HeldView) {
        let (owner, held) = self.views.entry(index).or_insert_with(|| {
            let line = load_view(backing, index);
            let held = HeldView {
                index,
                run: SlotRun::from_word(line.slots),
                role: Role::Outside,
                algorithm: line.algorithm,
                affinity_seconds: line.affinity_seconds,
                member: line.member,
                flags: line.flags,
                fingerprint: 0,
            };
            (line.service_port, held)
        });
        (*owner, held)
    }
}

/// Sorts the elements of FRONTENDS into those that name a view and the strays.
fn find_frontends(backing: &impl ReadTables, rows: &mut Rows) -> io::Result<()> {
    let mut ids = BTreeSet::new();
    let mut elements = backing.frontends()?;
    elements.sort_by_key(|(key, _)| *key);
    for (key, value) in elements {
        if key.zero != 0 {
            rows.strays.push(key);
            continue;
        }
        if is_guard(&key) {
            // An unreadable one is written again.
            let verdict = value.read(key.tag()).map_or(u32::MAX, |t| t.frontend);
            rows.guards.insert(key.address, verdict);
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
            has_source_ranges,
        }) = read
        else {
            rows.strays.push(key);
            continue;
        };
        let entry = load_frontend(backing, frontend);
        if (entry.address, entry.port, entry.protocol) != (key.address, key.port, key.protocol)
            || entry.outside_view >= backing.length(Table::Views)
        {
            rows.strays.push(key);
            continue;
        }
        let (owner, held) = rows.view(backing, view);
        if entry.kind == kind::CLUSTER_IP {
            held.role = Role::Internal;
        } else if held.role == Role::Outside {
            held.role = Role::External;
        }
        if entry.outside_view != 0 {
            rows.view(backing, entry.outside_view);
        }
        let held = HeldFrontend {
            id: frontend,
            view,
            owner,
            kind: entry.kind,
            is_host_only,
            has_source_ranges,
            outside_view: entry.outside_view,
        };
        rows.frontends.insert(key, held);
    }
    // A run that is neither within SLOTS nor the view's own makes its frontends strays.
    let cells = backing.length(Table::Slots);
    let broken: BTreeSet<u32> = rows
        .views
        .iter()
        .filter(|(index, (_, view))| {
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
    drop_views(rows, &broken);
    Ok(())
}

/// Of two views whose runs overlap, the one that begins later goes.
fn drop_overlaps(rows: &mut Rows) {
    let mut runs: Vec<(SlotRun, u32)> = rows
        .views
        .iter()
        .filter(|(_, (_, view))| view.run.cells() > 0 && !is_own(view.run.base))
        .map(|(&index, (_, view))| (view.run, index))
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
    drop_views(rows, &broken);
}

fn drop_views(rows: &mut Rows, broken: &BTreeSet<u32>) {
    if broken.is_empty() {
        return;
    }
    rows.views.retain(|index, _| !broken.contains(index));
    let frontends = std::mem::take(&mut rows.frontends);
    for (key, state) in frontends {
        if broken.contains(&state.view) || broken.contains(&state.outside_view) {
            rows.strays.push(key);
        } else {
            rows.frontends.insert(key, state);
        }
    }
}

/// The backends of each service port: those that its slots name, and those that no slot names but whose lines have a state
/// (a UDP flow may use them). Returns their ids, sorted.
///
/// `unowned`: gets the ids of lines with a state that no service port has. That state has to be cleared: the service port
/// id that they name may be given out again.
fn find_backends(backing: &impl ReadTables, rows: &mut Rows, unowned: &mut Vec<u32>) -> Vec<u32> {
    let length = backing.length(Table::Backends);
    let mut named: BTreeMap<u32, u32> = BTreeMap::new();
    let mut owners = BTreeSet::new();
    for &(service_port, view) in rows.views.values() {
        owners.insert(service_port);
        for id in slots_of(backing, view.run) {
            if !(1..length).contains(&id) {
                continue;
            }
            let owner = named.entry(id).or_insert(service_port);
            if *owner != service_port && load_backend(backing, id).service_port == service_port {
                *owner = service_port;
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
            unowned.push(id);
        }
        if !is_member && by_slot.is_none() {
            continue;
        }
        used.push(id);
        let owner = by_slot.unwrap_or(line.service_port);
        let held = HeldBackend {
            // Only a slot of another service port names it: it cannot be chosen, and is freed with the slots.
            address: if is_member {
                encode::socket_address(line.address, line.port)
            } else {
                encode::socket_address([0; 4], 0)
            },
            id,
            state: if is_member { line.state } else { 0 },
            weight: line.more_weight.saturating_add(1),
        };
        rows.ports.entry(owner).or_default().backends.push(held);
    }
    for port in rows.ports.values_mut() {
        port.backends.sort_by_key(|backend| backend.address);
    }
    used
}

/// Gives each service port its source ranges. Returns those without a service port.
fn find_source_ranges(
    backing: &impl ReadTables,
    model: &mut Model,
) -> io::Result<Vec<SourcePrefix>> {
    let mut unowned = Vec::new();
    for prefix in backing.source_ranges()? {
        match model.ports.get_mut(&prefix.service_port()) {
            Some(port) => {
                port.source_ranges.insert(prefix);
            }
            None => unowned.push(prefix),
        }
    }
    Ok(unowned)
}

/// What is free, and what is quarantined because a socket may still name it.
fn allocators(
    backing: &impl ReadTables,
    rows: &Rows,
    mut backends: Vec<u32>,
) -> io::Result<(Free, Quarantine)> {
    let mut quarantine = Quarantine::default();
    let mut frontends: BTreeSet<u32> = rows.frontends.values().map(|held| held.id).collect();
    let length = backing.length(Table::FrontendList);
    let mut named = BTreeSet::new();
    backing.entries(&mut |_, pair| {
        if (1..length).contains(&pair.frontend) {
            named.insert(pair.frontend);
        }
    })?;
    for id in named {
        if frontends.insert(id) {
            quarantine.named.push(Item::Frontend(id));
        }
    }
    let length = backing.length(Table::Backends);
    let counted: Vec<u32> = (1..length)
        .filter(|&id| backing.load(Table::Backends, id, BackendLine::ACTIVE_WORD) != 0)
        .filter(|id| backends.binary_search(id).is_err())
        .collect();
    let items = counted.iter().copied().map(Item::Backend);
    quarantine.named.extend(items);
    backends.extend(counted);
    backends.sort_unstable();
    let frontends: Vec<u32> = frontends.into_iter().collect();
    let views: Vec<u32> = rows.views.keys().copied().collect();
    let mut runs: Vec<(u32, u32)> = rows
        .views
        .values()
        .map(|(_, view)| (view.run.base, view.run.cells()))
        .filter(|&(_, cells)| cells > 0)
        .collect();
    runs.sort_unstable();
    let free = Free {
        frontends: Ids::without(backing.length(Table::FrontendList), &frontends),
        views: Ids::without(backing.length(Table::Views), &views),
        backends: Ids::without(length, &backends),
        runs: Extents::without(backing.length(Table::Slots), &runs),
    };
    Ok((free, quarantine))
}

pub fn load_view(backing: &impl ReadTables, index: u32) -> View {
    let words: [u64; View::WORDS] =
        std::array::from_fn(|word| backing.load(Table::Views, index, word));
    bytemuck::must_cast(words)
}

pub fn load_frontend(backing: &impl ReadTables, id: u32) -> FrontendEntry {
    let words: [u64; FrontendEntry::WORDS] =
        std::array::from_fn(|word| backing.load(Table::FrontendList, id, word));
    bytemuck::must_cast(words)
}

pub fn load_backend(backing: &impl ReadTables, id: u32) -> BackendLine {
    let words: [u64; BackendLine::WORDS] =
        std::array::from_fn(|word| backing.load(Table::Backends, id, word));
    bytemuck::must_cast(words)
}
