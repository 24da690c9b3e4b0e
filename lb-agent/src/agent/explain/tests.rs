//! Explanations of objects and tables, with the tables in memory.

use std::fs;

use super::{ExplainedService, Facts, explain, explain_from};
use crate::agent::engine::Engine;
use crate::policy::{NodePorts, Options};
use crate::serve::{ExplainRequest, Explanation, Outcome};
use crate::source::Manifests;
use crate::tables::Tables;
use crate::tables::testing::Memory;

const NODE_IP: [u8; 4] = [192, 0, 2, 10];

const SHOP: &str = "\
kind: Service
apiVersion: v1
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  internalTrafficPolicy: Local
  ports: [{name: http, port: 80, nodePort: 30080}, {name: admin, port: 81}]
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], nodeName: node-a}
- {addresses: [10.1.0.2], nodeName: node-b}
---
kind: Service
apiVersion: v1
metadata: {name: db}
spec: {clusterIP: None, ports: [{port: 5432}]}
";

/// An agent with these objects. `lengths`: of FRONTEND_LIST, VIEWS, SLOTS and BACKENDS.
fn engine(lengths: [u32; 4], yaml: &str) -> Engine<Memory> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("objects.yaml"), yaml).expect("a file");
    let (_, listing) = Manifests::open(vec![folder.path().to_owned()]).expect("it can be read");
    let options = Options {
        node_name: "node-a".to_owned(),
        ..Options::default()
    };
    let node_ports = NodePorts {
        addresses: vec![NODE_IP.into()],
        range: (30_000, 32_767),
        allowed: Vec::new(),
        primary: None,
    };
    let tables = Tables::recover(Memory::new(lengths)).expect("memory can be read");
    let mut engine = Engine::new(options, node_ports, tables);
    engine.learn(listing.changes, listing.problems);
    engine.apply();
    engine
}

fn ask(engine: &Engine<Memory>, target: &str, from: Option<&str>) -> Explanation {
    let request = ExplainRequest {
        target: target.parse().expect("a target"),
        from: from.map(|ip| ip.parse().expect("an address")),
        network: None,
    };
    explain(engine, true, ExplainedService::Served, &request)
}

/// The target's outcome, and the number of frontends and of backends in each view.
#[track_caller]
fn check(target: &str, outcome: Outcome, frontends: usize, backends: &[usize]) -> Explanation {
    let explanation = ask(&engine([100; 4], SHOP), target, None);
    assert_eq!(
        explanation.verdict.outcome, outcome,
        "{:?}",
        explanation.verdict
    );
    let ports = || explanation.service_ports.iter();
    let found: usize = ports().map(|port| port.frontends.len()).sum();
    let views = ports().flat_map(|port| &port.views);
    let found_backends: Vec<usize> = views.map(|view| view.backends).collect();
    assert_eq!((found, &*found_backends), (frontends, backends));
    explanation
}

/// The reasons of what is skipped.
fn reasons(explanation: &Explanation) -> Vec<&str> {
    let skipped = explanation.skipped.iter();
    skipped.map(|of| &*of.reason).collect()
}

#[test]
fn a_frontend_has_the_view_of_its_kind() {
    let cluster_ip = check("10.96.0.10:80", Outcome::Balanced, 1, &[1]);
    let view = &cluster_ip.service_ports[0].views[0];
    assert_eq!((&*view.scope, &*view.traffic_policy), ("internal", "Local"));
    let left_out = view.endpoints.iter().map(|of| of.reason.as_deref());
    assert_eq!(left_out.collect::<Vec<_>>(), [None, Some("OtherNode")]);

    for target in ["192.0.2.10:30080", "127.1.2.3:30080", "0.0.0.0:30080"] {
        let node_port = check(target, Outcome::Balanced, 1, &[2]);
        let view = &node_port.service_ports[0].views[0];
        assert_eq!(
            (&*view.scope, &*view.traffic_policy),
            ("external", "Cluster")
        );
    }
}

#[test]
fn a_service_has_all_its_ports_and_frontends() {
    // The ClusterIP, and the NodePort on the node's address and on loopback; the port admin has no endpoints.
    check("shop/web", Outcome::Refused, 4, &[0, 1, 2]);
    check("shop/web:http", Outcome::Balanced, 3, &[1, 2]);
    check("shop/web:80", Outcome::Balanced, 3, &[1, 2]);
    check("shop/web:admin", Outcome::Refused, 1, &[0]);
    check("shop/web:443", Outcome::Unknown, 0, &[]);
}

#[test]
fn a_port_that_a_cluster_ip_does_not_have_is_refused() {
    let miss = check("10.96.0.10:82", Outcome::Refused, 0, &[]);
    assert_eq!(reasons(&miss), ["NoSuchPort"]);
    let udp = check("10.96.0.10:80/udp", Outcome::Refused, 0, &[]);
    assert_eq!(reasons(&udp), ["NoSuchPort"]);
    assert_eq!(udp.skipped[0].object, "Service shop/web");
    let foreign = check("198.51.100.1:80", Outcome::Unchanged, 0, &[]);
    assert_eq!(foreign.skipped, []);
}

#[test]
fn services_that_are_not_balanced_have_a_reason() {
    let headless = check("db", Outcome::Unchanged, 0, &[]);
    assert_eq!(reasons(&headless), ["Headless"]);
    let missing = check("shop/db", Outcome::Unknown, 0, &[]);
    assert_eq!(reasons(&missing), ["NotFound"]);
}

#[test]
fn loopback_node_ports_are_for_the_host() {
    let engine = engine([100; 4], SHOP);
    let outcome = |from| ask(&engine, "127.0.0.1:30080", from).verdict.outcome;
    assert_eq!(outcome(None), Outcome::Balanced);
    assert_eq!(outcome(Some("192.0.2.10")), Outcome::Balanced);
    assert_eq!(outcome(Some("10.1.0.1")), Outcome::Unchanged);
}

#[test]
fn node_ports_outside_of_the_range_are_skipped() {
    let yaml = SHOP.replace("30080", "29999");
    let engine = engine([100; 4], &yaml);
    let port = ask(&engine, "shop/web:http", None);
    assert_eq!(reasons(&port), ["NodePortRange"]);
    assert_eq!(port.service_ports[0].frontends.len(), 1);
    let address = ask(&engine, "192.0.2.10:29999", None);
    assert_eq!(reasons(&address), ["NodePortRange"]);
    assert_eq!(address.verdict.outcome, Outcome::Unchanged);
}

#[test]
fn a_service_port_that_does_not_fit_is_not_balanced() {
    let lengths = [100, 100, 100, 2];
    let engine = engine(lengths, SHOP);
    assert_eq!(engine.refused(), 1);
    let http = ask(&engine, "10.96.0.10:80", None);
    assert_eq!(http.verdict.outcome, Outcome::Unchanged);
    assert!(http.problems.iter().any(|line| line.contains("BACKENDS")));
    // The guard of the ClusterIP is open meanwhile.
    let other = ask(&engine, "10.96.0.10:82", None);
    assert_eq!(other.verdict.outcome, Outcome::Unchanged);
}

#[test]
fn objects_alone_do_not_know_the_nodes_addresses() {
    let engine = engine([100; 4], SHOP);
    let facts = Facts::of_objects(engine.catalog(), engine.policy());
    let ask = |target: &str| {
        let request = ExplainRequest {
            target: target.parse().expect("a target"),
            from: None,
            network: None,
        };
        explain_from(&facts, &request)
    };
    let node_port = ask("198.51.100.7:30080");
    assert_eq!(node_port.verdict.outcome, Outcome::Balanced);
    assert_eq!(node_port.notes.len(), 1);
    let service = ask("shop/web:http");
    let frontends = service.service_ports[0].frontends.iter();
    let addresses: Vec<&str> = frontends.map(|of| &*of.address).collect();
    assert_eq!(addresses, ["10.96.0.10:80", "*:30080"]);
}

#[test]
fn an_endpoint_to_which_connections_spill_over_is_chosen_and_says_why() {
    const ZONES: &str = "\
kind: Node
apiVersion: v1
metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z1}}
---
kind: Service
apiVersion: v1
metadata: {name: web, annotations: {socklb.dev/spill-over: '1'}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
kind: EndpointSlice
apiVersion: discovery.k8s.io/v1
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
- {addresses: [10.1.0.1], zone: z1, hints: {forZones: [{name: z1}]}}
- {addresses: [10.1.0.2], zone: z1, conditions: {ready: false}}
- {addresses: [10.1.0.3], zone: z2, hints: {forZones: [{name: z2}]}}
";
    let explanation = ask(&engine([100; 4], ZONES), "10.96.0.10:80", None);
    let port = &explanation.service_ports[0];
    let steps = port.views[0].steps.iter().map(|step| &*step.step);
    assert_eq!(
        steps.collect::<Vec<_>>(),
        ["Ready", "ZoneHints", "SpillOver"]
    );
    let endpoints = port.views[0].endpoints.iter();
    let said: Vec<_> = endpoints
        .map(|of| (of.chosen, of.reason.as_deref()))
        .collect();
    assert_eq!(
        said,
        [
            (true, None),
            (false, Some("NotReady")),
            (true, Some("SpillOver"))
        ]
    );
    let tables = port.frontends[0].tables.as_ref().expect("there are tables");
    assert_eq!(tables.differences, []);
    assert_eq!(tables.views[0].backends.len(), 2);
}
