//! Which flows count as the same, and which as different.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::clients::Clients;
use super::comparison::{Comparison, Flow, Moment};
use super::records::{Difference, Kind, PortId};
use crate::catalog::{Family, Protocol};
use crate::policy::{
    Algorithm, Backend, FULL_WEIGHT, Frontend, FrontendKind, ServicePort, ServicePortKey,
};

const TOLERANCE: Duration = Duration::from_secs(10);
const POD: &str = "10.244.0.9:999";
const NODE: &str = "192.0.2.7:999";
const OUTSIDE: &str = "198.51.100.1:999";
const CLUSTER_IP: &str = "10.96.0.10:80";
const NODE_PORT: &str = "192.0.2.7:30080";
const ONE: &str = "10.244.0.1:8080";
const TWO: &str = "10.244.0.2:8080";

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

fn key(name: &str) -> ServicePortKey {
    ServicePortKey {
        namespace: "shop".into(),
        name: name.into(),
        port: "http".into(),
        protocol: Protocol::Tcp,
        family: Family::Ipv4,
    }
}

/// `backends`: each with whether it is in the internal, the external and the outside view.
fn port(name: &str, cluster_ip: &str, backends: &[(&str, [bool; 3])]) -> ServicePort {
    let frontend = |kind, text: &str| Frontend {
        kind,
        address: Some(at(text).ip()),
        port: at(text).port(),
    };
    let backend = |&(address, [internal, external, outside]): &(&str, [bool; 3])| Backend {
        address: at(address),
        node: None,
        zone: None,
        weight: 1,
        tenths: FULL_WEIGHT,
        internal,
        external,
        outside,
        serving: true,
        watched: false,
    };
    let mut frontends = vec![frontend(FrontendKind::ClusterIp, cluster_ip)];
    if cluster_ip == CLUSTER_IP {
        frontends.push(frontend(FrontendKind::NodePort, NODE_PORT));
    }
    ServicePort {
        key: key(name),
        created: None,
        algorithm: Algorithm::Random,
        affinity_seconds: None,
        slow_start: None,
        spill_over: None,
        drain: None,
        external_local: backends
            .iter()
            .any(|(_, [_, external, outside])| external != outside),
        source_ranges: Arc::default(),
        frontends,
        backends: backends.iter().map(backend).collect(),
    }
}

const ALL: [bool; 3] = [true; 3];

/// A comparison, its time, and the differences that it has announced.
struct Scene {
    comparison: Comparison,
    now: Instant,
    announced: Vec<(PortId, Difference)>,
}

impl Scene {
    /// These service ports have been there for long.
    fn new(ports: &[ServicePort]) -> Self {
        let mut comparison = Comparison::new(TOLERANCE);
        comparison.set_clients(Clients {
            node: vec![at(NODE).ip()],
            pods: vec!["10.244.0.0/16".parse().expect("a range")],
        });
        let now = Instant::now() + Duration::from_secs(1_000);
        comparison.update(ports, &[], now);
        let mut scene = Self {
            comparison,
            now,
            announced: Vec::new(),
        };
        scene.pass(100);
        scene
    }

    fn change(&mut self, changed: &[ServicePort], removed: &[ServicePortKey]) {
        self.comparison.update(changed, removed, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.announced.extend(self.comparison.tick(self.now));
        }
    }

    fn flow(&mut self, client: &str, to: &str, answers: &str) {
        let flow = Flow {
            protocol: Protocol::Tcp,
            client: at(client),
            to: at(to),
            answers: at(answers),
        };
        let moment = Moment {
            at: self.now,
            time: Timestamp::UNIX_EPOCH,
        };
        self.announced.extend(self.comparison.take(flow, moment));
    }

    /// All flows that went right, and those that did not, after the tolerance.
    fn sums(&mut self) -> (u64, u64) {
        self.pass(TOLERANCE.as_secs() + 1);
        assert_eq!(self.comparison.waiting(), 0);
        let records = self.comparison.records();
        (records.same(), records.different())
    }

    fn kinds(&self) -> Vec<(&str, &str, Kind)> {
        let ports = self.comparison.records().ports();
        let last = ports.filter_map(|(port, record)| Some((port, record.last.as_ref()?)));
        last.map(|(port, last)| (&*port.name, &*port.port, last.kind))
            .collect()
    }
}

#[test]
fn a_flow_to_a_backend_of_the_clients_view_is_the_same() {
    let local = [(ONE, [true, true, true]), (TWO, [false, true, false])];
    for (client, to, answers, is_same) in [
        (POD, CLUSTER_IP, ONE, true),
        (POD, CLUSTER_IP, TWO, false),
        (POD, NODE_PORT, TWO, true),
        (NODE, NODE_PORT, TWO, true),
        (OUTSIDE, NODE_PORT, ONE, true),
        (OUTSIDE, NODE_PORT, TWO, false),
        (OUTSIDE, NODE_PORT, "10.244.0.3:8080", false),
    ] {
        let mut scene = Scene::new(&[port("web", CLUSTER_IP, &local)]);
        scene.flow(client, to, answers);
        let wanted = if is_same { (1, 0) } else { (0, 1) };
        assert_eq!(scene.sums(), wanted, "{client} {to} {answers}");
    }
}

#[test]
fn a_client_whose_place_is_unknown_may_get_either_view() {
    let local = [(ONE, [true, false, true]), (TWO, [false, true, false])];
    let mut scene = Scene::new(&[port("web", CLUSTER_IP, &local)]);
    scene.comparison.set_clients(Clients::default());
    scene.flow(OUTSIDE, NODE_PORT, ONE);
    scene.flow(OUTSIDE, NODE_PORT, TWO);
    assert_eq!(scene.sums(), (2, 0));
}

#[test]
fn each_kind_of_difference_is_named_with_its_service() {
    let mut scene = Scene::new(&[
        port("web", CLUSTER_IP, &[(ONE, ALL)]),
        port("empty", "10.96.0.11:80", &[(ONE, [false; 3])]),
    ]);
    scene.flow(POD, CLUSTER_IP, TWO);
    assert_eq!(scene.sums(), (0, 1));
    assert_eq!(scene.kinds(), [("web", "http", Kind::OtherEndpoint)]);
    scene.flow(POD, CLUSTER_IP, CLUSTER_IP);
    scene.flow(POD, "10.96.0.11:80", ONE);
    scene.flow(POD, "10.96.0.11:443", ONE);
    assert_eq!(scene.sums(), (0, 4));
    let kinds = [
        ("empty", "443", Kind::UnknownFrontend),
        ("empty", "http", Kind::WouldBeRefused),
        ("web", "http", Kind::NotTranslated),
    ];
    assert_eq!(scene.kinds(), kinds);
    // One for each Service.
    let announced: Vec<_> = scene
        .announced
        .iter()
        .map(|(port, _)| &*port.name)
        .collect();
    assert_eq!(announced, ["web", "empty"]);
    let first = &scene.announced[0].1;
    assert_eq!(first.backends, [at(ONE)]);
    assert_eq!(
        (first.client, first.frontend, first.endpoint),
        (at(POD), at(CLUSTER_IP), at(TWO))
    );
}

#[test]
fn other_flows_are_not_compared() {
    let mut scene = Scene::new(&[port("web", CLUSTER_IP, &[(ONE, ALL)])]);
    scene.flow(POD, "203.0.113.1:443", "203.0.113.1:443");
    scene.flow(OUTSIDE, "192.0.2.7:2222", ONE);
    // We refuse it or let it pass, and it reaches nothing.
    scene.flow(POD, "10.96.0.10:443", "10.96.0.10:443");
    scene.flow(POD, "10.96.0.99:80", ONE);
    assert_eq!(scene.sums(), (0, 0));
    scene
        .comparison
        .set_service_cidrs(&["10.96.0.0/16".parse().expect("a range")]);
    scene.flow(POD, "10.96.0.99:80", ONE);
    assert_eq!(scene.sums(), (0, 1));
    assert_eq!(scene.kinds(), [("", "", Kind::UnknownFrontend)]);
}

#[test]
fn a_service_without_backends_is_untranslated_on_both_sides() {
    let mut scene = Scene::new(&[port("web", CLUSTER_IP, &[])]);
    scene.flow(POD, CLUSTER_IP, CLUSTER_IP);
    assert_eq!(scene.sums(), (1, 0));
}

#[test]
fn endpoints_may_change_later_or_earlier_on_the_other_side() {
    let mut scene = Scene::new(&[port("web", CLUSTER_IP, &[(ONE, ALL)])]);
    // The other side is earlier.
    scene.flow(POD, CLUSTER_IP, TWO);
    scene.pass(TOLERANCE.as_secs() - 1);
    scene.change(&[port("web", CLUSTER_IP, &[(TWO, ALL)])], &[]);
    assert_eq!(scene.sums(), (1, 0));
    scene.pass(100);
    // Later.
    scene.change(&[port("web", CLUSTER_IP, &[(ONE, ALL)])], &[]);
    scene.pass(TOLERANCE.as_secs() - 1);
    scene.flow(POD, CLUSTER_IP, TWO);
    assert_eq!(scene.sums(), (2, 0));
    // Too late, and too early.
    scene.flow(POD, CLUSTER_IP, TWO);
    assert_eq!(scene.sums(), (2, 1));
    scene.change(&[port("web", CLUSTER_IP, &[(TWO, ALL)])], &[]);
    assert_eq!(scene.sums(), (2, 1));
}

#[test]
fn services_may_come_and_go_later_or_earlier_on_the_other_side() {
    let web = port("web", CLUSTER_IP, &[(ONE, ALL)]);
    let mut scene = Scene::new(&[]);
    scene.change(std::slice::from_ref(&web), &[]);
    scene.flow(POD, CLUSTER_IP, CLUSTER_IP);
    assert_eq!(scene.sums(), (1, 0));
    scene.pass(100);
    scene.change(&[], &[key("web")]);
    scene.pass(5);
    scene.flow(POD, CLUSTER_IP, ONE);
    scene.flow(POD, CLUSTER_IP, CLUSTER_IP);
    assert_eq!(scene.sums(), (3, 0));
    scene.pass(100);
    // Nothing is left of it.
    scene.flow(POD, CLUSTER_IP, ONE);
    assert_eq!(scene.sums(), (3, 0));
    assert_eq!(scene.comparison.records().ports().count(), 0);
}

#[test]
fn a_frontend_may_move_to_another_service() {
    let mut scene = Scene::new(&[port("old", CLUSTER_IP, &[(ONE, ALL)])]);
    let new = port("new", CLUSTER_IP, &[(TWO, ALL)]);
    scene.change(&[new], &[key("old")]);
    scene.flow(POD, CLUSTER_IP, ONE);
    scene.flow(POD, CLUSTER_IP, TWO);
    assert_eq!(scene.sums(), (2, 0));
    scene.pass(100);
    scene.flow(POD, CLUSTER_IP, ONE);
    assert_eq!(scene.sums(), (2, 1));
    assert_eq!(scene.kinds(), [("new", "http", Kind::OtherEndpoint)]);
}

#[test]
fn a_removed_service_is_remembered_only_with_a_difference() {
    let ports = [
        port("good", "10.96.0.12:80", &[(ONE, ALL)]),
        port("web", CLUSTER_IP, &[(ONE, ALL)]),
    ];
    let mut scene = Scene::new(&ports);
    scene.flow(POD, "10.96.0.12:80", ONE);
    scene.flow(POD, CLUSTER_IP, TWO);
    scene.pass(100);
    scene.change(&[], &[key("good"), key("web")]);
    scene.pass(100);
    assert_eq!(scene.sums(), (1, 1));
    let left: Vec<_> = scene.comparison.records().ports().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(&*left[0].0.name, "web");
}

#[test]
fn flows_that_do_not_fit_into_the_queue_are_judged_at_once() {
    let mut scene = Scene::new(&[port("web", CLUSTER_IP, &[(ONE, ALL)])]);
    for _ in 0..5_000 {
        scene.flow(POD, CLUSTER_IP, TWO);
    }
    let waiting = u64::try_from(scene.comparison.waiting()).expect("few");
    assert!(waiting < 5_000);
    assert_eq!(scene.comparison.records().different() + waiting, 5_000);
    assert_eq!(scene.sums(), (0, 5_000));
    assert_eq!(scene.announced.len(), 1);
}
