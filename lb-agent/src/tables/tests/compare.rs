//! What the tables contain for a frontend, beside what is wanted.

use lb_common::backend::state;
use lb_common::{FrontendEntry, FrontendKey, View};
use proptest::prelude::*;

use crate::catalog::Protocol;
use crate::policy::{Frontend, FrontendKind, ServicePort};
use crate::tables::testing::Memory;
use crate::tables::testing::world::{World, any_world, backend, change, frontend, port};
use crate::tables::{Comparison, Table, Tables, encode};

/// Enough for any world, and for its quarantined Maglev tables.
const LENGTHS: [u32; 4] = [40, 24, 20_000, 80];

proptest! {
    #[test]
    fn intact_tables_have_no_difference(worlds in prop::collection::vec(any_world(), 1..5)) {
        let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
        let mut before = World::new();
        for world in worlds {
            tables.apply(change(&before, &world));
            if tables.begin_grace() {
                tables.end_grace();
            }
            for port in world.values() {
                for frontend in &port.frontends {
                    let found = tables.compare(port, frontend).expect("memory can be read");
                    prop_assert_eq!(&found.differences, &[]);
                    prop_assert!(found.element.is_some());
                }
            }
            before = world;
        }
    }
}

/// A service port with a ClusterIP and an external IP for packets from outside.
fn one() -> (ServicePort, Frontend) {
    let mut port = port(1, vec![backend(1), backend(2), backend(3)]);
    port.backends[0].outside = true;
    port.external_local = true;
    let external = frontend(FrontendKind::ExternalIp, 1);
    port.frontends.push(external.clone());
    (port, external)
}

/// Tables with the service port, changed by another program.
fn after(port: &ServicePort, spoil: impl FnOnce(&mut Memory, &Comparison)) -> Tables<Memory> {
    let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
    let update = change(
        &World::new(),
        &World::from([(port.key.clone(), port.clone())]),
    );
    tables.apply(update);
    let last = port.frontends.last().expect("it has a frontend");
    let found = tables.compare(port, last).expect("memory can be read");
    assert_eq!(found.differences, []);
    spoil(&mut tables.backing, &found);
    tables
}

/// The differences of the external IP after another program has changed the tables.
#[track_caller]
fn check(expected: &[&str], spoil: impl FnOnce(&mut Memory, &Comparison)) {
    let (port, external) = one();
    let tables = after(&port, spoil);
    let found = tables.compare(&port, &external);
    let found = found.expect("memory can be read").differences;
    let words: Vec<&str> = found.iter().map(|of| of.word()).collect();
    assert_eq!(words, expected, "{found:?}");
}

fn key() -> FrontendKey {
    let external = frontend(FrontendKind::ExternalIp, 1);
    encode::frontend_key(&external, Protocol::Tcp).expect("it has an address")
}

/// Overwrites a word.
fn set(memory: &mut Memory, table: Table, index: u32, word: usize, value: u64) {
    memory.state.words.insert((table, index, word), value);
}

#[test]
fn elements_and_entries_of_frontends_are_compared() {
    check(&["NoElement"], |memory, _| {
        memory.state.frontends.remove(&key());
    });
    check(&["Element"], |memory, _| {
        let other = FrontendKey::new(key().address, 81, lb_common::TCP);
        let value = memory.state.frontends[&key()];
        let foreign = lb_common::FrontendValue::new(&other, value.read(key().tag()).expect("own"));
        memory.state.frontends.insert(key(), foreign);
    });
    let kind = FrontendEntry::WORDS - 1;
    check(&["FrontendEntry"], |memory, found| {
        let id = found.element.expect("it is there").id;
        set(memory, Table::FrontendList, id, 0, 7);
    });
    check(&["FrontendEntry"], |memory, found| {
        let id = found.element.expect("it is there").id;
        set(memory, Table::FrontendList, id, kind, 0);
    });
}

#[test]
fn views_and_their_slots_are_compared() {
    check(&["View"], |memory, found| {
        let index = found.views[1].index;
        let word = 1 + View::SLOTS_WORD;
        let before = memory.state.load(Table::Views, index, word);
        // The affinity's seconds are the upper half.
        set(memory, Table::Views, index, word, before | 5 << 32);
    });
    check(
        &["BackendMissing", "BackendMissing", "BackendMissing"],
        |memory, found| {
            let index = found.views[0].index;
            set(memory, Table::Views, index, View::SLOTS_WORD, 0);
        },
    );
    check(
        &[
            "Slots",
            "BackendMissing",
            "BackendMissing",
            "BackendMissing",
        ],
        |memory, found| {
            let index = found.views[0].index;
            let run = 0x0fff_ffff_u64 << 32 | 3;
            set(memory, Table::Views, index, View::SLOTS_WORD, run);
        },
    );
    check(&["BackendUnwanted", "BackendMissing"], |memory, found| {
        let index = found.views[1].index;
        let other = found.views[0].backends[1].id;
        for cell in 0..4 {
            let word = View::CELLS_WORD + cell;
            set(memory, Table::Views, index, word, other.into());
        }
    });
}

#[test]
fn backends_are_compared() {
    check(&["BackendState"], |memory, found| {
        let id = found.views[0].backends[1].id;
        let word = lb_common::Backend::STATE_WORD;
        set(memory, Table::Backends, id, word, state::SERVING);
    });
    check(&["BackendWeight"], |memory, found| {
        let id = found.views[0].backends[1].id;
        let word = lb_common::Backend::OWNER_WORD;
        let before = memory.state.load(Table::Backends, id, word);
        set(memory, Table::Backends, id, word, before | 4 << 48);
    });
    check(&["BackendUnwanted", "BackendMissing"], |memory, found| {
        let id = found.views[0].backends[1].id;
        set(memory, Table::Backends, id, 1, 0);
    });
}

#[test]
fn the_guard_of_a_cluster_ip_is_found() {
    let (port, _) = one();
    let address = port.frontends[0].address.expect("it has an address");
    let mut tables = after(&port, |_, _| {});
    assert!(tables.is_guarded(address).expect("memory can be read"));
    let guard = FrontendKey::new(encode::address(address), 0, 0);
    tables.backing.state.frontends.remove(&guard);
    assert!(!tables.is_guarded(address).expect("memory can be read"));
}
