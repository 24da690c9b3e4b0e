//! Which grace a stopped backend gets, with the tables in memory.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use lb_common::Backend as BackendLine;

use crate::agent::drains::{Rule, Rules as _};
use crate::agent::engine::Engine;
use crate::catalog::{Change, Kind, ObjectName};
use crate::policy::{NodePorts, Options};
use crate::source::Manifests;
use crate::tables::testing::Memory;
use crate::tables::{Backing as _, Table, Tables};

const DEFAULT: u64 = 60;

/// A Service and its backends 10.1.0.N.
fn yaml(name: &str, cluster_ip: u8, drain: &str, backends: &[u8]) -> String {
    let endpoints = backends
        .iter()
        .map(|of| format!("{{addresses: [10.1.0.{of}]}}"));
    let endpoints: Vec<String> = endpoints.collect();
    format!(
        "kind: Service
apiVersion: v1
metadata: {{name: {name}, annotations: {{{drain}}}}}
spec: {{clusterIP: 10.96.0.{cluster_ip}, ports: [{{port: 80}}]}}
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080}}]
endpoints: [{}]
",
        endpoints.join(", ")
    )
}

fn drain(time: &str) -> String {
    format!("socklb.dev/drain: {time}")
}

struct Case(Engine<Memory>);

impl Case {
    fn new(default: Option<u64>) -> Self {
        Self::over(default, Memory::new([100; 4]))
    }

    fn over(default: Option<u64>, memory: Memory) -> Self {
        let options = Options {
            drain: default.map(Duration::from_secs),
            ..Options::default()
        };
        let tables = Tables::recover(memory).expect("memory can be read");
        let node_ports = NodePorts {
            addresses: Vec::new(),
            range: (30_000, 32_767),
            allowed: Vec::new(),
            primary: None,
        };
        Self(Engine::new(options, node_ports, tables))
    }

    fn set(&mut self, yaml: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("objects.yaml"), yaml).expect("a file");
        let (_, listing) = Manifests::open(vec![folder.path().to_owned()]).expect("it can be read");
        let set = |change: &Change| matches!(change, Change::Set(_));
        let changes = listing.changes.into_iter().filter(set).collect();
        self.0.learn(changes, Vec::new());
        self.0.apply();
    }

    fn remove(&mut self, name: &str) {
        let of = |kind, name: String| {
            let name = ObjectName {
                namespace: "default".into(),
                name: name.into(),
            };
            Change::Remove(crate::catalog::ObjectId { kind, name })
        };
        let changes = vec![
            of(Kind::Service, name.to_owned()),
            of(Kind::EndpointSlice, format!("{name}-1")),
        ];
        self.0.learn(changes, Vec::new());
        self.0.apply();
    }

    /// The id of a backend, that of its service port, and its address.
    fn backend(&self, number: u8) -> (u32, u32, SocketAddr) {
        let address = SocketAddr::from(([10, 1, 0, number], 8080));
        let tables = self.0.tables();
        let mut backends = tables.backends();
        let found = backends.find(|backend| backend.address == address);
        let found = found.expect("it is there");
        let names = tables.names();
        let port = names.iter().find(|(_, key)| *key == found.port);
        (found.id, *port.expect("it has one").0, address)
    }

    /// The name of the backend's Service, and its grace in seconds.
    fn rule(&self, (id, port, address): (u32, u32, SocketAddr)) -> (Option<String>, Rule) {
        let rules = self.0.grace_rules();
        let name = rules.name(id, port);
        let rule = rules.rule(id, name.as_ref(), address);
        (name.map(|key| key.name.to_string()), rule)
    }
}

fn of(name: &str, seconds: Option<u64>) -> (Option<String>, Rule) {
    let rule = Rule {
        grace: seconds.map(Duration::from_secs),
        has_returned: false,
    };
    (Some(name.to_owned()), rule)
}

#[test]
fn the_service_says_what_happens_to_a_removed_backend() {
    for default in [None, Some(DEFAULT)] {
        let mut case = Case::new(default);
        case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
        case.set(&yaml("db", 2, "", &[3, 4]));
        let (web, db) = (case.backend(1), case.backend(3));
        case.set(&yaml("web", 1, &drain("30s"), &[2]));
        case.set(&yaml("db", 2, "", &[4]));
        assert_eq!(case.rule(web), of("web", Some(30)));
        assert_eq!(case.rule(db), of("db", default));
        // A changed annotation counts, also for a backend that has stopped before.
        let changes = case.0.graces().changes();
        case.set(&yaml("web", 1, &drain("40s"), &[2]));
        assert_eq!(case.rule(web), of("web", Some(40)));
        assert_eq!(case.0.graces().changes(), changes + 1);
        case.set(&yaml("web", 1, &drain("none"), &[2]));
        assert_eq!(case.rule(web), of("web", None));
    }
}

#[test]
fn nobody_asks_until_a_service_does() {
    let mut case = Case::new(None);
    case.set(&yaml("db", 2, "", &[3, 4]));
    assert!(!case.0.graces().is_asked());
    case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
    assert!(case.0.graces().is_asked());
    assert!(Case::new(Some(DEFAULT)).0.graces().is_asked());
}

#[test]
fn a_backend_that_serves_again_is_said_to() {
    let mut case = Case::new(None);
    case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
    let web = case.backend(1);
    case.set(&yaml("web", 1, &drain("30s"), &[2]));
    case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
    assert_ne!(case.backend(1).0, web.0, "its line is another");
    assert!(case.rule(web).1.has_returned);
}

#[test]
fn a_deleted_service_keeps_its_last_word_while_connections_name_its_backends() {
    let mut case = Case::new(Some(DEFAULT));
    case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
    // A connection keeps the backend's id.
    let mut memory = case.0.tables().backing().clone();
    let web = case.backend(1);
    memory.store(Table::Backends, web.0, BackendLine::ACTIVE_WORD, 1);
    let mut case = Case::over(Some(DEFAULT), memory);
    case.set(&yaml("web", 1, &drain("20s"), &[1, 2]));
    assert_eq!(case.backend(1), web);
    case.remove("web");
    assert!(case.0.begin_grace());
    case.0.grace_is_over();
    case.0.tick();
    case.set(&yaml("db", 2, &drain("5s"), &[3]));
    assert_eq!(case.rule(web), of("web", Some(20)));
    // The Service comes back with another annotation.
    case.set(&yaml("web", 1, &drain("none"), &[2]));
    assert_eq!(case.rule(web), of("web", None));
}

#[test]
fn a_backend_is_forgotten_when_its_id_is_free() {
    let mut case = Case::new(None);
    case.set(&yaml("web", 1, &drain("30s"), &[1]));
    let web = case.backend(1);
    case.remove("web");
    case.0.tick();
    assert_eq!(case.rule(web), of("web", Some(30)));
    assert!(case.0.begin_grace());
    case.0.grace_is_over();
    case.0.tick();
    let (name, rule) = case.rule(web);
    assert_eq!((name, rule.grace), (None, None));
}

#[test]
fn the_next_agent_asks_the_service_or_takes_the_default() {
    let mut case = Case::new(Some(DEFAULT));
    case.set(&yaml("web", 1, &drain("30s"), &[1, 2]));
    case.set(&yaml("db", 2, &drain("5s"), &[3]));
    let (web, db) = (case.backend(1), case.backend(3));
    case.set(&yaml("web", 1, &drain("30s"), &[2]));
    case.remove("db");
    let memory = case.0.tables().backing().clone();
    let mut case = Case::over(Some(DEFAULT), memory);
    case.set(&yaml("web", 1, &drain("30s"), &[2]));
    assert_eq!(case.rule(web), of("web", Some(30)));
    assert_eq!(case.rule(db).1.grace, Some(Duration::from_secs(DEFAULT)));
}
