//! Tables that another program has written to: a check restores them.

use std::collections::BTreeMap;

use lb_common::config::{GUARDED_IPV4, NEXT_SERVICE_PORT, SERVICE_CIDRS, cidr};
use lb_common::{Backend as BackendLine, FrontendEntry, FrontendKey, FrontendValue, Pair, View};
use proptest::prelude::*;

use crate::policy::{Algorithm, FrontendKind};
use crate::tables::cells::location;
use crate::tables::testing::world::{World, any_world, backend, change, frontend, port};
use crate::tables::testing::{Memory, State, choice};
use crate::tables::{Check, Drift, Table, Tables, encode, entries};

/// Enough for any world, and for its quarantined Maglev tables.
const LENGTHS: [u32; 4] = [40, 24, 20_000, 80];

/// Tables that contain a world. The last world is the wanted one.
fn tables_of(worlds: &[World]) -> Tables<Memory> {
    let mut tables = Tables::recover(Memory::new(LENGTHS)).expect("memory can be read");
    tables.refuse_unknown(&["10.96.0.0/16".parse().expect("a net")]);
    let mut before = World::new();
    for world in worlds {
        let refused = tables.apply(change(&before, world));
        assert!(refused.is_empty(), "{refused:?}");
        if tables.begin_grace() {
            tables.end_grace();
        }
        before.clone_from(world);
    }
    tables
}

/// A complete check.
fn check(tables: &mut Tables<Memory>, check: &mut Check) -> Drift {
    loop {
        if let Some(drift) = tables.check(check) {
            return drift;
        }
    }
}

/// Every word that the agent stores.
fn words(tables: &Tables<Memory>) -> Vec<(Table, u32, usize)> {
    let mut words = Vec::new();
    for state in tables.model.frontends.values() {
        words.extend((0..FrontendEntry::WORDS).map(|word| (Table::FrontendList, state.id, word)));
    }
    for port in tables.model.ports.values() {
        for member in &port.backends {
            let of_agent = 0..BackendLine::AGENT_WORDS;
            words.extend(of_agent.map(|word| (Table::Backends, member.id, word)));
        }
        for view in &port.views {
            words.extend((0..View::CELLS_WORD).map(|word| (Table::Views, view.index, word)));
            words.extend((0..view.run.cells()).map(|cell| location(view.run.cell(cell * 2))));
        }
    }
    let config = [
        NEXT_SERVICE_PORT,
        GUARDED_IPV4,
        SERVICE_CIDRS,
        cidr(SERVICE_CIDRS, 0),
        cidr(SERVICE_CIDRS, 1),
    ];
    words.extend(config.map(|word| (Table::Config, word, 0)));
    words
}

/// The contents of the tables without words that are 0.
fn contents(state: &State) -> (BTreeMap<String, u64>, BTreeMap<FrontendKey, FrontendValue>) {
    let words = state.words.all().filter(|(_, value)| *value != 0);
    let words = words.map(|(at, value)| (format!("{at:?}"), value));
    (words.collect(), state.frontends.clone())
}

fn key(number: u8) -> FrontendKey {
    let frontend = frontend(FrontendKind::ExternalIp, number);
    encode::frontend_key(&frontend, crate::catalog::Protocol::Tcp).expect("it has an address")
}

/// One service port of each algorithm.
fn with_algorithms(mut world: World) -> World {
    let algorithms = Algorithm::NAMES.map(|(_, algorithm)| algorithm);
    for (port, algorithm) in world.values_mut().zip(algorithms.into_iter().cycle()) {
        port.algorithm = algorithm;
    }
    world
}

fn any_tables() -> impl Strategy<Value = Tables<Memory>> {
    prop::collection::vec(any_world().prop_map(with_algorithms), 1..4)
        .prop_map(|worlds| tables_of(&worlds))
}

proptest! {
    #[test]
    fn checking_intact_tables_stores_nothing(mut tables in any_tables()) {
        let stores = tables.backing.stores;
        prop_assert_eq!(check(&mut tables, &mut Check::default()), Drift::default());
        prop_assert_eq!(tables.backing.stores, stores);
        // Tables that another agent left are restored too.
        let mut recovered = Tables::recover(tables.backing).expect("memory can be read");
        let stores = recovered.backing.stores;
        prop_assert_eq!(check(&mut recovered, &mut Check::default()), Drift::default());
        prop_assert_eq!(recovered.backing.stores, stores);
    }

    #[test]
    fn any_overwritten_word_is_restored(
        mut tables in any_tables(),
        scribbles in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..6),
    ) {
        let before = contents(&tables.backing.state);
        let words = words(&tables);
        for (which, value) in scribbles {
            tables.backing.state.words.insert(words[which.index(words.len())], value);
        }
        check(&mut tables, &mut Check::default());
        prop_assert_eq!(contents(&tables.backing.state), before);
    }

    #[test]
    fn any_changed_element_is_restored(
        mut tables in any_tables(),
        which in any::<prop::sample::Index>(),
        value in any::<Option<(u64, u64)>>(),
        foreign in 0..9_u8,
    ) {
        let before = contents(&tables.backing.state);
        let keys: Vec<FrontendKey> = tables.backing.state.frontends.keys().copied().collect();
        if !keys.is_empty() {
            let key = keys[which.index(keys.len())];
            match value {
                Some((view, frontend)) => {
                    let value = FrontendValue::from_words(view, frontend);
                    tables.backing.state.frontends.insert(key, value);
                }
                None => drop(tables.backing.state.frontends.remove(&key)),
            }
        }
        let key = key(foreign);
        tables.backing.state.frontends.insert(key, FrontendValue::from_words(1, 1));
        let drift = check(&mut tables, &mut Check::default());
        prop_assert_eq!(contents(&tables.backing.state), before);
        prop_assert!(drift.repaired["FRONTENDS"] >= 1);
    }

    #[test]
    fn changes_between_two_portions_are_not_drift(
        worlds in prop::collection::vec(any_world().prop_map(with_algorithms), 2..8),
    ) {
        let mut tables = tables_of(&[]);
        let (mut looking, mut before) = (Check::default(), World::new());
        for world in worlds {
            tables.apply(change(&before, &world));
            if tables.begin_grace() {
                tables.end_grace();
            }
            let stores = tables.backing.stores;
            if let Some(drift) = tables.check(&mut looking) {
                prop_assert_eq!(drift, Drift::default());
            }
            prop_assert_eq!(tables.backing.stores, stores);
            before = world;
        }
    }
}

#[test]
fn a_large_table_is_checked_in_portions() {
    let world: World = (0..4)
        .map(|number| port(number, (0..45).map(backend).collect()))
        .map(|mut port| {
            port.algorithm = Algorithm::Maglev;
            (port.key.clone(), port)
        })
        .collect();
    let mut tables = Tables::recover(Memory::new([40, 24, 20_000, 200])).expect("memory");
    assert!(tables.apply(change(&World::new(), &world)).is_empty());
    let mut looking = Check::default();
    let portions = std::iter::from_fn(|| match tables.check(&mut looking) {
        None => Some(()),
        Some(drift) => {
            assert_eq!(drift, Drift::default());
            None
        }
    });
    // Each table of 8,191 slots is one portion.
    assert_eq!(portions.count(), 9);
}

#[test]
fn unknown_slots_are_filled_from_the_members() {
    let mut heavy = backend(1);
    heavy.weight = 3;
    let wanted = port(1, vec![heavy, backend(2), backend(3)]);
    let world: World = [(wanted.key.clone(), wanted)].into();
    let mut tables = tables_of(&[world]);
    // A new agent believes a wrong weight until it has read the objects.
    let id = tables.backends().next().expect("three backends").id;
    let word = BackendLine::OWNER_WORD;
    let written = tables.backing.state.load(Table::Backends, id, word);
    let without = written & !(0xffff << 48);
    let place = (Table::Backends, id, word);
    tables.backing.state.words.insert(place, without);
    let mut tables = Tables::recover(tables.backing).expect("memory can be read");
    let run = tables
        .model
        .ports
        .values()
        .flat_map(|port| &port.views)
        .next();
    let run = run.expect("one view").run;
    let (table, index, word) = location(run.cell(0));
    tables.backing.state.words.insert((table, index, word), 77);
    let drift = check(&mut tables, &mut Check::default());
    assert_eq!(drift.repaired, BTreeMap::from([("SLOTS", 1)]));
    assert_eq!(
        drift.to_string(),
        "SLOTS (1) of 1 service port that no object has asked for yet"
    );
    let frontend = frontend(FrontendKind::ClusterIp, 1);
    let key = encode::frontend_key(&frontend, crate::catalog::Protocol::Tcp).expect("an address");
    let choice = choice(&tables.backing.state, &key).expect("it is a frontend");
    assert_eq!(choice.into_values().collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_weight_is_restored() {
    let mut heavy = backend(1);
    heavy.weight = 3;
    let wanted = port(1, vec![heavy, backend(2)]);
    let world: World = [(wanted.key.clone(), wanted)].into();
    let mut tables = tables_of(&[world]);
    let id = tables.backends().next().expect("two backends").id;
    let word = BackendLine::OWNER_WORD;
    let right = tables.backing.state.load(Table::Backends, id, word);
    assert_eq!(right >> 48, 2, "less 1");
    let place = (Table::Backends, id, word);
    tables.backing.state.words.insert(place, right ^ 5 << 48);
    let drift = check(&mut tables, &mut Check::default());
    assert_eq!(drift.repaired, BTreeMap::from([("BACKENDS", 1)]));
    assert_eq!(tables.backing.state.load(Table::Backends, id, word), right);
}

#[test]
fn the_report_names_some_of_the_services() {
    let ports = (0..7).map(|number| port(number, vec![backend(number)]));
    let world: World = ports.map(|port| (port.key.clone(), port)).collect();
    let mut tables = tables_of(&[world]);
    tables.backing.state.frontends.clear();
    let drift = check(&mut tables, &mut Check::default());
    let named: Vec<String> = (0..5)
        .map(|number| format!("default/service-{number}/TCP (IPv4)"))
        .collect();
    assert_eq!(
        drift.to_string(),
        format!("FRONTENDS (14) of {} and 2 others", named.join(", "))
    );
}

#[test]
fn a_lasting_wrong_count_is_corrected() {
    let world: World = [port(1, vec![backend(1)])]
        .map(|port| (port.key.clone(), port))
        .into();
    let mut tables = tables_of(&[world]);
    let id = tables.backends().next().expect("one backend").id;
    let frontend = tables
        .model
        .frontends
        .values()
        .next()
        .expect("one frontend")
        .id;
    let pair = Pair {
        frontend,
        backend: id,
        ..Pair::default()
    };
    tables.backing.state.entries = vec![(4, pair), (8, pair)];
    let active = (Table::Backends, id, BackendLine::ACTIVE_WORD);
    let mut looking = Check::default();
    let mut look = |tables: &mut Tables<Memory>| check(tables, &mut looking).repaired;

    tables.backing.state.words.insert(active, 7);
    assert_eq!(look(&mut tables), BTreeMap::new());
    // Meanwhile another socket has connected, or one got the same backend again.
    tables.backing.state.entries[0].0 = 12;
    assert_eq!(look(&mut tables), BTreeMap::new());
    let connections = (Table::Backends, id, BackendLine::CONNECTIONS_WORD);
    tables.backing.state.words.insert(connections, 1);
    assert_eq!(look(&mut tables), BTreeMap::new());
    assert_eq!(entries::active(&tables.backing, id), 7);
    // Nothing has changed.
    assert_eq!(look(&mut tables), BTreeMap::from([("active", 1)]));
    assert_eq!(entries::active(&tables.backing, id), 2);
    assert_eq!(look(&mut tables), BTreeMap::new());
}
