//! Which service ports that an earlier agent left are recognized, after every store at which it may have been stopped.

use super::cases::{remove, set, tables};
use super::steps::stepwise;
use crate::policy::{Backend, Frontend, FrontendKind, ServicePort, Update};
use crate::tables::plan::Rollout;
use crate::tables::testing::world::{backend, frontend, port};
use crate::tables::testing::{Memory, State, choice, outside};
use crate::tables::{Tables, encode};

/// The external IP that Services have one after the other.
fn external() -> Frontend {
    frontend(FrontendKind::ExternalIp, 9)
}

/// A NodePort on an address that sorts before all ClusterIPs.
fn node_port() -> Frontend {
    Frontend {
        kind: FrontendKind::NodePort,
        address: Some([10, 0, 0, 1].into()),
        port: 30_001,
    }
}

/// A Service with a ClusterIP, a NodePort and the external IP. With `differs`, these two have another view than the ClusterIP.
fn service(differs: bool) -> ServicePort {
    let backend = Backend {
        internal: !differs,
        ..backend(1)
    };
    let mut service = port(1, vec![backend]);
    service.frontends.extend([node_port(), external()]);
    service.frontends.sort();
    service
}

/// The state after each store of an update.
fn states(tables: &mut Tables<Memory>, update: Update) -> Vec<State> {
    let mut states = Vec::new();
    let rollout = Rollout::of(update, &mut tables.model);
    stepwise(tables, rollout, &mut |state| states.push(state.clone()));
    states
}

fn has(state: &State, frontend: &Frontend) -> bool {
    let key = encode::frontend_key(frontend, port(1, vec![]).key.protocol);
    state
        .frontends
        .contains_key(&key.expect("it has an address"))
}

/// An external IP that moved while no agent ran: its new Service is not mistaken for the old one.
#[test]
fn a_recovered_service_is_matched_by_its_cluster_ip() {
    let external = frontend(FrontendKind::ExternalIp, 9);
    let mut old = port(2, vec![backend(2)]);
    old.frontends.push(external.clone());
    let mut tables = tables([10, 10, 10, 10]);
    tables.apply(set([old.clone()]));
    let id = tables.backends().next().expect("one backend").id;

    let mut tables = Tables::recover(tables.backing).expect("memory can be read");
    old.frontends.pop();
    let mut new = port(1, vec![backend(1)]);
    new.frontends.push(external);
    let key = encode::frontend_key(&old.frontends[0], old.key.protocol).expect("it has an address");
    let before = choice(&tables.backing.state, &key);
    let mut check = |state: &mut State| {
        assert_eq!(choice(state, &key), before, "the other Service's backends");
    };
    let rollout = Rollout::of(set([old.clone(), new]), &mut tables.model);
    stepwise(&mut tables, rollout, &mut check);
    let rollout = Rollout::of_orphans(&mut tables.model);
    stepwise(&mut tables, rollout, &mut check);
    let kept = tables.backends().find(|backend| *backend.port == old.key);
    assert_eq!(kept.map(|backend| backend.id), Some(id));
}

#[test]
fn the_cluster_ip_is_the_first_frontend_to_come_and_the_last_to_go() {
    for differs in [false, true] {
        let mut tables = tables([10, 10, 10, 10]);
        let service = service(differs);
        let cluster_ip = frontend(FrontendKind::ClusterIp, 1);
        let mut stops = states(&mut tables, set([service.clone()]));
        stops.extend(states(&mut tables, remove(&service)));
        let partly = |state: &&State| {
            let number = service.frontends.iter().filter(|f| has(state, f)).count();
            (1..service.frontends.len()).contains(&number)
        };
        let partly: Vec<&State> = stops.iter().filter(partly).collect();
        assert!(partly.len() > 2, "{} stops", partly.len());
        assert!(partly.into_iter().all(|state| has(state, &cluster_ip)));
    }
}

/// The agent was stopped while it added a Service, and the external IP has moved to a newer Service. The tables have room for one
/// of them. The next agent must recognize the half that was written as the older Service's, and keep its place.
#[test]
fn a_half_written_service_is_not_refused_in_favour_of_a_newer_one() {
    let room = [10, 3, 10, 10];
    for state in states(&mut tables(room), set([service(true)])) {
        let mut memory = Memory::new(room);
        memory.state = state;
        let mut tables = Tables::recover(memory).expect("memory can be read");
        let mut older = service(true);
        older.frontends.retain(|frontend| *frontend != external());
        let mut newer = port(2, vec![backend(2)]);
        newer.frontends.push(external());
        let refused = tables.apply(set([older, newer.clone()]));
        tables.settle();
        let refused: Vec<_> = refused
            .into_iter()
            .map(|refused| refused.port.key)
            .collect();
        assert_eq!(refused, [newer.key]);
        assert!(has(&tables.backing.state, &node_port()));
    }
}

/// The agent was stopped while an external IP moved from one Service to another. Meanwhile a third Service has the ClusterIP of
/// the second one, so that it is taken for it.
#[test]
fn packets_to_a_frontend_that_was_being_moved_never_reach_a_third_service() {
    let room = [10, 10, 10, 10];
    let local = |number| {
        let backend = Backend {
            outside: true,
            ..backend(number)
        };
        ServicePort {
            external_local: true,
            ..port(number, vec![backend])
        }
    };
    let with = |frontend: Frontend, mut port: ServicePort| {
        port.frontends.push(frontend);
        port
    };
    let key = encode::frontend_key(&external(), port(1, vec![]).key.protocol);
    let key = key.expect("it has an address");
    let chosen = |state: &State| choice(state, &outside(&key)).unwrap_or_default();
    for other in [None, Some(frontend(FrontendKind::ExternalIp, 8))] {
        let mut first = with(external(), local(1));
        first.frontends.extend(other.clone());
        let mut tables = tables(room);
        tables.apply(set([first.clone()]));
        first.frontends.retain(|frontend| *frontend != external());
        let stops = states(&mut tables, set([first, with(external(), local(2))]));
        let mut back = 0;
        for state in stops {
            let mut memory = Memory::new(room);
            memory.state = state;
            let before = chosen(&memory.state);
            let mut tables = Tables::recover(memory).expect("memory can be read");
            back += usize::from(chosen(&tables.backing.state) != before);
            let mut third = local(3);
            third.frontends = vec![
                frontend(FrontendKind::ClusterIp, 2),
                frontend(FrontendKind::ExternalIp, 7),
            ];
            for state in states(&mut tables, set([third])) {
                assert!(!chosen(&state).contains_key(&backend(3).address));
            }
        }
        // Between the stores of its entry and of its element.
        assert!(back > 0);
    }
}
