//! Why an address is a frontend or not.

use std::net::{IpAddr, SocketAddr};

use super::{Case, Settings, service};
use crate::catalog::{ObjectName, Protocol};
use crate::policy::explain::Miss;
use crate::policy::{FrontendKind, NodePorts, Options, Policy, RefuseUnknown};

const NODE_IP: &str = "192.0.2.10";

fn node_ports(allowed: &[&str]) -> NodePorts {
    NodePorts {
        addresses: vec![NODE_IP.parse().expect("an address")],
        range: (30_000, 32_767),
        allowed: allowed
            .iter()
            .map(|range| range.parse().expect("a range"))
            .collect(),
        primary: None,
    }
}

/// The kind of the frontend at an address or "", and why each Service has none there.
fn at(case: &Case, target: &str, node_ports: Option<&NodePorts>) -> (String, Vec<String>) {
    let target: SocketAddr = target.parse().expect("an address and port");
    let found = case
        .policy
        .explainer(&case.catalog)
        .at(target, Protocol::Tcp, node_ports);
    let kind = found
        .frontend
        .map_or_else(String::new, |(_, of)| of.kind.to_string());
    let others = found.others.iter();
    let others = others.map(|of| format!("{} {} {}", of.service.name, of.kind, of.why.word()));
    (kind, others.collect())
}

#[track_caller]
fn check(case: &Case, target: &str, kind: &str, others: &[&str]) {
    let node_ports = node_ports(&[]);
    let others = others.iter().map(ToString::to_string).collect();
    assert_eq!(
        at(case, target, Some(&node_ports)),
        (kind.to_owned(), others)
    );
}

#[test]
fn each_kind_of_frontend_is_found() {
    let case = Case::new(
        "kind: Service\nmetadata: {name: web}\nspec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.1\n  \
         ports: [{port: 80, nodePort: 30080}]\n  externalIPs: [192.0.2.1]\n\
         status: {loadBalancer: {ingress: [{ip: 192.0.2.2}]}}\n",
    );
    for (target, kind) in [
        ("10.96.0.1:80", FrontendKind::ClusterIp),
        ("192.0.2.1:80", FrontendKind::ExternalIp),
        ("192.0.2.2:80", FrontendKind::LoadBalancer),
        ("192.0.2.10:30080", FrontendKind::NodePort),
        ("127.0.0.1:30080", FrontendKind::NodePort),
    ] {
        check(&case, target, &kind.to_string(), &[]);
    }
    check(&case, "192.0.2.11:30080", "", &[]);
    check(&case, "10.96.0.1:81", "", &["web ClusterIP NoSuchPort"]);
    check(&case, "192.0.2.1:81", "", &["web ExternalIP NoSuchPort"]);
}

#[test]
fn a_node_port_may_be_on_any_address_if_those_of_the_node_are_unknown() {
    let yaml = service("web", "  externalIPs: [192.0.2.1]\n");
    let case = Case::new(&yaml.replace("port: 80", "port: 80, nodePort: 30080"));
    assert_eq!(at(&case, "192.0.2.99:30080", None).0, "NodePort");
    assert_eq!(at(&case, "192.0.2.1:30080", None).0, "");
}

#[test]
fn settings_exclude_node_ports() {
    let yaml = service("web", "").replace("port: 80", "port: 80, nodePort: 80");
    check(
        &Case::new(&yaml),
        "192.0.2.10:80",
        "",
        &["web NodePort NodePortRange"],
    );
    let case = Case::new(&yaml.replace("nodePort: 80", "nodePort: 30080"));
    let elsewhere = node_ports(&["198.51.100.0/24"]);
    assert_eq!(
        at(&case, "192.0.2.10:30080", Some(&elsewhere)).1,
        ["web NodePort NodePortAddress"]
    );
}

#[test]
fn skipped_services_are_named_with_the_rule() {
    for (from, to, word) in [
        (
            "{name: web}",
            "{name: web, labels: {service.kubernetes.io/service-proxy-name: other}}",
            "OtherProxy",
        ),
        (
            "{name: web}",
            "{name: web, labels: {service.kubernetes.io/headless: ''}}",
            "Headless",
        ),
        (
            "{name: web}",
            "{name: web, annotations: {socklb.dev/ignore: 'true'}}",
            "Ignored",
        ),
        ("  ports:", "  type: ExternalName\n  ports:", "ExternalName"),
        ("[{port: 80}]", "[]", "NoPorts"),
        ("port: 80", "port: 80, protocol: SCTP", "SCTP"),
        ("port: 80", "port: 80, protocol: tcp", "Problem"),
    ] {
        let case = Case::new(&service("web", "").replace(from, to));
        check(
            &case,
            "10.96.0.1:80",
            "",
            &[&format!("web ClusterIP {word}")],
        );
    }
}

#[test]
fn addresses_that_get_no_frontend_are_named_with_the_reason() {
    let external = service("web", "  externalIPs: [192.0.2.1, 2001:db8::1]\n");
    let refusing = Settings {
        refuses_external_ips: true,
        ..Settings::default()
    };
    check(
        &Case::with(refusing, &external),
        "192.0.2.1:80",
        "",
        &["web ExternalIP ExternalIPsRefused"],
    );
    check(
        &Case::new(&external),
        "[2001:db8::1]:80",
        "",
        &["web ExternalIP Problem"],
    );
    let ingress = |spec: &str, more: &str| {
        service("web", spec)
            + &format!("status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.2{more}}}]}}}}\n")
    };
    for (yaml, word) in [
        (ingress("", ", ipMode: Proxy"), "ProxyMode"),
        (ingress("", ", ipMode: other"), "Problem"),
        (
            ingress("  loadBalancerSourceRanges: [10.0.0.0/8]\n", ""),
            "SourceRanges",
        ),
    ] {
        let line = format!("web LoadBalancer {word}");
        check(&Case::new(&yaml), "192.0.2.2:80", "", &[&line]);
    }
}

#[test]
fn a_frontend_that_another_service_has_names_it() {
    let case = Case::new(&(service("web", "") + &service("zeb", "  externalIPs: [10.96.0.1]\n")));
    check(
        &case,
        "10.96.0.1:80",
        "ClusterIP",
        &["zeb ClusterIP Claimed"],
    );
    let zeb = case.policy.service_ports().nth(1);
    assert!(zeb.is_none(), "it wants the same ClusterIP");
    let name = ObjectName::new("default", "zeb");
    let port = case.policy.ports_of(&name).next().expect("it has a port");
    let explainer = case.policy.explainer(&case.catalog);
    let lost = explainer.claimed_by_others(&port.key);
    let holders: Vec<&str> = lost.map(|(_, holder)| &*holder.name).collect();
    assert_eq!(holders, ["web"]);
}

#[test]
fn only_cluster_ips_and_unknown_addresses_refuse() {
    let miss = |refuse_unknown, address: &str| {
        let mut case = Case::new(&service("web", "  externalIPs: [192.0.2.1]\n"));
        case.policy = Policy::new(Options {
            refuse_unknown,
            ..Options::default()
        });
        let names: Vec<_> = case
            .catalog
            .services()
            .map(|of| of.metadata.object_name())
            .collect();
        case.policy.update(&case.catalog, names);
        case.policy
            .explainer(&case.catalog)
            .miss(address.parse::<IpAddr>().expect("an address"))
    };
    let cidr = "10.96.0.0/16".parse().expect("a CIDR");
    let inside = || RefuseUnknown::In(vec![cidr]);
    assert_eq!(miss(RefuseUnknown::Nowhere, "10.96.0.1"), Miss::UnknownPort);
    assert_eq!(miss(RefuseUnknown::Nowhere, "192.0.2.1"), Miss::Passes);
    assert_eq!(miss(RefuseUnknown::Nowhere, "10.96.0.2"), Miss::Passes);
    assert_eq!(miss(inside(), "10.96.0.2"), Miss::UnknownAddress(cidr));
    assert_eq!(miss(inside(), "10.96.0.1"), Miss::UnknownPort);
    assert_eq!(miss(inside(), "10.97.0.1"), Miss::Passes);
}
