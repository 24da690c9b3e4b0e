//! Two Services that claim one frontend.

use super::{Case, service};

fn dated(name: &str, year: &str, spec: &str) -> String {
    service(name, spec).replace(
        &format!("{{name: {name}}}"),
        &format!("{{name: {name}, creationTimestamp: '{year}-01-01T00:00:00Z'}}"),
    )
}

fn holder(case: &Case) -> Vec<String> {
    case.plan()
        .iter()
        .map(|line| line.split('/').nth(1).unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_older_service_owns_a_frontend_until_it_is_deleted() {
    let older = dated("b", "2024", "");
    let mut case = Case::new(&dated("a", "2025", ""));
    assert_eq!(
        case.set(&older),
        ["+default/b/TCP (IPv4)", "-default/a/TCP (IPv4)"]
    );
    assert_eq!(holder(&case), ["b"]);
    assert_eq!(
        case.problems(),
        [
            "Service default/a: ClusterIP 10.96.0.1:80 TCP already belongs to Service default/b, which takes precedence: change one of the two"
        ]
    );
    assert_eq!(
        case.remove(&older),
        ["+default/a/TCP (IPv4)", "-default/b/TCP (IPv4)"]
    );
    assert_eq!(case.problems(), [""; 0]);
}

#[test]
fn undated_services_precede_dated_ones_and_are_ordered_by_name() {
    let case = Case::new(&(service("b", "") + &service("a", "") + &dated("0a", "2020", "")));
    assert_eq!(holder(&case), ["a"]);
    assert_eq!(case.problems().len(), 2);
}

#[test]
fn the_newer_service_loses_only_the_shared_frontend() {
    let shared = "  externalIPs: [192.0.2.1]\n";
    let other = service("b", shared).replace("10.96.0.1", "10.96.0.2");
    let mut case = Case::new(&(service("a", shared) + &other));
    assert_eq!(
        case.plan(),
        [
            "default/a/TCP (IPv4) all [ClusterIP 10.96.0.1 80, ExternalIP 192.0.2.1 80] -> ",
            "default/b/TCP (IPv4) all [ClusterIP 10.96.0.2 80] -> ",
        ]
    );
    // The older Service no longer claims it: both change.
    assert_eq!(
        case.set(&service("a", "")),
        ["+default/a/TCP (IPv4)", "+default/b/TCP (IPv4)"]
    );
    assert_eq!(case.problems(), [""; 0]);
}

#[test]
fn a_cluster_ip_belongs_to_its_service_even_if_another_is_older() {
    let newer = dated("victim", "2025", "");
    let older = dated("a", "2024", "  externalIPs: [10.96.0.1, 192.0.2.1]\n");
    let older = older.replace("clusterIP: 10.96.0.1", "clusterIP: 10.96.0.2");
    let both = [
        "default/a/TCP (IPv4) all [ClusterIP 10.96.0.2 80, ExternalIP 192.0.2.1 80] -> ",
        "default/victim/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> ",
    ];
    let mut case = Case::new(&(newer.clone() + &older));
    assert_eq!(case.plan(), both);
    assert_eq!(
        case.problems(),
        [
            "Service default/a: ExternalIP 10.96.0.1:80 TCP already belongs to Service default/victim, which takes precedence: change one of the two"
        ]
    );
    // Also if it arrives later.
    case.remove(&newer);
    assert_eq!(case.problems(), [""; 0]);
    case.set(&newer);
    assert_eq!(case.plan(), both);
}

#[test]
fn a_node_port_has_one_owner_per_protocol() {
    let port = |protocol: &str| {
        format!("  ports: [{{port: 80, nodePort: 30080, protocol: {protocol}}}]\n")
    };
    let with = |name: &str, ip: &str, protocol: &str| {
        format!(
            "---\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  clusterIP: {ip}\n{}",
            port(protocol)
        )
    };
    let case = Case::new(
        &(with("a", "10.96.0.1", "TCP")
            + &with("b", "10.96.0.2", "TCP")
            + &with("c", "10.96.0.3", "UDP")),
    );
    assert_eq!(
        case.plan(),
        [
            "default/a/TCP (IPv4) all [ClusterIP 10.96.0.1 80, NodePort * 30080] -> ",
            "default/b/TCP (IPv4) all [ClusterIP 10.96.0.2 80] -> ",
            "default/c/UDP (IPv4) all [ClusterIP 10.96.0.3 80, NodePort * 30080] -> ",
        ]
    );
    assert!(case.problems()[0].contains("NodePort 30080 TCP already belongs to Service default/a"));
}

#[test]
fn two_ports_of_a_service_cannot_share_a_frontend() {
    let case = Case::new(
        "kind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1, ports: [{name: a, port: 80}, {name: b, port: 80}]}\n",
    );
    assert_eq!(
        case.plan(),
        ["default/web:a/TCP (IPv4) all [ClusterIP 10.96.0.1 80] -> "]
    );
    assert!(case.problems()[0].contains("is used by two ports of this Service, \"a\" and \"b\""));
}
