//! Any sequence of changes: read back, seen at every store, stopped at every store.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::rc::Rc;

use lb_common::view::{banks, is_own};
use lb_common::{Backend as BackendLine, FrontendKey, SlotRun, View};
use proptest::prelude::*;

use super::memory::{Memory, State};
use super::reader::{choice, wanted};
use super::world::{World, any_world, change};
use crate::policy::FrontendKind;
use crate::tables::cell::place;
use crate::tables::guard::is_guard;
use crate::tables::{Table, Tables, form};

/// Enough for the old and the new of every world at once, and little more, so that ids come round soon.
const LENGTHS: [u32; 4] = [40, 24, 120, 80];

fn grace<const N: usize>(tables: &mut Tables<Memory>) {
    for _ in 0..N {
        if tables.begin_grace() {
            tables.grace_is_over();
        }
    }
}

fn check_reads_back(tables: &Tables<Memory>, world: &World) {
    let state = &tables.backing().state;
    let wanted = wanted(world.values());
    let (guards, keys): (Vec<FrontendKey>, Vec<FrontendKey>) =
        state.frontends.keys().partition(|key| is_guard(key));
    assert_eq!(keys, wanted.keys().copied().collect::<Vec<_>>());
    let guarded: BTreeSet<_> = guards.iter().map(|key| key.address).collect();
    let cluster_ips = world.values().flat_map(|port| &port.frontends);
    let cluster_ips = cluster_ips
        .filter(|frontend| frontend.kind == FrontendKind::ClusterIp)
        .filter_map(|frontend| frontend.address)
        .map(form::address);
    assert_eq!(guarded, cluster_ips.collect());
    for (key, backends) in &wanted {
        assert_eq!(choice(state, key).as_ref(), Some(backends));
    }
}

/// Everything is either reachable or free, and nothing is both.
fn check_allocators(tables: &Tables<Memory>) {
    assert!(!tables.rests(), "something still rests: {tables:?}");
    let mut backends: BTreeSet<u32> = (1..LENGTHS[3]).collect();
    let mut views: BTreeSet<u32> = (1..LENGTHS[1]).collect();
    let mut frontends: BTreeSet<u32> = (1..LENGTHS[0]).collect();
    let mut cells: BTreeSet<u32> = (0..LENGTHS[2]).collect();
    let mut own = HashSet::new();
    for state in tables.frontends.values() {
        assert!(frontends.remove(&state.id));
    }
    for port in tables.ports.values() {
        for member in &port.members {
            assert!(backends.remove(&member.id));
        }
        for view in &port.views {
            assert!(views.remove(&view.index));
            if is_own(view.run.base) {
                assert!(banks(view.index).contains(&view.run.base));
                own.insert(view.run.base);
                continue;
            }
            for cell in view.run.base..view.run.base + view.run.cells() {
                assert!(cells.remove(&cell));
            }
        }
    }
    assert_eq!(tables.backend_ids.all_left(), Vec::from_iter(backends));
    assert_eq!(tables.view_indexes.all_left(), Vec::from_iter(views));
    assert_eq!(tables.frontend_ids.all_left(), Vec::from_iter(frontends));
    assert_eq!(tables.runs.banks(), &own);
    let left = tables.runs.all_left();
    assert!(
        left.windows(2)
            .all(|pair| pair[0].0 + pair[0].1 < pair[1].0)
    );
    let left: Vec<u32> = left.into_iter().flat_map(|(b, n)| b..b + n).collect();
    assert_eq!(left, Vec::from_iter(cells));
}

/// What a frontend that moves to another service port may show until it has moved: its old one's new choice.
fn moving(before: &World, after: &World) -> BTreeSet<(FrontendKey, BTreeMap<SocketAddr, usize>)> {
    let wanted_after = wanted(after.values());
    let mut may_show = BTreeSet::new();
    for old in before.values() {
        let Some(new) = after.get(&old.key) else {
            continue;
        };
        for kind in [FrontendKind::ClusterIp, FrontendKind::ExternalIp] {
            let mut moved = new.clone();
            moved.frontends = old.frontends.clone();
            moved.frontends.iter_mut().for_each(|f| f.kind = kind);
            may_show.extend(wanted([&moved].into_iter()));
        }
    }
    may_show.retain(|(key, _)| wanted_after.contains_key(key));
    may_show
}

/// What a reader holds that began before a store and goes on after it.
struct SlowReader {
    view: u32,
    service_port: u32,
    cells: Vec<(u32, u64)>,
    backends: Vec<(u32, [u64; BackendLine::STATE_WORD])>,
}

fn slow_reader(state: &State, key: &FrontendKey) -> Option<SlowReader> {
    let view = state.frontends.get(key)?.read(key.tag())?.view;
    let run = SlotRun::from_word(state.load(Table::Views, view, View::SLOTS_WORD));
    let cells: Vec<(u32, u64)> = (run.base..run.base + run.cells())
        .map(|cell| (cell, load_cell(state, cell)))
        .collect();
    let backends = cells
        .iter()
        .flat_map(|&(_, cell)| [0, 1].map(|slot| lb_common::view::slot_of(cell, slot)))
        .filter(|&id| id != 0)
        .map(|id| (id, backend_words(state, id)))
        .collect();
    Some(SlowReader {
        view,
        service_port: service_port_of(state, view),
        cells,
        backends,
    })
}

fn load_cell(state: &State, cell: u32) -> u64 {
    let (table, index, word) = place(cell);
    state.load(table, index, word)
}

fn backend_words(state: &State, id: u32) -> [u64; BackendLine::STATE_WORD] {
    std::array::from_fn(|word| state.load(Table::Backends, id, word))
}

fn service_port_of(state: &State, view: u32) -> u32 {
    let words = std::array::from_fn(|word| state.load(Table::Views, view, word));
    bytemuck::must_cast::<[u64; View::WORDS], View>(words).service_port
}

impl SlowReader {
    fn check(&self, state: &State) {
        assert_eq!(service_port_of(state, self.view), self.service_port);
        for &(cell, value) in &self.cells {
            assert_eq!(load_cell(state, cell), value, "cell {cell}");
        }
        for &(id, words) in &self.backends {
            assert_eq!(backend_words(state, id), words, "backend {id}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_last_world_is_read_back_and_the_rest_is_free(
        worlds in prop::collection::vec(any_world(), 1..8),
        graces in any::<u8>(),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut before = World::new();
        for (turn, world) in worlds.into_iter().enumerate() {
            let refused = tables.apply(change(&before, &world));
            prop_assert!(refused.is_empty(), "{refused:?}");
            check_reads_back(&tables, &world);
            if graces >> turn & 1 == 1 || turn % 2 == 1 {
                grace::<1>(&mut tables);
            }
            before = world;
        }
        grace::<2>(&mut tables);
        check_allocators(&tables);
    }

    #[test]
    fn at_every_store_a_reader_sees_the_old_choice_or_the_new(
        worlds in prop::collection::vec(any_world(), 2..6),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut before = World::new();
        for world in worlds {
            let (old, new) = (wanted(before.values()), wanted(world.values()));
            let moving = moving(&before, &world);
            tables.backing.observer = Some(Box::new(move |state| {
                for key in old.keys().chain(new.keys()) {
                    let seen = choice(state, key);
                    let is_whole = seen.as_ref() == old.get(key)
                        || seen.as_ref() == new.get(key)
                        || seen.as_ref().is_some_and(|seen| moving.contains(&(*key, seen.clone())));
                    assert!(is_whole, "{key:?}: {seen:?}");
                }
            }));
            let refused = tables.apply(change(&before, &world));
            prop_assert!(refused.is_empty());
            tables.backing.observer = None;
            grace::<1>(&mut tables);
            before = world;
        }
    }

    #[test]
    fn what_a_slow_reader_holds_is_not_used_again_before_a_grace_period(
        worlds in prop::collection::vec(any_world(), 2..8),
        graces in any::<u8>(),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let readers: Rc<RefCell<Vec<SlowReader>>> = Rc::default();
        let mut before = World::new();
        for (turn, world) in worlds.into_iter().enumerate() {
            // A grace period ends only when the readers that ran at its beginning have ended.
            if graces >> turn & 1 == 1 {
                readers.borrow_mut().clear();
                grace::<1>(&mut tables);
            }
            readers.borrow_mut().extend(
                wanted(before.values()).keys().filter_map(|key| slow_reader(&tables.backing().state, key)),
            );
            let watching = Rc::clone(&readers);
            tables.backing.observer = Some(Box::new(move |state| {
                watching.borrow().iter().for_each(|reader| reader.check(state));
            }));
            let refused = tables.apply(change(&before, &world));
            prop_assert!(refused.is_empty(), "{refused:?}");
            before = world;
        }
    }

    #[test]
    fn a_writer_that_stops_at_any_store_is_recovered(
        worlds in prop::collection::vec(any_world(), 2..6),
        last in any_world(),
        stop in any::<prop::sample::Index>(),
    ) {
        let run = |left| {
            let mut memory = Memory::new(LENGTHS);
            memory.left = left;
            let mut tables = Tables::recover(memory).expect("memory can be read");
            let mut before = World::new();
            for world in &worlds {
                tables.apply(change(&before, world));
                grace::<1>(&mut tables);
                before = world.clone();
            }
            tables.backing
        };
        let stores = run(None).stores;
        let mut memory = run(Some(stop.index(stores + 1)));
        memory.left = None;

        let mut tables = Tables::recover(memory).expect("memory can be read");
        prop_assert!(!tables.rests());
        check_allocators(&tables);
        // The next agent is told everything anew, then that this was everything.
        let refused = tables.apply(change(&World::new(), &last));
        prop_assert!(refused.is_empty(), "{refused:?}");
        tables.settle();
        check_reads_back(&tables, &last);
        grace::<2>(&mut tables);
        check_allocators(&tables);
    }

    #[test]
    fn a_recovered_writer_has_the_allocators_of_the_one_that_rested(
        worlds in prop::collection::vec(any_world(), 1..6),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut before = World::new();
        for world in worlds {
            tables.apply(change(&before, &world));
            grace::<1>(&mut tables);
            before = world;
        }
        grace::<2>(&mut tables);
        let left = (
            tables.backend_ids.all_left(),
            tables.view_indexes.all_left(),
            tables.frontend_ids.all_left(),
            tables.runs.all_left(),
            tables.runs.banks().clone(),
        );
        let mut recovered = Tables::recover(tables.backing).expect("memory can be read");
        prop_assert_eq!(
            left,
            (
                recovered.backend_ids.all_left(),
                recovered.view_indexes.all_left(),
                recovered.frontend_ids.all_left(),
                recovered.runs.all_left(),
                recovered.runs.banks().clone(),
            )
        );
        // Told the same world again, it has nothing to store.
        let stores = recovered.backing.stores;
        recovered.apply(change(&World::new(), &before));
        recovered.settle();
        prop_assert_eq!(recovered.backing.stores, stores);
    }

    #[test]
    fn tables_with_anything_in_them_are_taken_over(
        words in prop::collection::vec((0..5_u8, 0..130_u32, 0..8_usize, any::<u64>(), any::<bool>()), 0..200),
        keys in prop::collection::vec((0..6_u8, 0..30_u32, 0..50_u32, any::<bool>()), 0..12),
        last in any_world(),
    ) {
        let mut memory = Memory::new(LENGTHS);
        for (table, index, word, value, is_small) in words {
            let (table, length, width) = match table {
                0 => (Table::FrontendList, LENGTHS[0], 3),
                1 => (Table::Views, LENGTHS[1], 8),
                2 => (Table::Slots, LENGTHS[2], 1),
                3 => (Table::Backends, LENGTHS[3], 4),
                _ => (Table::Config, 2, 1),
            };
            let value = if is_small { (value % 90) | (((value >> 40) % 90) << 32) } else { value };
            memory.state.words.insert((table, index % length, word % width), value);
        }
        for (number, view, frontend, is_tagged) in keys {
            let key = crate::tables::form::frontend_key(
                &super::world::frontend(crate::policy::FrontendKind::ClusterIp, number),
                crate::catalog::Protocol::Tcp,
            ).expect("it has an address");
            let value = if is_tagged {
                let entry = crate::tables::form::frontend_entry(&key, 1);
                let words: [u64; 3] = bytemuck::must_cast(entry);
                for (word, value) in words.into_iter().enumerate() {
                    memory.state.words.insert((Table::FrontendList, frontend % LENGTHS[0], word), value);
                }
                lb_common::FrontendValue::new(&key, lb_common::Target { view, frontend, is_host_only: false })
            } else {
                lb_common::FrontendValue::from_words(u64::from(view), u64::from(frontend))
            };
            memory.state.frontends.insert(key, value);
        }
        let mut tables = Tables::recover(memory).expect("memory can be read");
        let refused = tables.apply(change(&World::new(), &last));
        tables.settle();
        grace::<2>(&mut tables);
        if refused.is_empty() {
            check_reads_back(&tables, &last);
        }
    }
}
