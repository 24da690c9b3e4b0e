//! The annotation `socklb.dev/weight`, and Cilium's.

use super::{Case, NODE, Settings, check, check_problems, service, slice};

const READY: &str = "conditions: {ready: true}";
const LEAVING: &str = "conditions: {ready: false, terminating: true}";

/// A slice of the Service web with these annotations, and the endpoints 10.1.0.`n`.
fn weighted(name: &str, annotations: &str, endpoints: &[(u8, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(n, fields)| format!("{{addresses: [10.1.0.{n}], {fields}}}"))
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice(name, &endpoints).replace(
        &format!("{{name: {name}, "),
        &format!("{{name: {name}, annotations: {{{annotations}}}, "),
    )
}

fn ours(weight: &str) -> String {
    format!("socklb.dev/weight: {weight:?}")
}

fn ciliums(weight: &str) -> String {
    format!("service.cilium.io/weight: {weight:?}")
}

/// The weights of the backends, sorted by address.
fn weights(case: &Case) -> Vec<u16> {
    let backends = case.policy.service_ports().flat_map(|port| &port.backends);
    backends.map(|backend| backend.weight).collect()
}

/// The weights of the first endpoints of slices with these annotations, and the number of problems.
fn weights_of(annotations: &[&str]) -> (Vec<u16>, usize) {
    let slices = (1..)
        .zip(annotations)
        .map(|(n, annotations)| weighted(&format!("s{n}"), annotations, &[(n, READY)]));
    let case = Case::new(&(service("web", "") + &slices.collect::<String>()));
    (weights(&case), case.problems().len())
}

#[test]
fn each_slice_has_its_weight() {
    assert_eq!(weights_of(&["", ""]), (vec![1, 1], 0));
    assert_eq!(
        weights_of(&[&ours("3"), "", &ours("1000"), &ours("0")]),
        (vec![3, 1, 1_000, 0], 0)
    );
}

#[test]
fn a_wrong_weight_is_reported_and_counts_as_1() {
    for wrong in ["1001", "-1", "+1", "1.5", " 1", "many", "", "70000"] {
        let yaml = service("web", "") + &weighted("s1", &ours(wrong), &[(1, READY)]);
        let problem = format!(
            "EndpointSlice default/s1: annotation socklb.dev/weight {wrong:?}: write 0 to 1000; 1 is used"
        );
        let plan = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080";
        check_problems(&yaml, &[plan], &[&problem]);
        assert_eq!(weights_of(&[&ours(wrong)]), (vec![1], 1));
    }
}

/// In Cilium, a slice without the annotation has the weight 100.
#[test]
fn ciliums_weight_is_the_fallback() {
    assert_eq!(weights_of(&[&ciliums("50"), ""]), (vec![50, 100], 0));
    assert_eq!(weights_of(&[&ciliums("65535")]), (vec![65_535], 0));
    assert_eq!(weights_of(&[&ciliums("65536"), ""]), (vec![100, 100], 1));
    let both = format!("{}, {}", ours("7"), ciliums("50"));
    assert_eq!(weights_of(&[&both, ""]), (vec![7, 1], 0));
    // Ours does not hide behind Cilium's.
    let both = format!("{}, {}", ours("x"), ciliums("50"));
    assert_eq!(weights_of(&[&both, ""]), (vec![1, 1], 1));
}

#[test]
fn weight_0_gets_no_new_connections_and_keeps_udp_flows() {
    let yaml = service("web", "")
        + &weighted("s1", &ours("0"), &[(1, READY)])
        + &weighted("s2", "", &[(2, READY)]);
    check(
        &yaml,
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.2:8080"],
    );
    let case = Case::new(&yaml);
    let port = case.policy.service_ports().next().expect("a service port");
    let serving: Vec<bool> = port.backends.iter().map(|b| b.serving).collect();
    assert_eq!(serving, [true, true]);
}

#[test]
fn where_all_weights_are_0_the_rules_go_on_as_if_none_were_ready() {
    let drained = weighted("s1", &ours("0"), &[(1, READY), (2, LEAVING)]);
    let none = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ";
    check(&(service("web", "") + &drained), &[none]);
    let leaving = weighted("s2", "", &[(3, LEAVING)]);
    let last_resort = format!("{none}10.1.0.3:8080");
    check(&(service("web", "") + &drained + &leaving), &[&last_resort]);
}

#[test]
fn hints_are_ignored_where_all_of_the_zone_have_weight_0() {
    let z1 = "hints: {forZones: [{name: z1}]}";
    let z2 = "hints: {forZones: [{name: z2}]}";
    let with = |annotations: &str| {
        NODE.to_owned()
            + &service("web", "")
            + &weighted("s1", annotations, &[(1, z1)])
            + &weighted("s2", "", &[(2, z2)])
    };
    let plan = |address: &str| {
        format!("default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> {address}:8080")
    };
    check(&with(""), &[&plan("10.1.0.1")]);
    check(&with(&ours("0")), &[&plan("10.1.0.2")]);
}

#[test]
fn all_views_have_the_weights() {
    let spec = "  type: NodePort\n  internalTrafficPolicy: Local\n  externalTrafficPolicy: Local\n";
    let yaml = service("web", spec).replace("{port: 80}", "{port: 80, nodePort: 30080}")
        + &weighted("s1", &ours("0"), &[(1, "nodeName: n1")])
        + &weighted(
            "s2",
            &ours("2"),
            &[(2, "nodeName: n1"), (3, "nodeName: n2")],
        );
    let settings = Settings {
        has_packet_path: true,
        ..Settings::default()
    };
    let case = Case::with(settings, &yaml);
    assert_eq!(
        case.plan(),
        [
            "default/web/TCP (IPv4) external [NodePort * 30080] -> 10.1.0.2:8080 10.1.0.3:8080",
            "default/web/TCP (IPv4) internal [ClusterIP 10.96.0.1 80] -> 10.1.0.2:8080",
            "default/web/TCP (IPv4) outside [NodePort * 30080] -> 10.1.0.2:8080",
        ]
    );
    assert_eq!(weights(&case), [0, 2, 2]);
}

/// The one that counts by its conditions, else the one of the first slice.
#[test]
fn an_endpoint_of_two_slices_has_the_weight_of_the_one_that_counts() {
    let of = |first: &str, second: &str| {
        let yaml = service("web", "")
            + &weighted("s1", &ours("2"), &[(1, first)])
            + &weighted("s2", &ours("5"), &[(1, second)]);
        weights(&Case::new(&yaml))
    };
    assert_eq!(of(READY, READY), [2]);
    assert_eq!(of("conditions: {ready: false}", READY), [5]);
}

#[test]
fn a_change_of_a_weight_changes_the_service_port() {
    let before = service("web", "") + &weighted("s1", &ours("2"), &[(1, READY)]);
    let mut case = Case::new(&before);
    let after = weighted("s1", &ours("3"), &[(1, READY)]);
    assert_eq!(case.set(&after), ["+default/web/TCP (IPv4)"]);
    assert_eq!(case.set(&after), [""; 0]);
    assert_eq!(weights(&case), [3]);
}
