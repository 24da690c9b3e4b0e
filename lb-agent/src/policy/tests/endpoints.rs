//! Merging of slices.

use super::{Case, check, check_problems, service, slice};

#[track_caller]
fn check_backends(slices: &str, backends: &str) {
    let plan = format!("default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> {backends}");
    check(&(service("web", "") + slices), &[&plan]);
}

#[test]
fn slices_are_merged_and_duplicate_addresses_count_once() {
    check_backends(
        &(slice(
            "a",
            &[
                "{addresses: [10.1.0.2]}",
                "{addresses: [10.1.0.1, 10.1.0.9]}",
            ],
        ) + &slice(
            "b",
            &["{addresses: [010.1.0.2]}", "{addresses: [10.1.0.3]}"],
        )),
        "10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080",
    );
}

#[test]
fn a_duplicate_that_is_not_terminating_wins() {
    let leaving =
        "{addresses: [10.1.0.1], conditions: {ready: false, serving: true, terminating: true}}";
    let ready = "{addresses: [10.1.0.1]}";
    for (a, b) in [(leaving, ready), (ready, leaving)] {
        check_backends(&(slice("a", &[a]) + &slice("b", &[b])), "10.1.0.1:8080");
    }
    let other = "{addresses: [10.1.0.2], conditions: {ready: false, terminating: true}}";
    check_backends(
        &slice("a", &[leaving, other]),
        "10.1.0.1:8080 10.1.0.2:8080",
    );
}

#[test]
fn terminating_endpoints_are_used_only_if_none_is_ready() {
    let ready = "{addresses: [10.1.0.1], conditions: {ready: true}}";
    let unready = "{addresses: [10.1.0.2], conditions: {ready: false}}";
    let leaving =
        "{addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}}";
    let broken =
        "{addresses: [10.1.0.4], conditions: {ready: false, serving: false, terminating: true}}";
    check_backends(
        &slice("a", &[ready, unready, leaving, broken]),
        "10.1.0.1:8080",
    );
    check_backends(&slice("a", &[unready, leaving, broken]), "10.1.0.3:8080");
    check_backends(&slice("a", &[unready, broken]), "");
    let published =
        "{addresses: [10.1.0.5], conditions: {ready: true, serving: false, terminating: true}}";
    check_backends(&slice("a", &[published]), "~10.1.0.5:8080");
}

#[test]
fn absent_conditions_mean_ready_serving_and_not_terminating() {
    let cases = [
        ("", true),
        ("conditions: null", true),
        ("conditions: {}", true),
        (
            "conditions: {ready: null, serving: null, terminating: null}",
            true,
        ),
        ("conditions: {terminating: true}", true),
        ("conditions: {ready: false}", false),
        ("conditions: {ready: false, serving: true}", false),
        ("conditions: {ready: false, terminating: false}", false),
        ("conditions: {ready: false, terminating: true}", true),
        (
            "conditions: {ready: false, serving: null, terminating: true}",
            true,
        ),
        (
            "conditions: {ready: false, serving: false, terminating: true}",
            false,
        ),
    ];
    for (conditions, is_used) in cases {
        let endpoint = format!("{{addresses: [10.1.0.1], {conditions}}}");
        let used = if is_used { "10.1.0.1:8080" } else { "" };
        check_backends(&slice("a", &[&endpoint]), used);
    }
}

#[test]
fn a_serving_endpoint_that_is_not_ready_keeps_its_flows() {
    let serving = |conditions: &str| {
        let endpoint = format!("{{addresses: [10.1.0.1], conditions: {conditions}}}");
        let ready = "{addresses: [10.1.0.2]}";
        let case = Case::new(&(service("web", "") + &slice("a", &[&endpoint, ready])));
        let port = case.policy.service_ports().next().expect("one port");
        let mut backends = port.backends.iter();
        let found = backends.find(|b| b.address.ip().to_string() == "10.1.0.1");
        found.map(|b| (b.internal, b.external, b.serving))
    };
    let kept = Some((false, false, true));
    assert_eq!(serving("{ready: false}"), kept);
    assert_eq!(serving("{ready: false, terminating: true}"), kept);
    assert_eq!(serving("{ready: false, serving: false}"), None);
    let published = "{ready: true, serving: false, terminating: true}";
    assert_eq!(serving(published), Some((true, true, false)));
}

#[test]
fn a_ready_duplicate_wins_when_neither_is_terminating() {
    let unready = "{addresses: [10.1.0.1], conditions: {ready: false}}";
    let ready = "{addresses: [10.1.0.1]}";
    for (a, b) in [(unready, ready), (ready, unready)] {
        check_backends(&slice("a", &[a, b]), "10.1.0.1:8080");
    }
    // The duplicate that is not terminating wins, although it is not ready and so is not used.
    let published = "{addresses: [10.1.0.1], conditions: {ready: true, terminating: true}}";
    for (a, b) in [(unready, published), (published, unready)] {
        check_backends(&slice("a", &[a, b]), "");
    }
}

#[test]
fn a_port_number_may_differ_between_slices() {
    let a = slice("a", &["{addresses: [10.1.0.1]}", "{addresses: [10.1.0.2]}"]);
    let b = slice("b", &["{addresses: [10.1.0.2]}"]).replace("8080", "9090");
    check_backends(&(a + &b), "10.1.0.1:8080 10.1.0.2:8080 10.1.0.2:9090");
    let several = "[{name: http, port: 8080}, {name: admin, port: 9090}]";
    let web = "[{name: http, port: 80}, {name: admin, port: 81}]";
    let a = slice("a", &["{addresses: [10.1.0.1]}"]).replace("[{port: 8080}]", several);
    let b = slice("b", &["{addresses: [10.1.0.2]}"])
        .replace("[{port: 8080}]", "[{name: admin, port: 9191}]");
    check(
        &(service("web", "").replace("[{port: 80}]", web) + &a + &b),
        &[
            "default/web:admin/TCP (IPv4) all [ClusterIP 10.96.0.1 81] -> 10.1.0.1:9090 10.1.0.2:9191",
            "default/web:http/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080",
        ],
    );
}

#[test]
fn each_family_uses_slices_of_its_address_type() {
    let v4 = slice("a", &["{addresses: [10.1.0.1]}"]);
    let v6 = slice("b", &["{addresses: ['fd00:1::1']}"]).replace("IPv4", "IPv6");
    let both = service(
        "web",
        "  clusterIPs: [10.96.0.1, 'fd00::1']\n  ipFamilies: [IPv4, IPv6]\n",
    );
    check(
        &(both + &v4 + &v6),
        &[
            "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080",
            "default/web/TCP (IPv6) all [ClusterIP fd00::1 80] -> [fd00:1::1]:8080",
        ],
    );
    // A single family ignores the slices of the other.
    check_backends(&(v4 + &v6), "10.1.0.1:8080");
    check_backends(&v6, "");
}

#[test]
fn slices_of_other_namespaces_and_headless_services_are_ignored() {
    let a = slice("a", &["{addresses: [10.1.0.1]}"]);
    let headless = a.replace("labels: {", "labels: {service.kubernetes.io/headless: '', ");
    check_backends(&headless, "");
    // Services without slices have no such problem.
    check(&headless, &[]);
    let elsewhere = a.replace("{name: a,", "{name: a, namespace: shop,");
    check_problems(
        &(service("web", "") + &elsewhere),
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> "],
        &["EndpointSlice shop/a: there is no Service shop/web"],
    );
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    check(
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{name: dns, port: 53}, {name: dns, port: 53, protocol: UDP}]}\n---\n\
         kind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n\
         ports: [{name: dns, port: 1053, protocol: UDP}, {name: dns, port: 2053}]\nendpoints: [{addresses: [10.1.0.1]}]\n",
        &[
            "default/web:dns/TCP (IPv4) all [ClusterIP 10.96.0.1 53] -> 10.1.0.1:2053",
            "default/web:dns/UDP (IPv4) all [ClusterIP 10.96.0.1 53] -> 10.1.0.1:1053",
        ],
    );
}

#[test]
fn a_port_name_that_no_slice_has_is_reported() {
    let web = service("web", "").replace("{port: 80}", "{name: http, port: 80}");
    check_problems(
        &(web + &slice("a", &["{addresses: [10.1.0.1]}"])),
        &["default/web:http/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> "],
        &[
            "spec.ports[0].name \"http\" (TCP) is missing from its EndpointSlices, which have [\"\"] for TCP: use the same name",
        ],
    );
}

#[test]
fn a_port_with_another_protocol_in_the_slices_is_reported() {
    let a = slice("a", &["{addresses: [10.1.0.1]}"]);
    let with = |port: &str, of_slice: &str| {
        service("web", "").replace("{port: 80}", port) + &a.replace("{port: 8080}", of_slice)
    };
    check_problems(
        &with(
            "{name: dns, port: 53}",
            "{name: dns, port: 53, protocol: UDP}",
        ),
        &["default/web:dns/TCP (IPv4) all [ClusterIP 10.96.0.1 53] -> "],
        &[
            "\"dns\" (TCP) is missing from its EndpointSlices, which have this port for UDP: use the same protocol",
        ],
    );
    check_problems(
        &with(
            "{name: dns, port: 53, protocol: UDP}",
            "{name: http, port: 80}",
        ),
        &["default/web:dns/UDP (IPv4) all [ClusterIP 10.96.0.1 53] -> "],
        &["\"dns\" (UDP) is missing from its EndpointSlices, which have no port for UDP"],
    );
}

#[test]
fn invalid_endpoints_and_ports_do_not_affect_others() {
    let a = slice(
        "a",
        &[
            "{addresses: ['fd00::1']}",
            "{addresses: []}",
            "{addresses: [x]}",
            "{addresses: [127.0.0.1]}",
            "{addresses: [10.1.0.1]}",
        ],
    );
    let a = a.replace(
        "[{port: 8080}]",
        "[{port: 8080}, {name: zero, port: 0}, {name: nil}]",
    );
    let b = slice("b", &["{addresses: [a.example]}"]);
    check_problems(
        &(service("web", "")
            + &a
            + &b.replace("IPv4", "FQDN")
            + &b.replace("IPv4", "IPv5").replace("name: b", "name: c")
            + &slice("d", &["{addresses: [10.1.0.4]}"]).replace("ports: [{port: 8080}]\n", "")),
        &["default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080"],
        &[
            "EndpointSlice default/a: ports[1].port 0 is not a port",
            "EndpointSlice default/a: ports[2].port is missing",
            "EndpointSlice default/a: endpoints[0].addresses[0]: fd00::1 is not an IPv4 address",
            "EndpointSlice default/a: endpoints[1].addresses is empty",
            "EndpointSlice default/a: endpoints[2].addresses[0]: \"x\" is not an IP address",
            "EndpointSlice default/a: endpoints[3].addresses[0]: 127.0.0.1 is a loopback address",
            "EndpointSlice default/b: addressType FQDN is not supported",
            "EndpointSlice default/c: addressType \"IPv5\": write IPv4 or IPv6",
            "EndpointSlice default/d: ports is empty",
        ],
    );
}
