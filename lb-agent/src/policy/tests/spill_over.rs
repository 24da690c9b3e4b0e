//! The annotation `socklb.dev/spill-over`, for clients on this node, n1 in z1.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{Case, NODE, Settings, service, slice};

const UNREADY: &str = "conditions: {ready: false}";
const LEAVING: &str = "conditions: {ready: false, terminating: true}";
const Z1: &str = "zone: z1, hints: {forZones: [{name: z1}]}";
const Z2: &str = "zone: z2, hints: {forZones: [{name: z2}]}";
/// Kubernetes' controller gives no hints to these.
const Z1_UNREADY: &str = "zone: z1, conditions: {ready: false}";

fn annotated(factor: &str, spec: &str) -> String {
    let name = format!("{{name: web, annotations: {{socklb.dev/spill-over: {factor:?}}}}}");
    service("web", spec).replace("{name: web}", &name)
}

/// The endpoints 10.1.0.1 and so on with these fields.
fn endpoints(fields: &[&str]) -> String {
    let endpoints: Vec<String> = (1_u32..)
        .zip(fields)
        .map(|(n, fields)| {
            let address = Ipv4Addr::from(0x0a01_0000 + n);
            format!("{{addresses: [{address}], {fields}}}")
        })
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice("a", &endpoints)
}

fn weighted(name: &str, weight: u16, endpoints: &[(u8, &str)]) -> String {
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(n, fields)| format!("{{addresses: [10.1.0.{n}], {fields}}}"))
        .collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice(name, &endpoints).replace(
        "labels:",
        &format!("annotations: {{socklb.dev/weight: '{weight}'}}, labels:"),
    )
}

/// What spills over, in percent, and the last part of the address and the weight of each backend of the first view.
fn split(case: &Case) -> (Option<u8>, Vec<(u8, u16)>) {
    assert_eq!(case.problems(), [""; 0]);
    let port = case.policy.service_ports().next().expect("a service port");
    let views = port.views();
    let view = views.first().expect("a view");
    let backends = view.backends.iter().map(|of| {
        let octets = of.address.ip().to_string();
        let last = octets.rsplit('.').next().and_then(|n| n.parse().ok());
        (last.expect("an IPv4 address"), of.weight)
    });
    (view.spill_over.map(|of| of.percent), backends.collect())
}

#[track_caller]
fn check(factor: &str, slices: &str, percent: Option<u8>, weights: &[(u8, u16)]) {
    let case = Case::new(&(NODE.to_owned() + &annotated(factor, "") + slices));
    assert_eq!(split(&case), (percent, weights.to_vec()));
}

/// As [`check`], of the percentage alone.
#[track_caller]
fn check_percent(factor: &str, fields: &[&str], percent: Option<u8>) {
    let case = Case::new(&(NODE.to_owned() + &annotated(factor, "") + &endpoints(fields)));
    assert_eq!(split(&case).0, percent);
}

#[test]
fn the_part_that_is_ready_times_the_factor_stays() {
    let half = [Z1, Z1, Z1_UNREADY, Z1_UNREADY, Z2, Z2, Z2, Z2];
    // 70 % to two, 30 % to four.
    let weights = [(1, 14), (2, 14), (5, 3), (6, 3), (7, 3), (8, 3)];
    check("1.4", &endpoints(&half), Some(30), &weights);
    let weights = [(1, 2), (2, 2), (5, 1), (6, 1), (7, 1), (8, 1)];
    check("1", &endpoints(&half), Some(50), &weights);
    check("2", &endpoints(&half), None, &[(1, 1), (2, 1)]);

    // Five of seven are enough for 1.4, and two of three are not.
    let mut fields = vec![Z1; 5];
    fields.extend([Z1_UNREADY, Z1_UNREADY, Z2]);
    check_percent("1.4", &fields, None);
    check_percent("1.4", &[Z1, Z1, Z1_UNREADY, Z2], Some(7));
    check_percent("1.4", &[Z1, Z1, Z2], None);
}

#[test]
fn without_the_annotation_all_connections_stay() {
    let yaml = NODE.to_owned() + &service("web", "") + &endpoints(&[Z1, Z1_UNREADY, Z2]);
    assert_eq!(split(&Case::new(&yaml)), (None, vec![(1, 1)]));
}

#[test]
fn a_wrong_factor_is_reported_and_nothing_spills_over() {
    for wrong in ["0.9", "10.1", "many", "", "-2", "1.2345"] {
        let yaml = NODE.to_owned() + &annotated(wrong, "") + &endpoints(&[Z1, Z1_UNREADY, Z2]);
        let plan = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080";
        let problem = format!("Service default/web: annotation socklb.dev/spill-over {wrong:?}: ");
        super::check_problems(&yaml, &[plan], &[&problem]);
    }
}

#[test]
fn an_unready_endpoint_is_of_the_zone_of_its_hints_or_else_of_its_own() {
    let with = |unready: &str, percent| check_percent("1", &[Z1, Z2, unready], percent);
    with(&format!("{Z1}, {UNREADY}"), Some(50));
    with(&format!("zone: z1, {UNREADY}"), Some(50));
    with(&format!("{Z2}, {UNREADY}"), None);
    with(&format!("zone: z2, {UNREADY}"), None);
    with(UNREADY, None);
    let here = "hints: {forZones: [{name: z2}, {name: z1}]}";
    with(&format!("zone: z2, {here}, {UNREADY}"), Some(50));
    let elsewhere = "hints: {forZones: [{name: z3}]}";
    with(&format!("zone: z1, {elsewhere}, {UNREADY}"), None);
}

#[test]
fn node_hints_spill_over_by_the_endpoints_of_the_node() {
    let n1 = "nodeName: n1, hints: {forZones: [{name: z1}], forNodes: [{name: n1}]}";
    let n2 = "nodeName: n2, hints: {forZones: [{name: z1}], forNodes: [{name: n2}]}";
    let with = |unready: &str, percent, weights: &[(u8, u16)]| {
        check("1", &endpoints(&[n1, n2, n2, unready]), percent, weights);
    };
    let split = [(1, 2), (2, 1), (3, 1)];
    with(&format!("nodeName: n1, {UNREADY}"), Some(50), &split);
    with(&format!("{n1}, {UNREADY}"), Some(50), &split);
    with(
        &format!("nodeName: n2, zone: z1, {UNREADY}"),
        None,
        &[(1, 1)],
    );
    with(&format!("{n2}, {UNREADY}"), None, &[(1, 1)]);
}

#[test]
fn terminating_endpoints_count_on_neither_side() {
    let leaving = format!("zone: z1, {LEAVING}");
    check_percent("1", &[Z1, &leaving, &leaving, Z2], None);
    check_percent("1", &[Z1, &leaving, Z1_UNREADY, Z2], Some(50));
    // With publishNotReadyAddresses it is ready, and gets connections.
    let published = format!("{Z1}, conditions: {{ready: true, terminating: true}}");
    check_percent("1", &[&published, Z1_UNREADY, Z2], Some(50));
}

#[test]
fn weights_count_on_both_sides() {
    let slices = |light: u16, unready: u16| {
        weighted("light", light, &[(1, Z1), (2, Z1)])
            + &weighted("unready", unready, &[(3, Z1_UNREADY)])
            + &weighted("others", 2, &[(4, Z2)])
            + &weighted("heavy", 6, &[(5, Z2)])
    };
    // A quarter of the weights is ready: 2 of 8.
    let weights = [(1, 4), (2, 4), (4, 6), (5, 18)];
    check("1", &slices(1, 6), Some(75), &weights);
    // Maintenance is not a lack.
    check("1", &slices(1, 0), None, &[(1, 1), (2, 1)]);
    // The largest weight has 16 bits.
    let large = weighted("light", 1, &[(1, Z1)])
        + &weighted("unready", 1, &[(3, Z1_UNREADY)])
        + &weighted("heavy", 1_000, &[(4, Z2), (5, Z2)]);
    check("1.99", &large, Some(1), &[(1, 56_857), (4, 143), (5, 143)]);
}

#[test]
fn where_no_hints_select_nothing_changes() {
    let no_hint = "zone: z1";
    check(
        "1",
        &endpoints(&[no_hint, Z1_UNREADY, Z2]),
        None,
        &[(1, 1), (3, 1)],
    );
    check(
        "1",
        &endpoints(&[Z2, Z1_UNREADY, Z2]),
        None,
        &[(1, 1), (3, 1)],
    );
    let leaving = format!("{Z1}, {LEAVING}");
    check("1", &endpoints(&[&leaving, Z1_UNREADY]), None, &[(1, 1)]);
    // There is nowhere to spill over to.
    check("1", &endpoints(&[Z1, Z1_UNREADY]), None, &[(1, 1)]);
}

/// The views of a Service with Local policies: what spills over, and the weights.
fn views(slices: &str) -> Vec<(String, Option<u8>, Vec<u16>)> {
    let spec = "  type: NodePort\n  internalTrafficPolicy: Local\n  externalTrafficPolicy: Local\n";
    let settings = Settings {
        has_packet_path: true,
        ..Settings::default()
    };
    let service = annotated("1", spec).replace("{port: 80}", "{port: 80, nodePort: 30080}");
    let case = Case::with(settings, &(NODE.to_owned() + &service + slices));
    let port = case.policy.service_ports().next().expect("a service port");
    let views = port.views().into_iter().map(|view| {
        let weights = view.backends.iter().map(|of| of.weight).collect();
        let percent = view.spill_over.map(|of| of.percent);
        (view.scope.to_string(), percent, weights)
    });
    views.collect()
}

#[test]
fn views_of_the_policy_local_keep_their_backends_and_shares() {
    let here = format!("nodeName: n1, {Z1}");
    let slices = weighted("a", 1, &[(1, &here), (2, Z1_UNREADY), (3, Z2)])
        + &weighted(
            "b",
            3,
            &[(4, &here), (5, "zone: z1, conditions: {ready: false}")],
        );
    assert_eq!(
        views(&slices),
        [
            ("external".to_owned(), Some(50), vec![1, 4, 3]),
            ("internal".to_owned(), None, vec![1, 3]),
            ("outside".to_owned(), None, vec![1, 3]),
        ]
    );
    // One of this node's endpoints has a hint for another zone: its weight in this view would be wrong.
    let there = format!("nodeName: n1, {Z2}");
    assert_eq!(
        views(&endpoints(&[&here, &there, Z1_UNREADY])),
        [
            ("external".to_owned(), None, vec![1]),
            ("internal".to_owned(), None, vec![1, 1]),
            ("outside".to_owned(), None, vec![1, 1]),
        ]
    );
}

/// What spills over, at most, while a zone's endpoints are replaced: at any time, up to `surge` more are there, and up to
/// `unavailable` fewer are ready.
fn during_update(factor: &str, endpoints_of_zone: usize, surge: usize, unavailable: usize) -> u8 {
    let leaving = format!("{Z1}, {LEAVING}");
    let mut fields = vec![Z2; 2];
    fields.extend(vec![Z1; endpoints_of_zone - unavailable]);
    fields.extend(vec![Z1_UNREADY; surge + unavailable]);
    fields.extend(vec![leaving.as_str(); endpoints_of_zone]);
    let case = Case::new(&(NODE.to_owned() + &annotated(factor, "") + &endpoints(&fields)));
    split(&case).0.unwrap_or_default()
}

#[test]
fn a_usual_rolling_update_does_not_spill_over() {
    for endpoints in 3..=20_usize {
        // As in a Deployment: maxSurge is rounded up, maxUnavailable down.
        let (surge, unavailable) = (endpoints.div_ceil(4), endpoints / 4);
        assert_eq!(during_update("1.4", endpoints, surge, 0), 0, "{endpoints}");
        // Its defaults: a quarter starts, and another quarter is missing. Of five, four of seven are ready.
        assert!(during_update("1.4", endpoints, surge, unavailable) <= 20);
        assert_eq!(during_update("1.75", endpoints, surge, unavailable), 0);
    }
    // Where another one starts beside the only one, half of them is ready.
    assert_eq!(during_update("1.4", 1, 1, 0), 30);
    assert_eq!(during_update("2", 1, 1, 0), 0);
}

/// A part of the connections that is too small for all other endpoints goes to some of them, on each node to others.
#[test]
fn a_small_part_goes_to_few_others() {
    let mut fields = vec![Z1; 99];
    fields.push(Z1_UNREADY);
    fields.extend(vec![Z2; 100]);
    let on = |node: &str| {
        let here = NODE.to_owned() + &annotated("1", "") + &endpoints(&fields);
        let case = Case::on(
            node,
            &here.replace("{name: n1,", &format!("{{name: {node},")),
        );
        let port = case.policy.service_ports().next().expect("a service port");
        let spill_over = port.spill_over.clone().expect("some spill over");
        (spill_over.percent, spill_over.to)
    };
    let (percent, to) = on("n1");
    assert_eq!((percent, to.len()), (1, 10));
    assert_eq!(on("n1").1, to);
    assert_ne!(on("n2").1, to);
}

proptest! {
    #[test]
    fn shares_are_exact_with_the_slots_that_a_view_has(
        ready in 1..100_usize,
        missing in 1..50_usize,
        others in 1..150_usize,
    ) {
        let mut fields = vec![Z1; ready];
        fields.extend(vec![Z1_UNREADY; missing]);
        fields.extend(vec![Z2; others]);
        let case = Case::new(&(NODE.to_owned() + &annotated("1", "") + &endpoints(&fields)));
        let port = case.policy.service_ports().next().expect("a service port");
        let views = port.views();
        let backends = &views[0].backends;
        let sum = |spilled: bool| -> f64 {
            let of = backends.iter().filter(|of| port.spills_to(of.address) == spilled);
            of.map(|of| f64::from(of.weight)).sum()
        };
        let (stay, leave) = (sum(false), sum(true));
        let wanted = missing as f64 / (ready + missing) as f64;
        let is = leave / (stay + leave);
        prop_assert!((is - wanted).abs() <= 0.016, "{} for {}", is, wanted);
        let most = (backends.len() * 8).max(1_024) as f64;
        // So few more are rounded to the same numbers.
        prop_assert!(stay + leave <= most * 1.05, "{} slots of {}", stay + leave, most);
    }
}

#[test]
fn a_change_of_readiness_changes_the_shares_and_back() {
    let whole = endpoints(&[Z1, Z1, Z2]);
    let half = endpoints(&[Z1, Z1_UNREADY, Z2]);
    let mut case = Case::new(&(NODE.to_owned() + &annotated("1.4", "") + &whole));
    let before = case.plan();
    assert_eq!(case.set(&half), ["+default/web/TCP (IPv4)"]);
    assert_eq!(split(&case), (Some(30), vec![(1, 7), (3, 3)]));
    assert_eq!(case.set(&half), [""; 0]);
    assert_eq!(case.set(&whole), ["+default/web/TCP (IPv4)"]);
    assert_eq!(case.plan(), before);
}
