//! What differs for packets: the view for those from outside, source ranges, external IPs that are not served.

use super::{Case, NODE, Settings, check_case, service, slice};

const PACKETS: Settings = Settings {
    has_packet_path: true,
    refuses_external_ips: false,
};

/// Endpoints of which n1, the node in zone z1, has the first two, and n2 the rest.
fn endpoints(fields: [&str; 4]) -> String {
    let endpoint = |(index, fields): (usize, &str)| {
        let (number, node) = (index + 1, if index < 2 { "n1" } else { "n2" });
        format!("{{addresses: [10.1.0.{number}], nodeName: {node}, {fields}}}")
    };
    let endpoints = fields.into_iter().enumerate().map(endpoint);
    let endpoints: Vec<String> = endpoints.collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    slice("a", &endpoints)
}

/// A Service with a NodePort, and more lines of `spec`.
fn node_port(spec: &str) -> String {
    service("web", spec).replace("{port: 80}", "{port: 80, nodePort: 30080}")
}

#[track_caller]
fn check_views(spec: &str, endpoints: &str, views: &[&str]) {
    let yaml = NODE.to_owned() + &node_port(spec) + endpoints;
    let views: Vec<String> = views
        .iter()
        .map(|view| format!("default/web/TCP (IPv4) {view}"))
        .collect();
    let views: Vec<&str> = views.iter().map(String::as_str).collect();
    check_case(&Case::with(PACKETS, &yaml), &views, &[]);
}

const EXTERNAL_LOCAL: &str = "  externalTrafficPolicy: Local\n";
const BOTH_LOCAL: &str = "  externalTrafficPolicy: Local\n  internalTrafficPolicy: Local\n";
const UNREADY: &str = "conditions: {ready: false}";
const LEAVING: &str = "conditions: {ready: false, terminating: true}";

#[test]
fn external_local_gives_packets_from_outside_the_endpoints_of_this_node() {
    check_views(
        EXTERNAL_LOCAL,
        &endpoints([""; 4]),
        &[
            "all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> 10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080 10.1.0.4:8080",
            "outside [NodePort * 30080] -> 10.1.0.1:8080 10.1.0.2:8080",
        ],
    );
}

#[test]
fn the_view_for_outside_ignores_hints() {
    for (hint, other) in [
        ("forZones: [{name: z1}]", "forZones: [{name: z2}]"),
        ("forNodes: [{name: n1}]", "forNodes: [{name: n2}]"),
    ] {
        let (hint, other) = (format!("hints: {{{hint}}}"), format!("hints: {{{other}}}"));
        check_views(
            EXTERNAL_LOCAL,
            &endpoints([&hint, &other, &hint, &other]),
            &[
                "all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> 10.1.0.1:8080 10.1.0.3:8080",
                "outside [NodePort * 30080] -> 10.1.0.1:8080 10.1.0.2:8080",
            ],
        );
    }
}

#[test]
fn local_endpoints_that_terminate_serve_outside_when_none_is_ready_there() {
    let all = "all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> ";
    let outside = "outside [NodePort * 30080] -> ";
    for (fields, anywhere, here) in [
        // Ready ones elsewhere do not matter.
        (
            [LEAVING, UNREADY, "", ""],
            "10.1.0.3:8080 10.1.0.4:8080",
            "10.1.0.1:8080",
        ),
        (
            [LEAVING, "", "", ""],
            "10.1.0.2:8080 10.1.0.3:8080 10.1.0.4:8080",
            "10.1.0.2:8080",
        ),
        (
            [UNREADY, UNREADY, "", ""],
            "10.1.0.3:8080 10.1.0.4:8080",
            "",
        ),
        (
            [LEAVING, UNREADY, LEAVING, UNREADY],
            "10.1.0.1:8080 10.1.0.3:8080",
            "10.1.0.1:8080",
        ),
        ([UNREADY; 4], "", ""),
    ] {
        check_views(
            EXTERNAL_LOCAL,
            &endpoints(fields),
            &[&format!("{all}{anywhere}"), &format!("{outside}{here}")],
        );
    }
}

#[test]
fn both_policies_local_make_three_views() {
    check_views(
        BOTH_LOCAL,
        &endpoints([""; 4]),
        &[
            "external [NodePort * 30080] -> 10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080 10.1.0.4:8080",
            "internal [ClusterIP 10.96.0.1 80] -> 10.1.0.1:8080 10.1.0.2:8080",
            "outside [NodePort * 30080] -> 10.1.0.1:8080 10.1.0.2:8080",
        ],
    );
    // All endpoints are here: two views are equal, and yet packets from outside have one of their own.
    let local = endpoints([""; 4]).replace("n2", "n1");
    let all = "10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080 10.1.0.4:8080";
    check_views(
        BOTH_LOCAL,
        &local,
        &[
            &format!("all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> {all}"),
            &format!("outside [NodePort * 30080] -> {all}"),
        ],
    );
    // None is here.
    let remote = endpoints([""; 4]).replace("n1", "n2");
    check_views(
        BOTH_LOCAL,
        &remote,
        &[
            &format!("external [NodePort * 30080] -> {all}"),
            "internal [ClusterIP 10.96.0.1 80] -> ",
            "outside [NodePort * 30080] -> ",
        ],
    );
}

#[test]
fn a_service_without_external_frontends_has_no_view_for_outside() {
    let yaml = service("web", EXTERNAL_LOCAL) + &endpoints([""; 4]);
    let case = Case::with(PACKETS, &yaml);
    let plan = case.plan();
    assert!(
        plan.len() == 1 && plan[0].contains(" all [ClusterIP 10.96.0.1 80] -> "),
        "{plan:?}"
    );
}

#[test]
fn external_traffic_policy_does_not_matter_to_sockets() {
    let all = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> \
               10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080 10.1.0.4:8080";
    for policy in ["Local", "local"] {
        let spec = format!("  externalTrafficPolicy: {policy}\n");
        let yaml = NODE.to_owned() + &node_port(&spec) + &endpoints([""; 4]);
        check_case(&Case::new(&yaml), &[all], &[]);
    }
    let yaml =
        NODE.to_owned() + &node_port("  externalTrafficPolicy: local\n") + &endpoints([""; 4]);
    let problem = "spec.externalTrafficPolicy \"local\": write Cluster or Local";
    check_case(&Case::with(PACKETS, &yaml), &[all], &[problem]);
}

/// A dual-stack Service with a LoadBalancer IP of each family.
fn load_balancer(ranges: &str) -> String {
    format!(
        "kind: Service\nmetadata: {{name: web}}\nspec:\n  type: LoadBalancer\n  clusterIPs: [10.96.0.1, 'fd00::1']\n  \
         ports: [{{port: 80}}]\n  loadBalancerSourceRanges: [{ranges}]\n\
         status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.9}}, {{ip: '2001:db8::9'}}]}}}}\n"
    )
}

#[track_caller]
fn check_ranges(ranges: &str, ipv4: &str, ipv6: &str, problems: &[&str]) {
    let from = |ranges: &str| match ranges {
        "" => String::new(),
        _ => format!(" from {ranges}"),
    };
    let plan = [
        format!(
            "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, LoadBalancer 192.0.2.9 80{}] -> ",
            from(ipv4)
        ),
        format!(
            "default/web/TCP (IPv6) all [ClusterIP fd00::1 80, LoadBalancer 2001:db8::9 80{}] -> ",
            from(ipv6)
        ),
    ];
    let plan = plan.each_ref().map(String::as_str);
    check_case(
        &Case::with(PACKETS, &load_balancer(ranges)),
        &plan,
        problems,
    );
}

#[test]
fn source_ranges_are_networks_without_duplicates() {
    check_ranges(
        "198.51.100.0/24, 10.0.0.0/8",
        "10.0.0.0/8 198.51.100.0/24",
        "",
        &[],
    );
    // Leading zeros are decimal, blanks and host bits do not count.
    check_ranges("' 010.001.02.3/08 ', 10.0.0.0/8", "10.0.0.0/8", "", &[]);
    check_ranges(
        "'2001:db8::1/32', '2001:db8::/32'",
        "",
        "2001:db8::/32",
        &[],
    );
    check_ranges(
        "192.0.2.7/32, '2001:DB8::7/128'",
        "192.0.2.7/32",
        "2001:db8::7/128",
        &[],
    );
}

#[test]
fn a_range_of_length_0_opens_its_family() {
    check_ranges("10.0.0.0/8, 0.0.0.0/0", "", "", &[]);
    check_ranges("10.1.2.3/0, 10.0.0.0/8", "", "", &[]);
    check_ranges("'::/0', 10.0.0.0/8, 'fd00::/8'", "10.0.0.0/8", "", &[]);
    check_ranges("'fd00::/8', 0.0.0.0/0", "", "fd00::/8", &[]);
}

#[test]
fn a_bad_source_range_is_reported_and_does_not_open_the_others() {
    for bad in [
        "10.0.0.0/33",
        "'fd00::/129'",
        "10.0.0.0",
        "10.0.0/8",
        "web/8",
        "''",
    ] {
        let text = bad.trim_matches('\'');
        let problem = format!("spec.loadBalancerSourceRanges[1] {text:?}");
        let ranges = format!("10.0.0.0/8, {bad}");
        check_ranges(&ranges, "10.0.0.0/8", "", &[&problem]);
    }
}

#[test]
fn source_ranges_restrict_load_balancer_ips_only() {
    let with = |external: &str| {
        let yaml = load_balancer("10.0.0.0/8").replace("port: 80}", "port: 80, nodePort: 30080}");
        yaml.replace(
            "  type: LoadBalancer",
            &format!("  externalIPs: [{external}]"),
        )
    };
    let start = "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, NodePort * 30080, ExternalIP";
    for (external, rest) in [
        (
            "192.0.2.1",
            "192.0.2.1 80, LoadBalancer 192.0.2.9 80 from 10.0.0.0/8",
        ),
        // An address of both kinds is an external IP, as in kube-proxy, whose rules for these come first.
        ("192.0.2.9", "192.0.2.9 80"),
    ] {
        let case = Case::with(PACKETS, &with(external));
        assert_eq!(case.plan()[0], format!("{start} {rest}] -> "));
        assert_eq!(case.problems(), [""; 0]);
    }
}

#[test]
fn external_ips_are_refused_on_request_and_reported() {
    let refusing = Settings {
        refuses_external_ips: true,
        ..PACKETS
    };
    let yaml = load_balancer("").replace(
        "  type: LoadBalancer\n",
        "  externalIPs: [192.0.2.1, 192.0.2.9, web]\n",
    );
    let plan = [
        "default/web/TCP (IPv4) all [ClusterIP 10.96.0.1 80, LoadBalancer 192.0.2.9 80] -> ",
        "default/web/TCP (IPv6) all [ClusterIP fd00::1 80, LoadBalancer 2001:db8::9 80] -> ",
    ];
    let problem = "Service default/web: spec.externalIPs get no connections";
    check_case(&Case::with(refusing, &yaml), &plan, &[problem]);
    let without = load_balancer("");
    check_case(&Case::with(refusing, &without), &plan, &[]);
    // Without the packet path too.
    let sockets = Settings {
        has_packet_path: false,
        ..refusing
    };
    check_case(&Case::with(sockets, &yaml), &plan, &[problem]);
}
