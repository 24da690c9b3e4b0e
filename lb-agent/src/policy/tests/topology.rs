//! The endpoints that clients on this node, n1 in z1, may use.

use super::{Case, NODE, check, service, slice};

const FRONTEND: &str = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ";

/// An endpoint 10.1.0.`n` with more fields.
fn at(n: u8, fields: &str) -> String {
    format!("{{addresses: [10.1.0.{n}], {fields}}}")
}

#[track_caller]
fn check_hints(endpoints: &[String], backends: &str) {
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let yaml = NODE.to_owned() + &service("web", "") + &slice("a", &endpoints);
    check(&yaml, &[&format!("{FRONTEND}{backends}")]);
}

const N1: &str = "hints: {forZones: [{name: z1}], forNodes: [{name: n1}]}";
const N2_Z1: &str = "hints: {forZones: [{name: z2}, {name: z1}], forNodes: [{name: n2}]}";
const N3_Z2: &str = "hints: {forZones: [{name: z2}], forNodes: [{name: n3}]}";

#[test]
fn node_hints_take_precedence_over_zone_hints() {
    check_hints(&[at(1, N1), at(2, N2_Z1), at(3, N3_Z2)], "10.1.0.1:8080");
    check_hints(&[at(2, N2_Z1), at(3, N3_Z2)], "10.1.0.2:8080");
    check_hints(&[at(3, N3_Z2)], "10.1.0.3:8080");
}

#[test]
fn one_ready_endpoint_without_a_hint_disables_that_kind_of_hint() {
    let zone_only = at(4, "hints: {forZones: [{name: z1}]}");
    check_hints(
        &[at(1, N1), at(3, N3_Z2), zone_only],
        "10.1.0.1:8080 10.1.0.4:8080",
    );
    check_hints(
        &[at(1, N1), at(3, N3_Z2), at(4, "")],
        "10.1.0.1:8080 10.1.0.3:8080 10.1.0.4:8080",
    );
    let unready = at(5, "conditions: {ready: false}");
    check_hints(&[at(1, N1), at(3, N3_Z2), unready], "10.1.0.1:8080");
}

#[test]
fn hints_of_unready_endpoints_are_ignored() {
    let unready = "conditions: {ready: false}";
    check_hints(
        &[
            at(1, &format!("{N1}, {unready}")),
            at(2, N3_Z2),
            at(3, N3_Z2),
        ],
        "10.1.0.2:8080 10.1.0.3:8080",
    );
    let leaving = "conditions: {ready: false, terminating: true}";
    check_hints(
        &[at(1, &format!("{N1}, {leaving}")), at(2, N3_Z2)],
        "10.1.0.2:8080",
    );
    // If `ready` is true, the other conditions do not matter.
    let published = "conditions: {ready: true, terminating: true}";
    check_hints(
        &[at(1, &format!("{N1}, {published}")), at(2, N3_Z2)],
        "10.1.0.1:8080",
    );
}

#[test]
fn zone_hints_need_the_nodes_zone() {
    let endpoints = [
        at(1, "hints: {forZones: [{name: z1}]}"),
        at(2, "hints: {forZones: [{name: ''}]}"),
    ];
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let yaml = service("web", "") + &slice("a", &endpoints);
    let all = format!("{FRONTEND}10.1.0.1:8080 10.1.0.2:8080");
    check(
        &(NODE.to_owned() + &yaml),
        &[&format!("{FRONTEND}10.1.0.1:8080")],
    );
    check(&yaml, &[&all]);
    check(&(NODE.replace("z1", "''") + &yaml), &[&all]);
    check(&(NODE.replace("z1", "z3") + &yaml), &[&all]);
}

#[test]
fn hints_are_ignored_when_no_endpoint_is_ready() {
    let leaving = "conditions: {ready: false, terminating: true}";
    check_hints(
        &[
            at(1, &format!("{N1}, {leaving}")),
            at(3, &format!("{N3_Z2}, {leaving}")),
        ],
        "10.1.0.1:8080 10.1.0.3:8080",
    );
}

#[test]
fn a_zone_change_recomputes_every_service() {
    let yaml = service("web", "")
        + &slice(
            "a",
            &[
                &at(1, "hints: {forZones: [{name: z1}]}"),
                &at(2, "hints: {forZones: [{name: z2}]}"),
            ],
        );
    let mut case = Case::new(&yaml);
    assert_eq!(
        case.plan(),
        [format!("{FRONTEND}10.1.0.1:8080 10.1.0.2:8080")]
    );
    assert_eq!(case.set(NODE), ["+default/web/TCP (IPv4)"]);
    assert_eq!(case.plan(), [format!("{FRONTEND}10.1.0.1:8080")]);
    case.set(&NODE.replace("z1", "z2"));
    assert_eq!(case.plan(), [format!("{FRONTEND}10.1.0.2:8080")]);
    case.set(&NODE.replace("z1", "''"));
    assert_eq!(
        case.plan(),
        [format!("{FRONTEND}10.1.0.1:8080 10.1.0.2:8080")]
    );
    assert_eq!(case.set(&NODE.replace("n1", "n2")), [""; 0]);
}

const LOCAL: &str = "  internalTrafficPolicy: Local\n  externalIPs: [192.0.2.1]\n";

#[test]
fn internal_traffic_policy_local_affects_only_the_cluster_ip() {
    let yaml = service("web", LOCAL)
        + &slice(
            "a",
            &[&at(1, "nodeName: n1"), &at(2, "nodeName: n2"), &at(3, "")],
        );
    check(
        &yaml,
        &[
            "default/web/TCP (IPv4) external [ExternalIP 192.0.2.1 80] -> 10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080",
            "default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080",
        ],
    );
    let elsewhere = NODE.to_owned()
        + &service("web", "  internalTrafficPolicy: Local\n")
        + &slice("a", &[&at(2, "nodeName: n2")]);
    check(
        &elsewhere,
        &["default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> "],
    );
}

#[test]
fn an_unready_local_endpoint_is_not_chosen() {
    for conditions in [
        "{ready: false}",
        "{ready: false, serving: false, terminating: true}",
    ] {
        let here = at(1, &format!("nodeName: n1, conditions: {conditions}"));
        let yaml = service("web", "  internalTrafficPolicy: Local\n")
            + &slice("a", &[&here, &at(2, "nodeName: n2")]);
        check(
            &yaml,
            &["default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> "],
        );
    }
}

#[test]
fn local_endpoints_have_their_own_fallback_and_ignore_hints() {
    let yaml = NODE.to_owned()
        + &service("web", LOCAL)
        + &slice(
            "a",
            &[
                &at(
                    1,
                    "nodeName: n1, conditions: {ready: false, terminating: true}",
                ),
                &at(2, "nodeName: n2, hints: {forZones: [{name: z1}]}"),
            ],
        );
    check(
        &yaml,
        &[
            "default/web/TCP (IPv4) external [ExternalIP 192.0.2.1 80] -> 10.1.0.2:8080",
            "default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080",
        ],
    );
    let hinted = NODE.to_owned()
        + &service("web", "  internalTrafficPolicy: Local\n")
        + &slice("a", &[&at(1, &format!("nodeName: n1, {N3_Z2}"))]);
    check(&hinted, &[&format!("{FRONTEND}10.1.0.1:8080")]);
}

/// A Service with every kind of external frontend and `externalTrafficPolicy: Local`.
fn external_local(spec: &str) -> String {
    let spec = format!(
        "  type: LoadBalancer\n  externalTrafficPolicy: Local\n  externalIPs: [192.0.2.1]\n{spec}\
         status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.9}}]}}}}\n"
    );
    service("web", &spec).replace("{port: 80}", "{port: 80, nodePort: 30080}")
}

const EXTERNAL: &str = "NodePort * 30080, ExternalIP 192.0.2.1 80, LoadBalancer 192.0.2.9 80";

#[test]
fn clients_on_the_node_use_all_endpoints_of_external_addresses() {
    let both = slice("a", &[&at(1, "nodeName: n1"), &at(2, "nodeName: n2")]);
    let all = "10.1.0.1:8080 10.1.0.2:8080";
    check(
        &(external_local("") + &both),
        &[&format!(
            "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, {EXTERNAL}] -> {all}"
        )],
    );
    check(
        &(external_local("  internalTrafficPolicy: Local\n") + &both),
        &[
            &format!("default/web/TCP (IPv4) external [{EXTERNAL}] -> {all}"),
            "default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080",
        ],
    );
    // Also if the node has no endpoint itself.
    let elsewhere = slice("a", &[&at(2, "nodeName: n2")]);
    check(
        &(NODE.to_owned() + &external_local("") + &elsewhere),
        &[&format!(
            "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, {EXTERNAL}] -> 10.1.0.2:8080"
        )],
    );
}

/// Endpoints on another node and none on this one, which is normal while the Node exists.
#[test]
fn a_node_name_unknown_to_the_cluster_is_a_problem() {
    let there = "{addresses: [10.1.0.1], nodeName: n2}";
    let here = "{addresses: [10.1.0.2], nodeName: n1}";
    let mut case = Case::new(&(service("web", "") + &slice("a", &[there])));
    let is_problem = |case: &Case| {
        let problems = case.problems();
        assert!(problems.len() < 2, "{problems:?}");
        let is_passing = case.policy.passing_problems().count() == problems.len();
        assert!(is_passing, "a Node may come a little later");
        problems.iter().any(|line| line.starts_with("Node n1: "))
    };
    assert!(is_problem(&case));
    case.set(NODE);
    assert!(!is_problem(&case));
    case.remove(NODE);
    assert!(is_problem(&case));
    // A local endpoint has the same effect. Only the current version of a slice counts, and a removed one does not.
    case.set(&slice("a", &[there, here]));
    assert!(!is_problem(&case));
    case.set(&slice("a", &[there]));
    case.set(&slice("b", &[here]));
    assert!(!is_problem(&case));
    case.remove(&slice("b", &[here]));
    assert!(is_problem(&case));
    case.remove(&slice("a", &[there]));
    assert!(!is_problem(&case), "no node is named");
    case.set(&slice("a", &["{addresses: [10.1.0.1]}"]));
    assert!(!is_problem(&case));
}
