//! Random sequences of changes: read back, observed at every store, taken over.

use lb_common::{Backend as BackendLine, FrontendKey, SlotRun, View};
use proptest::prelude::*;

use super::random_cases;
use super::steps::stepwise;
use crate::tables::plan::Rollout;
use crate::tables::testing::world::{self, World, any_world, change};
use crate::tables::testing::{
    Allowed, Memory, State, cell, check_allocators, check_reads_back, grace, wanted,
};
use crate::tables::{Table, Tables, encode};

/// Enough for everything that these tests add without a grace period.
const LENGTHS: [u32; 4] = [160, 100, 2_400, 260];

/// The ids that a reader holds that began before a store and continues after it.
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
        .map(|number| (number, cell(state, number)))
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

/// Without its weight, which may change under a reader.
fn backend_words(state: &State, id: u32) -> [u64; BackendLine::STATE_WORD] {
    let words: [u64; BackendLine::WORDS] =
        std::array::from_fn(|word| state.load(Table::Backends, id, word));
    let mut line: BackendLine = bytemuck::must_cast(words);
    line.more_weight = 0;
    let words: [u64; BackendLine::WORDS] = bytemuck::must_cast(line);
    std::array::from_fn(|word| words[word])
}

fn service_port_of(state: &State, view: u32) -> u32 {
    let words = std::array::from_fn(|word| state.load(Table::Views, view, word));
    bytemuck::must_cast::<[u64; View::WORDS], View>(words).service_port
}

impl SlowReader {
    fn check(&self, state: &State) {
        assert_eq!(service_port_of(state, self.view), self.service_port);
        for &(number, value) in &self.cells {
            assert_eq!(cell(state, number), value, "cell {number}");
        }
        for &(id, words) in &self.backends {
            assert_eq!(backend_words(state, id), words, "backend {id}");
        }
    }
}

proptest! {
    #![proptest_config(random_cases(400))]

    #[test]
    fn the_last_world_is_read_back_and_all_else_is_free(
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
        prop_assert!(!tables.has_quarantined());
        check_allocators(&tables);
    }

    #[test]
    fn a_reader_sees_the_old_or_the_new_choice_at_every_store(
        worlds in prop::collection::vec(any_world(), 2..6),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut before = World::new();
        for world in worlds {
            let allowed = Allowed::between(&tables.backing.state, &[&before], &world);
            let rollout = Rollout::of(change(&before, &world), &mut tables.model);
            let refused = stepwise(&mut tables, rollout, &mut |state| allowed.check(state));
            prop_assert!(refused.is_empty());
            grace::<1>(&mut tables);
            before = world;
        }
    }

    #[test]
    fn ids_that_a_slow_reader_holds_are_not_reused_before_a_grace_period(
        worlds in prop::collection::vec(any_world(), 2..8),
        graces in any::<u8>(),
    ) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut readers: Vec<SlowReader> = Vec::new();
        let mut before = World::new();
        for (turn, world) in worlds.into_iter().enumerate() {
            // A grace period ends only after all readers that ran at its start have ended.
            if graces >> turn & 1 == 1 {
                readers.clear();
                grace::<1>(&mut tables);
            }
            readers.extend(
                wanted(before.values()).keys().filter_map(|key| slow_reader(&tables.backing().state, key)),
            );
            let rollout = Rollout::of(change(&before, &world), &mut tables.model);
            let refused = stepwise(&mut tables, rollout, &mut |state| {
                readers.iter().for_each(|reader| reader.check(state));
            });
            prop_assert!(refused.is_empty(), "{refused:?}");
            before = world;
        }
    }

    #[test]
    fn a_recovered_writer_has_the_allocators_of_its_predecessor(
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
            tables.model.free.backends.all_left(),
            tables.model.free.views.all_left(),
            tables.model.free.frontends.all_left(),
            tables.model.free.runs.all_left(),
            tables.model.free.runs.banks().clone(),
        );
        let rows = |tables: &Tables<Memory>| {
            let mut ports = tables.model.ports.clone();
            for port in ports.values_mut() {
                // The order in memory is irrelevant.
                port.frontends.sort();
                port.views.sort_by_key(|view| view.index);
            }
            let model = &tables.model;
            (ports, model.frontends.clone(), model.guards.in_place.clone())
        };
        let before_it = rows(&tables);
        let mut recovered = Tables::recover(tables.backing).expect("memory can be read");
        prop_assert_eq!(rows(&recovered), before_it);
        prop_assert_eq!(
            left,
            (
                recovered.model.free.backends.all_left(),
                recovered.model.free.views.all_left(),
                recovered.model.free.frontends.all_left(),
                recovered.model.free.runs.all_left(),
                recovered.model.free.runs.banks().clone(),
            )
        );
        // Applying the same world again stores nothing.
        let stores = recovered.backing.stores;
        recovered.apply(change(&World::new(), &before));
        recovered.settle();
        prop_assert_eq!(recovered.backing.stores, stores);
    }

    #[test]
    fn tables_with_arbitrary_contents_are_taken_over(
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
            let key = encode::frontend_key(
                &world::frontend(crate::policy::FrontendKind::ClusterIp, number),
                crate::catalog::Protocol::Tcp,
            ).expect("it has an address");
            let value = if is_tagged {
                let entry = encode::frontend_entry(&key, 1, view.wrapping_mul(7) % 60);
                let words: [u64; 3] = bytemuck::must_cast(entry);
                for (word, value) in words.into_iter().enumerate() {
                    memory.state.words.insert((Table::FrontendList, frontend % LENGTHS[0], word), value);
                }
                lb_common::FrontendValue::new(&key, lb_common::Target { view, frontend, is_host_only: false, has_source_ranges: false })
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
