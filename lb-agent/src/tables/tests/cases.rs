//! Single cases.

use std::collections::HashSet;

use lb_common::{Backend as BackendLine, FrontendKey, FrontendValue, Pair, Target};

use crate::policy::{FrontendKind, ServicePort, Update};
use crate::tables::cells::location;
use crate::tables::model::{is_guard, load_backend};
use crate::tables::testing::world::{World, backend, change, frontend, port};
use crate::tables::testing::{Memory, check_allocators, check_reads_back, choice};
use crate::tables::{ApplyError, Backing as _, Table, Tables, encode};

pub fn tables(lengths: [u32; 4]) -> Tables<Memory> {
    Tables::recover(Memory::new(lengths)).expect("memory can be read")
}

pub fn set(ports: impl IntoIterator<Item = ServicePort>) -> Update {
    let world: World = ports.into_iter().map(|p| (p.key.clone(), p)).collect();
    change(&World::new(), &world)
}

pub fn remove(port: &ServicePort) -> Update {
    Update {
        changed: Vec::new(),
        removed: vec![port.key.clone()],
        ..Update::default()
    }
}

fn write_line(tables: &mut Tables<Memory>, backend: u32, line: BackendLine) {
    let words: [u64; BackendLine::WORDS] = bytemuck::must_cast(line);
    for (word, value) in words.into_iter().enumerate() {
        let at = (Table::Backends, backend, word);
        tables.backing.state.words.insert(at, value);
    }
}

/// A cell both of whose slots name a backend.
fn both_slots(backend: u32) -> u64 {
    u64::from(backend) << 32 | u64::from(backend)
}

pub fn grace(tables: &mut Tables<Memory>) {
    assert!(tables.begin_grace());
    tables.end_grace();
}

#[test]
fn a_backend_id_is_quarantined_until_no_socket_counts_on_it() {
    let mut tables = tables([10, 10, 10, 3]);
    tables.apply(set([port(1, vec![backend(1)])]));
    let id = tables.backends().next().expect("one backend").id;
    let active = (Table::Backends, id, BackendLine::ACTIVE_WORD);
    tables.backing.state.words.insert(active, 1);

    tables.apply(set([port(1, vec![backend(2)])]));
    grace(&mut tables);
    assert!(tables.has_quarantined());
    let refused = tables.apply(set([port(1, vec![backend(2), backend(3)])]));
    assert!(matches!(
        refused[0].error,
        ApplyError::Full {
            table: Table::Backends,
            needed: 1,
            left: 0
        }
    ));

    tables.backing.state.words.insert(active, 0);
    tables.free_unnamed();
    assert!(!tables.has_quarantined());
    let refused = tables.apply(set([port(1, vec![backend(2), backend(3)])]));
    assert!(refused.is_empty());
}

#[test]
fn a_frontend_id_is_quarantined_until_no_socket_names_it() {
    let mut tables = tables([2, 10, 10, 10]);
    let first = port(1, vec![backend(1)]);
    tables.apply(set([first.clone()]));
    let pair = Pair {
        frontend: 1,
        backend: 1,
        has_flows: false,
    };
    tables.backing.state.entries = vec![(7, pair), (8, pair)];
    tables.apply(remove(&first));
    grace(&mut tables);
    assert_eq!(tables.apply(set([port(2, vec![])])).len(), 1);

    tables.backing.state.entries.pop();
    tables.free_unnamed();
    assert_eq!(tables.apply(set([port(2, vec![])])).len(), 1);

    // The last socket closed without running a hook.
    let gone = HashSet::from([7, 9]);
    assert_eq!(tables.sweep(&gone).expect("memory takes it"), 1);
    assert!(tables.apply(set([port(2, vec![])])).is_empty());
}

#[test]
fn a_service_port_that_does_not_fit_keeps_its_previous_state() {
    let mut tables = tables([10, 10, 10, 4]);
    let old = port(1, vec![backend(1)]);
    tables.apply(set([old.clone()]));
    let (ids, runs) = (
        tables.model.free.backends.all_left(),
        tables.model.free.runs.all_left(),
    );
    let many = (1..6).map(backend).collect();
    let refused = tables.apply(set([port(1, many)]));
    assert_eq!(refused.len(), 1);
    assert_eq!(tables.model.free.backends.all_left(), ids);
    assert_eq!(tables.model.free.runs.all_left(), runs);
    let key = encode::frontend_key(&old.frontends[0], old.key.protocol).expect("it has an address");
    let seen = choice(&tables.backing().state, &key).expect("it is served");
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [backend(1).address]);
}

#[test]
fn an_unchanged_service_port_costs_no_store() {
    let mut tables = tables([10, 10, 10, 10]);
    let port = port(1, vec![backend(1), backend(2)]);
    tables.apply(set([port.clone()]));
    let stores = tables.backing.stores;
    tables.apply(set([port]));
    assert_eq!(tables.backing.stores, stores);
}

#[test]
fn a_frontend_that_moves_keeps_its_id() {
    let mut tables = tables([10, 10, 10, 10]);
    let mut old = port(1, vec![backend(1)]);
    let external = frontend(FrontendKind::ExternalIp, 9);
    old.frontends.push(external.clone());
    tables.apply(set([old.clone()]));
    let key = encode::frontend_key(&external, old.key.protocol).expect("it has an address");
    let id = tables.model.frontends[&key].id;

    old.frontends.pop();
    let mut new = port(2, vec![backend(2)]);
    new.frontends.push(external);
    tables.apply(set([old, new]));
    assert_eq!(tables.model.frontends[&key].id, id);
    let seen = choice(&tables.backing().state, &key).expect("it is served");
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [backend(2).address]);
}

#[test]
fn a_node_port_is_skipped_while_the_node_has_no_addresses() {
    let mut tables = tables([10, 10, 10, 10]);
    let mut service = port(1, vec![backend(1)]);
    service.frontends.push(crate::policy::Frontend {
        kind: FrontendKind::NodePort,
        address: None,
        port: 30080,
    });
    assert!(tables.apply(set([service])).is_empty());
    assert_eq!(tables.counts().frontends, 1);
}

/// Another load balancer may serve the ports that did not fit.
#[test]
fn a_cluster_ip_has_no_guard_while_one_of_its_ports_does_not_fit() {
    let mut tables = tables([10, 10, 10, 4]);
    let fits = port(1, vec![backend(1)]);
    let mut other = port(1, (1..9).map(backend).collect());
    other.key.port = "other".into();
    for frontend in &mut other.frontends {
        frontend.port += 1;
    }
    let guards = |tables: &Tables<Memory>| {
        let keys = tables.backing.state.frontends.keys();
        keys.filter(|key| is_guard(key)).count()
    };
    tables.apply(set([fits.clone()]));
    assert_eq!(guards(&tables), 1);
    assert_eq!(tables.apply(set([other.clone()])).len(), 1);
    assert_eq!(guards(&tables), 0);
    other.backends.truncate(1);
    assert!(tables.apply(set([other])).is_empty());
    assert_eq!(guards(&tables), 1);
}

/// The tag does not cover the byte that is always 0.
#[test]
fn an_element_with_an_invalid_key_is_removed() {
    let mut memory = Memory::new([10, 10, 10, 10]);
    let address = encode::address([10, 96, 0, 1].into());
    let mut key = FrontendKey::new(address, 0, 0);
    let target = Target {
        view: 0,
        frontend: 0,
        is_host_only: false,
        has_source_ranges: false,
    };
    let value = FrontendValue::new(&key, target);
    key.zero = 1;
    memory.state.frontends.insert(key, value);
    let tables = Tables::recover(memory).expect("memory can be read");
    assert!(tables.backing().state.frontends.is_empty());
}

/// After arbitrary writes, two lines of BACKENDS have one address: the one that the slots name must stay.
#[test]
fn the_backend_that_slots_name_is_kept_among_duplicates() {
    let mut writer = tables([10, 10, 10, 10]);
    writer.apply(set([port(1, vec![backend(1), backend(2)])]));
    let members = &writer.model.ports[&writer.model.ids[&port(1, vec![]).key]].backends;
    let [first, second] = [members[0].id, members[1].id];
    let line = load_backend(&writer.backing, first);
    write_line(&mut writer, second, line);

    let mut tables = Tables::recover(writer.backing).expect("memory can be read");
    let wanted = port(1, vec![backend(1)]);
    assert!(tables.apply(set([wanted.clone()])).is_empty());
    tables.settle();
    grace(&mut tables);
    check_allocators(&tables);
    check_reads_back(&tables, &World::from([(wanted.key.clone(), wanted)]));
}

/// After arbitrary writes, a slot names another service port's backend, which keeps its identity.
#[test]
fn a_backend_belongs_to_the_service_port_of_its_line_and_slot() {
    let ports = [port(1, vec![backend(1)]), port(2, vec![backend(2)])];
    let mut writer = tables([10, 10, 10, 10]);
    writer.apply(set(ports.clone()));
    let ids = ports.each_ref().map(|port| writer.model.ids[&port.key]);
    let [mine, foreign] = ids.map(|id| {
        let port = &writer.model.ports[&id];
        (port.views[0].run.cell(0), port.backends[0].id)
    });
    let (table, index, word) = location(foreign.0);
    let both = both_slots(mine.1);
    writer.backing.store(table, index, word, both);

    let mut tables = Tables::recover(writer.backing).expect("memory can be read");
    assert_eq!(tables.model.ports[&ids[0]].backends[0].id, mine.1);
    let stores = tables.backing.stores;
    tables.apply(set([ports[0].clone()]));
    assert_eq!(tables.backing.stores, stores);
    assert!(tables.apply(set(ports.clone())).is_empty());
    grace(&mut tables);
    check_allocators(&tables);
    check_reads_back(&tables, &ports.map(|port| (port.key.clone(), port)).into());
}

/// After arbitrary writes, a line names a service port that does not exist, and a slot names the line. Its state must not
/// remain until a service port with that id exists.
#[test]
fn an_unowned_backend_has_no_state() {
    let mut writer = tables([10, 10, 10, 10]);
    writer.apply(set([port(1, vec![backend(1)])]));
    let id = writer.backends().next().expect("one backend").id;
    let mut line = load_backend(&writer.backing, id);
    assert_ne!(line.state, 0);
    line.service_port = 2;
    write_line(&mut writer, id, line);

    let tables = Tables::recover(writer.backing).expect("memory can be read");
    assert_eq!(load_backend(&tables.backing, id).state, 0);
}

/// Removing a stray element must not make the model forget the guard with the same address.
#[test]
fn a_stray_element_does_not_hide_the_guard() {
    let mut writer = tables([10, 10, 10, 10]);
    let service = port(1, vec![backend(1)]);
    writer.apply(set([service.clone()]));
    let guards = |tables: &Tables<Memory>| {
        let keys = tables.backing.state.frontends.keys();
        keys.filter(|key| is_guard(key)).count()
    };
    let guard = writer.backing.state.frontends.iter();
    let (key, value) = guard
        .map(|(key, value)| (*key, *value))
        .find(|(key, _)| is_guard(key))
        .expect("a ClusterIP has a guard");
    let stray = FrontendKey { zero: 1, ..key };
    writer.backing.state.frontends.insert(stray, value);

    let mut tables = Tables::recover(writer.backing).expect("memory can be read");
    assert_eq!(guards(&tables), 1);
    tables.apply(set([service.clone()]));
    tables.apply(remove(&service));
    assert_eq!(guards(&tables), 0);
}
