//! Full tables: which Services are admitted, and what is reported.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::cases::{grace, remove, set, tables};
use super::random_cases;
use crate::catalog::Protocol;
use crate::policy::{Backend, FrontendKind, ServicePort, ServicePortKey};
use crate::tables::model::is_guard;
use crate::tables::testing::world::{World, any_world, backend, change, frontend, port};
use crate::tables::testing::{Memory, choice, wanted};
use crate::tables::{ApplyError, Refused, Table, Tables, Usage, encode};

/// A Service port created in that hour; none: without a date.
fn made(number: u8, hour: Option<u8>, backends: impl IntoIterator<Item = u8>) -> ServicePort {
    let backends: Vec<Backend> = backends.into_iter().map(backend).collect();
    let time = |hour| format!("2026-01-01T{hour:02}:00:00Z");
    ServicePort {
        created: hour.map(|hour| time(hour).parse().expect("a time")),
        ..port(number, backends)
    }
}

fn names(refused: &[Refused]) -> Vec<&str> {
    refused.iter().map(|r| &*r.port.key.name).collect()
}

fn in_effect(tables: &Tables<Memory>) -> Vec<String> {
    let mut names: Vec<String> = tables
        .model
        .ids
        .keys()
        .map(|key| key.name.to_string())
        .collect();
    names.sort();
    names
}

fn addresses(tables: &Tables<Memory>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = tables.backends().map(|b| b.address).collect();
    all.sort();
    all
}

fn usage(tables: &Tables<Memory>, table: &str) -> Usage {
    let mut all = tables.usage().into_iter();
    all.find(|usage| usage.table == table)
        .expect("it is one of them")
}

#[test]
fn the_newest_services_are_refused_and_undated_ones_after_them() {
    // Room for four backends.
    let mut tables = tables([10, 10, 10, 5]);
    let refused = tables.apply(set([
        made(1, None, [1]),
        made(2, Some(9), [1]),
        made(3, Some(2), [1]),
        made(4, Some(5), [1, 2]),
        made(5, Some(9), [1]),
        made(6, None, [1]),
    ]));
    // If two have the same age, the name decides.
    assert_eq!(in_effect(&tables), ["service-2", "service-3", "service-4"]);
    assert_eq!(names(&refused), ["service-5", "service-1", "service-6"]);
    assert!(refused.iter().all(|refused| !refused.is_in_effect));

    // There is room for one more.
    tables.apply(remove(&made(3, None, [])));
    grace(&mut tables);
    let refused = tables.apply(set(refused.into_iter().map(|refused| refused.port)));
    assert_eq!(names(&refused), ["service-1", "service-6"]);
}

#[test]
fn an_admitted_service_is_not_evicted_for_an_older_one() {
    let mut tables = tables([10, 10, 10, 4]);
    assert!(tables.apply(set([made(1, Some(1), [1])])).is_empty());
    assert!(tables.apply(set([made(2, Some(9), [1, 2])])).is_empty());
    let refused = tables.apply(set([made(1, Some(1), [1, 2]), made(2, Some(9), 1..=3)]));
    assert_eq!(names(&refused), ["service-1", "service-2"]);
    assert!(refused.iter().all(|refused| refused.is_in_effect));
    assert_eq!(addresses(&tables), [1, 1, 2].map(|n| backend(n).address));
}

#[test]
fn removals_do_not_wait_for_services_that_do_not_fit() {
    let mut tables = tables([2, 10, 10, 4]);
    tables.apply(set([made(1, None, 1..=3)]));
    // A pod is replaced: the removed one is no longer a choice.
    let refused = tables.apply(set([made(1, None, 2..=4)]));
    assert_eq!(names(&refused), ["service-1"]);
    assert_eq!(addresses(&tables), [2, 3].map(|n| backend(n).address));
    grace(&mut tables);
    assert!(tables.apply(set([made(1, None, 2..=4)])).is_empty());
    assert_eq!(addresses(&tables), [2, 3, 4].map(|n| backend(n).address));

    // A frontend that does not fit does not hold up a backend, or the other way round.
    let mut more = made(1, None, [2, 3]);
    more.frontends.push(frontend(FrontendKind::ExternalIp, 1));
    assert_eq!(tables.apply(set([more])).len(), 1);
    assert_eq!(addresses(&tables), [2, 3].map(|n| backend(n).address));
    grace(&mut tables);
    let mut more = made(1, None, 2..=6);
    more.frontends.push(frontend(FrontendKind::ExternalIp, 1));
    assert_eq!(tables.apply(set([more])).len(), 1);
    assert_eq!(addresses(&tables), [2, 3].map(|n| backend(n).address));
    assert_eq!(tables.counts().frontends, 1);
    let new = made(2, None, [1]);
    assert_eq!(tables.apply(set([new])).len(), 1);
    assert_eq!(in_effect(&tables), ["service-1"]);
}

#[test]
fn weights_give_way_where_slots_are_full() {
    let mut tables = tables([4, 10, 10, 20]);
    let heavy = |backends: u8| {
        let mut port = made(1, None, 1..=backends);
        port.backends[0].weight = 100;
        port
    };
    let key = frontend(FrontendKind::ClusterIp, 1);
    let key = encode::frontend_key(&key, Protocol::Tcp).expect("it has an address");
    let shares = |tables: &Tables<Memory>| -> Vec<usize> {
        let choice = choice(&tables.backing.state, &key).expect("a frontend");
        choice.into_values().collect()
    };
    assert!(tables.apply(set([made(1, None, 1..=6)])).is_empty());
    // 104 slots do not fit, and the removed backend goes nevertheless.
    let refused = tables.apply(set([heavy(5)]));
    assert_eq!(names(&refused), ["service-1"]);
    assert_eq!(shares(&tables), [1; 5]);
    assert_eq!(addresses(&tables).len(), 5);
}

#[test]
fn a_refused_service_port_reports_its_full_need() {
    let mut tables = tables([4, 3, 10, 10]);
    let many = |number: u8, more: u8| {
        let mut port = made(number, None, [1]);
        let more = (0..more).map(|n| frontend(FrontendKind::ExternalIp, number * 10 + n));
        port.frontends.extend(more);
        port.frontends.sort();
        port
    };
    assert!(tables.apply(set([many(1, 1)])).is_empty());
    let full = |refused: &[Refused]| match &refused[0].error {
        ApplyError::Full {
            table,
            needed,
            left,
        } => (*table, *needed, *left),
        error => panic!("{error}"),
    };
    let refused = tables.apply(set([many(2, 2)]));
    assert_eq!(full(&refused), (Table::FrontendList, 3, 1));
    assert_eq!(usage(&tables, "FRONTEND_LIST").used, 2);
    // The last frontend and the last view.
    assert!(tables.apply(set([made(2, None, [])])).is_empty());
    let refused = tables.apply(set([many(1, 2)]));
    assert_eq!(full(&refused), (Table::FrontendList, 1, 0));
    // One view for each scope.
    let mut differs = many(1, 1);
    differs.backends[0].external = false;
    let refused = tables.apply(set([differs]));
    assert_eq!(full(&refused), (Table::Views, 1, 0));
}

#[test]
fn quarantined_ids_count_as_used() {
    let mut tables = tables([10, 10, 20, 20]);
    let used = |tables: &Tables<Memory>| tables.usage().map(|usage| usage.used);
    // FRONTENDS also has the guard of the ClusterIP.
    tables.apply(set([made(1, None, 1..=12)]));
    assert_eq!(used(&tables), [2, 1, 1, 6, 12]);
    tables.apply(remove(&made(1, None, [])));
    assert_eq!(used(&tables), [0, 1, 1, 6, 12]);
    grace(&mut tables);
    assert_eq!(used(&tables), [0; 5]);
    assert_eq!(usage(&tables, "BACKENDS").capacity, 19);
    assert_eq!(usage(&tables, "SLOTS").capacity, 20);
}

#[test]
fn only_service_ports_that_can_fit_are_retried() {
    let full = |table, needed| ApplyError::Full {
        table,
        needed,
        left: 0,
    };
    let mut tables = tables([10, 10, 6, 10]);
    tables.apply(set([made(1, None, 1..=5), made(2, None, 1..=4)]));
    let mut room = tables.headroom();
    assert!(!room.take(&full(Table::Backends, 1)));
    assert!(room.take(&full(Table::Slots, 3)));
    assert!(!room.take(&full(Table::Slots, 3)));
    // Its view's own cells may already be free.
    assert!(room.take(&full(Table::Slots, 1)));
    assert!(room.take(&full(Table::Views, 7)));
    assert!(!room.take(&full(Table::Views, 1)));
}

proptest! {
    #![proptest_config(random_cases(400))]

    #[test]
    fn fitting_ports_are_current_and_others_choose_no_removed_backend(
        worlds in prop::collection::vec(any_world(), 1..10),
        graces in any::<u16>(),
    ) {
        // Enough for every view and slot.
        let mut tables = tables([4, 24, 120, 9]);
        let (mut before, mut waiting) = (World::new(), Vec::<ServicePortKey>::new());
        for (turn, world) in worlds.into_iter().enumerate() {
            let mut update = change(&before, &world);
            waiting.retain(|key| world.contains_key(key) && world.get(key) == before.get(key));
            update.changed.extend(waiting.iter().map(|key| world[key].clone()));
            let refused = tables.apply(update);
            waiting = refused.into_iter().map(|refused| refused.port.key).collect();

            let state = &tables.backing().state;
            let all = wanted(world.values());
            for key in state.frontends.keys().filter(|key| !is_guard(key)) {
                let chosen = choice(state, key).unwrap_or_default();
                let wanted = all.get(key).cloned().unwrap_or_default();
                prop_assert!(all.contains_key(key), "{key:?} is gone");
                prop_assert!(chosen.keys().all(|address| wanted.contains_key(address)));
            }
            let fit = world.values().filter(|port| !waiting.contains(&port.key));
            for (key, backends) in &wanted(fit) {
                let chosen = choice(state, key);
                prop_assert_eq!(chosen.as_ref(), Some(backends));
            }
            if graces >> turn & 1 == 1 && tables.begin_grace() {
                tables.end_grace();
            }
            before = world;
        }
    }
}
