//! Which sockets are stale.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use lb_common::{Pair, TCP, UDP};

use crate::catalog::Protocol;
use crate::policy::{Backend, ServicePort};
use crate::tables::testing::Memory;
use crate::tables::testing::world::{World, backend, change, port};
use crate::tables::{Stops, Tables, connections_to, encode};

/// A UDP Service and a TCP Service with these backends.
fn world(backends: &[Backend]) -> World {
    let of = |number, protocol| {
        let mut port = port(number, backends.to_vec());
        port.key.protocol = protocol;
        (port.key.clone(), port)
    };
    BTreeMap::from([of(1, Protocol::Udp), of(2, Protocol::Tcp)])
}

fn pod(number: u8) -> SocketAddr {
    backend(number).address
}

struct Case {
    tables: Tables<Memory>,
    world: World,
}

impl Case {
    /// One socket for each backend of each Service.
    fn start(backends: &[Backend]) -> Self {
        let world = world(backends);
        let mut tables = Tables::recover(Memory::new([10; 4])).expect("memory can be read");
        tables.apply(change(&World::new(), &world));
        let places = tables.backends().map(|backend| {
            let key = world.get(backend.port).and_then(first_frontend);
            let frontend = key.and_then(|key| tables.model.frontends.get(&key));
            Pair {
                frontend: frontend.expect("it has one").id,
                backend: backend.id,
                has_flows: false,
            }
        });
        let places = (1..).zip(places.collect::<Vec<_>>()).collect();
        tables.backing.state.entries = places;
        Self { tables, world }
    }

    fn go_to(&mut self, world: World) {
        self.tables.apply(change(&self.world, &world));
        self.world = world;
    }

    fn stale(&self, wants_tcp: bool) -> Vec<(u8, SocketAddr)> {
        let stale = self.tables.stale(wants_tcp).expect("memory can be read");
        let mut stale: Vec<_> = stale.iter().map(|s| (s.protocol, s.peer)).collect();
        stale.sort();
        stale
    }
}

fn first_frontend(port: &ServicePort) -> Option<lb_common::FrontendKey> {
    let frontend = port.frontends.first()?;
    encode::frontend_key(frontend, port.key.protocol)
}

#[test]
fn sockets_of_removed_backends_are_stale_and_tcp_only_on_request() {
    let mut case = Case::start(&[backend(1), backend(2)]);
    assert_eq!(case.stale(true), []);
    assert_eq!(case.tables.stops(), Stops::default());
    case.go_to(world(&[backend(2)]));
    assert_eq!(case.stale(false), [(UDP, pod(1))]);
    assert_eq!(case.stale(true), [(TCP, pod(1)), (UDP, pod(1))]);
    assert_eq!(case.tables.stops(), Stops { tcp: 1, udp: 1 });
    // A Service is deleted: its frontends are gone, but the entries still name them.
    case.go_to(World::new());
    assert_eq!(case.stale(false), [(UDP, pod(1)), (UDP, pod(2))]);
    assert_eq!(case.tables.stops(), Stops { tcp: 2, udp: 2 });
}

#[test]
fn sockets_of_serving_or_chosen_backends_are_not_stale() {
    let mut case = Case::start(&[backend(1), backend(2)]);
    let terminating = Backend {
        internal: false,
        external: false,
        ..backend(1)
    };
    let not_serving = Backend {
        serving: false,
        ..backend(2)
    };
    case.go_to(world(&[terminating, not_serving]));
    assert_eq!(case.stale(true), []);
    assert_eq!(case.tables.stops(), Stops::default());
}

#[test]
fn sockets_of_an_earlier_agent_are_found() {
    let mut case = Case::start(&[backend(1), backend(2)]);
    case.go_to(world(&[backend(2)]));
    let memory = std::mem::replace(&mut case.tables.backing, Memory::new([10; 4]));
    case.tables = Tables::recover(memory).expect("memory can be read");
    assert_eq!(case.stale(false), [(UDP, pod(1))]);
    // A leftover that no object wants.
    case.tables.settle();
    assert_eq!(case.stale(false), [(UDP, pod(1)), (UDP, pod(2))]);
    assert_eq!(case.tables.stops(), Stops { tcp: 1, udp: 1 });
}

#[test]
fn invalid_entries_are_skipped() {
    let mut case = Case::start(&[backend(1)]);
    let pair = |frontend, backend| Pair {
        frontend,
        backend,
        has_flows: true,
    };
    let places = [pair(0, 9), pair(99, 9), pair(1, 99), pair(1, 0)];
    case.tables.backing.state.entries = (1..).zip(places).collect();
    assert_eq!(case.stale(true), []);
}

#[test]
fn the_connections_to_backends_are_found_whether_they_have_stopped_or_not() {
    let mut case = Case::start(&[backend(1), backend(2)]);
    let of = |case: &Case, number| {
        let backends = case.tables.backends();
        let ids = backends
            .filter(|of| of.address == pod(number))
            .map(|of| of.id);
        ids.collect::<BTreeSet<u32>>()
    };
    let (ids, others) = (of(&case, 1), of(&case, 2));
    assert_eq!(ids.len(), 2, "one over TCP, one over UDP");
    let peers = |case: &Case, ids: &BTreeSet<u32>| {
        let named = connections_to(case.tables.backing(), ids).expect("memory can be read");
        named.iter().map(|named| named.peer).collect::<Vec<_>>()
    };
    assert_eq!(peers(&case, &ids), [pod(1)]);
    case.go_to(world(&[backend(2)]));
    assert_eq!(peers(&case, &ids), [pod(1)]);
    assert_eq!(peers(&case, &others), [pod(2)]);
    assert_eq!(peers(&case, &BTreeSet::from([99])), []);
}
