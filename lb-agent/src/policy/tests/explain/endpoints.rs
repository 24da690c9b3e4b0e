//! Why an endpoint is in a view or not, and the steps that chose it.

use super::{Case, NODE, Settings, service, slice};
use crate::policy::Scope;
use crate::policy::explain::{HintUse, Selection, Step};

const UNREADY: &str = "conditions: {ready: false}";
const LEAVING: &str = "conditions: {ready: false, terminating: true}";
const LEFT: &str = "conditions: {ready: false, serving: false, terminating: true}";

/// An endpoint 10.1.0.`n` with more fields.
fn at(n: u8, fields: &str) -> String {
    format!("{{addresses: [10.1.0.{n}], {fields}}}")
}

fn web(spec: &str, endpoints: &[String]) -> String {
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    NODE.to_owned() + &service("web", spec) + &slice("a", &endpoints)
}

/// One word for each endpoint: why it is left out, or "". "spill-over" for those that have connections because of that.
fn words(selection: &Selection<'_>) -> Vec<&'static str> {
    let endpoints = selection.endpoints.iter();
    endpoints
        .map(|of| match &of.left_out {
            None if of.is_spilled_to => "spill-over",
            why => why.as_ref().map_or("", |why| why.word()),
        })
        .collect()
}

#[track_caller]
fn check(case: &Case, scope: Scope, steps: &[Step], left_out: &[&str]) {
    let port = case.policy.service_ports().next().expect("a service port");
    let selections = case.policy.explainer(&case.catalog).selections(port);
    let selection = selections.iter().find(|of| of.scope == scope);
    let selection = selection.expect("the view exists");
    assert_eq!(selection.steps, steps);
    assert_eq!(words(selection), left_out);
}

#[track_caller]
fn check_internal(yaml: &str, steps: &[Step], left_out: &[&str]) {
    check(&Case::new(yaml), Scope::Internal, steps, left_out);
}

#[test]
fn unready_endpoints_are_left_out() {
    check_internal(
        &web(
            "",
            &[at(1, ""), at(2, UNREADY), at(3, LEAVING), at(4, LEFT)],
        ),
        &[Step::Ready { ready: 1, of: 4 }],
        &["", "NotReady", "Terminating", "Terminating"],
    );
}

#[test]
fn terminating_endpoints_are_the_last_resort() {
    check_internal(
        &web("", &[at(2, UNREADY), at(3, LEAVING), at(4, LEFT)]),
        &[
            Step::Ready { ready: 0, of: 3 },
            Step::Terminating { left: 1 },
        ],
        &["NotReady", "", "NotServing"],
    );
}

#[test]
fn weight_0_leaves_out_endpoints() {
    let weighted = |name: &str, weight: &str, endpoints: &[&str]| {
        slice(name, endpoints).replace(
            "labels:",
            &format!("annotations: {{socklb.dev/weight: '{weight}'}}, labels:"),
        )
    };
    let drained = weighted("a", "0", &[&at(1, ""), &at(2, UNREADY), &at(3, LEAVING)]);
    let other = weighted("b", "2", &[&at(4, "")]);
    let web = service("web", "");
    check_internal(
        &(web.clone() + &drained + &other),
        &[Step::Ready { ready: 2, of: 4 }, Step::Weight { left: 1 }],
        &["NoWeight", "NotReady", "Terminating", ""],
    );
    check_internal(
        &(web + &drained),
        &[
            Step::Ready { ready: 1, of: 3 },
            Step::Weight { left: 0 },
            Step::Terminating { left: 0 },
        ],
        &["NoWeight", "NotReady", "NoWeight"],
    );
}

#[test]
fn hints_leave_out_endpoints_for_others() {
    let n1 = "hints: {forZones: [{name: z1}], forNodes: [{name: n1}]}";
    let n2 = "hints: {forZones: [{name: z1}], forNodes: [{name: n2}]}";
    check_internal(
        &web("", &[at(1, n1), at(2, n2), at(3, UNREADY)]),
        &[
            Step::Ready { ready: 2, of: 3 },
            Step::NodeHints {
                hints: HintUse::Used,
                left: 1,
            },
        ],
        &["", "OtherNodesHint", "NotReady"],
    );
    let z1 = "hints: {forZones: [{name: z1}]}";
    let z2 = "hints: {forZones: [{name: z2}]}";
    let zones = |hints, left, has_zone| Step::ZoneHints {
        hints,
        left,
        has_zone,
    };
    check_internal(
        &web("", &[at(1, z1), at(2, z2)]),
        &[
            Step::Ready { ready: 2, of: 2 },
            zones(HintUse::Used, 1, true),
        ],
        &["", "OtherZonesHint"],
    );
    check_internal(
        &web("", &[at(1, n2), at(2, z2)]),
        &[
            Step::Ready { ready: 2, of: 2 },
            Step::NodeHints {
                hints: HintUse::Incomplete,
                left: 1,
            },
            zones(HintUse::Used, 1, true),
        ],
        &["", "OtherZonesHint"],
    );
}

#[test]
fn spill_over_is_a_step() {
    let z1 = "nodeName: n1, zone: z1, hints: {forZones: [{name: z1}]}";
    let z2 = "hints: {forZones: [{name: z2}]}";
    let unready = format!("zone: z1, {UNREADY}");
    let local = "  internalTrafficPolicy: Local\n  externalIPs: [192.0.2.1]\n";
    let yaml = web(local, &[at(1, z1), at(2, &unready), at(3, z2), at(4, z2)]);
    let yaml = yaml.replace(
        "{name: web}",
        "{name: web, annotations: {socklb.dev/spill-over: '1.4'}}",
    );
    let case = Case::new(&yaml);
    check(
        &case,
        Scope::External,
        &[
            Step::Ready { ready: 3, of: 4 },
            Step::ZoneHints {
                hints: HintUse::Used,
                left: 1,
                has_zone: true,
            },
            Step::SpillOver {
                percent: 30,
                others: 2,
                left: 3,
            },
        ],
        &["", "NotReady", "spill-over", "spill-over"],
    );
    check(
        &case,
        Scope::Internal,
        &[Step::Ready { ready: 3, of: 4 }, Step::Local { ready: 1 }],
        &["", "OtherNode", "OtherNode", "OtherNode"],
    );
}

#[test]
fn the_reason_is_named_when_hints_are_ignored() {
    let z2 = "hints: {forZones: [{name: z2}]}";
    let step = |hints, left, has_zone| Step::ZoneHints {
        hints,
        left,
        has_zone,
    };
    for (yaml, step) in [
        (
            web("", &[at(1, z2), at(2, "")]),
            step(HintUse::Incomplete, 2, true),
        ),
        (
            web("", &[at(1, z2), at(2, z2)]),
            step(HintUse::NotForThisNode, 2, true),
        ),
        (
            web("", &[at(1, z2), at(2, z2)]).replace(NODE, ""),
            step(HintUse::NotForThisNode, 2, false),
        ),
    ] {
        check_internal(&yaml, &[Step::Ready { ready: 2, of: 2 }, step], &["", ""]);
    }
}

#[test]
fn the_policy_local_leaves_out_other_nodes() {
    let local = "  internalTrafficPolicy: Local\n";
    let here = |fields: &str| format!("nodeName: n1, {fields}");
    let endpoints = [at(1, &here("")), at(2, &here(UNREADY)), at(3, "")];
    check_internal(
        &web(local, &endpoints),
        &[Step::Ready { ready: 2, of: 3 }, Step::Local { ready: 1 }],
        &["", "NotReady", "OtherNode"],
    );
    check(
        &Case::new(&web(local, &endpoints)),
        Scope::External,
        &[Step::Ready { ready: 2, of: 3 }],
        &["", "NotReady", ""],
    );
    check_internal(
        &web(local, &[at(1, &here(LEAVING)), at(2, "nodeName: n2")]),
        &[
            Step::Ready { ready: 1, of: 2 },
            Step::Local { ready: 0 },
            Step::LocalTerminating { left: 1 },
        ],
        &["", "OtherNode"],
    );
}

#[test]
fn packets_from_outside_have_a_selection_of_their_own() {
    let yaml = web(
        "  externalIPs: [192.0.2.1]\n  externalTrafficPolicy: Local\n",
        &[at(1, "nodeName: n1"), at(2, "")],
    );
    let packets = Settings {
        has_packet_path: true,
        ..Settings::default()
    };
    check(
        &Case::with(packets, &yaml),
        Scope::Outside,
        &[Step::Ready { ready: 2, of: 2 }, Step::Local { ready: 1 }],
        &["", "OtherNode"],
    );
    let case = Case::new(&yaml);
    let port = case.policy.service_ports().next().expect("a service port");
    let selections = case.policy.explainer(&case.catalog).selections(port);
    assert!(selections.iter().all(|of| of.scope != Scope::Outside));
}

#[test]
fn endpoints_of_unusable_slices_are_left_out() {
    let other = |from: &str, to: &str| slice("b", &["{addresses: [10.1.0.9]}"]).replace(from, to);
    for (yaml, word) in [
        (other("IPv4", "IPv6"), "OtherFamily"),
        (other("IPv4", "FQDN"), "AddressType"),
        (other("port: 8080", "name: a, port: 8080"), "OtherPort"),
        (
            other("port: 8080", "port: 8080, protocol: UDP"),
            "OtherPort",
        ),
        (other("port: 8080", "port: 0"), "OtherPort"),
        (other("[{port: 8080}]", "[]"), "NoPorts"),
        (
            other("name: web", "name: web, service.kubernetes.io/headless: ''"),
            "Headless",
        ),
        (other("10.1.0.9", "127.0.0.1"), "Address"),
        (other("10.1.0.9", "10.1.0.1"), "Duplicate"),
    ] {
        check_internal(
            &(web("", &[at(1, "")]) + &yaml),
            &[Step::Ready { ready: 1, of: 1 }],
            &["", word],
        );
    }
}

#[test]
fn of_endpoints_with_one_address_the_better_one_counts() {
    let yaml = web("", &[at(1, LEAVING)]) + &slice("b", &["{addresses: [10.1.0.1]}"]);
    check_internal(
        &yaml,
        &[Step::Ready { ready: 1, of: 1 }],
        &["Duplicate", ""],
    );
}
