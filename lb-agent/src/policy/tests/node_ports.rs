//! The addresses on which NodePorts answer.

use std::net::IpAddr;

use serde_json::json;

use super::{Case, service};
use crate::catalog::Node;
use crate::policy::{FrontendKind, NodePorts, primary_addresses};

/// The NodePort frontends of every service port.
fn node_ports(addresses: &[&str], range: (u16, u16), yaml: &str) -> Vec<String> {
    node_ports_in(&[], addresses, range, yaml)
}

/// As [`node_ports`], with `--nodeport-addresses`.
fn node_ports_in(
    allowed: &[&str],
    addresses: &[&str],
    range: (u16, u16),
    yaml: &str,
) -> Vec<String> {
    let mut addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("one")).collect();
    addresses.sort();
    let allowed = allowed.iter();
    let node_ports = NodePorts {
        addresses,
        range,
        allowed: allowed.map(|a| a.parse().expect("a range")).collect(),
        primary: None,
    };
    frontends(&node_ports, yaml)
}

/// The frontends of NodePorts.
fn frontends(node_ports: &NodePorts, yaml: &str) -> Vec<String> {
    let case = Case::new(yaml);
    let ports = case.policy.service_ports().cloned();
    let expanded = ports.map(|port| node_ports.expand(port));
    let frontends = expanded.flat_map(|port| port.frontends);
    let frontends = frontends.filter(|f| f.kind == FrontendKind::NodePort);
    frontends
        .map(|f| format!("{:?} {}", f.address, f.port))
        .collect()
}

fn both_families(node_port: u16) -> String {
    service("web", "  clusterIPs: [10.96.0.1, 'fd00::1']\n").replace(
        "{port: 80}",
        &format!("{{port: 80, nodePort: {node_port}}}"),
    )
}

#[test]
fn a_node_port_is_on_the_nodes_addresses_of_its_family_and_on_loopback() {
    let addresses = ["192.168.0.2", "10.0.0.1", "2001:db8::1"];
    assert_eq!(
        node_ports(&addresses, (30000, 32767), &both_families(30080)),
        [
            "Some(10.0.0.1) 30080",
            "Some(127.0.0.1) 30080",
            "Some(192.168.0.2) 30080",
            "Some(::1) 30080",
            "Some(2001:db8::1) 30080",
        ]
    );
    assert_eq!(
        node_ports(&[], (30000, 32767), &both_families(30080)),
        ["Some(127.0.0.1) 30080", "Some(::1) 30080"]
    );
}

#[test]
fn node_port_addresses_restrict_the_families_that_they_name() {
    let addresses = ["192.168.0.2", "10.0.0.1", "2001:db8::1", "fd00::1"];
    let all = [
        "10.0.0.1",
        "127.0.0.1",
        "192.168.0.2",
        "::1",
        "2001:db8::1",
        "fd00::1",
    ];
    let (ipv4, ipv6) = all.split_at(3);
    let cases: [(&[&str], Vec<&str>); 7] = [
        (&["10.0.0.0/8"], [&["10.0.0.1"], ipv6].concat()),
        (
            &["10.0.0.0/8", "192.168.0.2/32"],
            [&["10.0.0.1", "192.168.0.2"], ipv6].concat(),
        ),
        (&["127.0.0.0/8"], [&["127.0.0.1"], ipv6].concat()),
        (&["fd00::/8"], [ipv4, &["fd00::1"]].concat()),
        (
            &["10.0.0.0/8", "2001:db8::/32"],
            vec!["10.0.0.1", "2001:db8::1"],
        ),
        (&["172.16.0.0/12", "::1/128"], vec!["::1"]),
        (&["0.0.0.0/0", "::/0"], all.to_vec()),
    ];
    for (allowed, expected) in cases {
        let found = node_ports_in(allowed, &addresses, (30000, 32767), &both_families(30080));
        let expected: Vec<String> = expected
            .iter()
            .map(|address| format!("Some({address}) 30080"))
            .collect();
        assert_eq!(found, expected, "{allowed:?}");
    }
}

#[test]
fn a_node_port_outside_the_range_is_skipped() {
    for (number, is_ours) in [(29999, false), (30000, true), (32767, true), (32768, false)] {
        let found = node_ports(&["192.168.0.2"], (30000, 32767), &both_families(number));
        assert_eq!(found.len(), if is_ours { 3 } else { 0 }, "{number}");
    }
}

#[test]
fn primary_means_the_first_internal_or_else_external_address_of_each_family() {
    /// Types and addresses.
    type Addresses = &'static [(&'static str, &'static str)];
    let cases: [(Addresses, &[&str]); 6] = [
        (
            &[
                ("Hostname", "node-a"),
                ("ExternalIP", "203.0.113.1"),
                ("InternalIP", "10.0.0.1"),
                ("InternalIP", "10.0.0.2"),
            ],
            &["10.0.0.1"],
        ),
        (
            &[("InternalIP", "fd00::1"), ("ExternalIP", "203.0.113.1")],
            &["203.0.113.1", "fd00::1"],
        ),
        // As Go reads them.
        (
            &[("InternalIP", "no address"), ("InternalIP", "010.0.0.1")],
            &["10.0.0.1"],
        ),
        (&[("InternalIP", "::ffff:10.0.0.1")], &["10.0.0.1"]),
        (
            &[("InternalIP", "127.0.0.1"), ("InternalIP", "10.0.0.1")],
            &[],
        ),
        (&[], &[]),
    ];
    for (addresses, expected) in cases {
        let addresses = addresses
            .iter()
            .map(|(kind, address)| json!({"type": kind, "address": address}));
        let node = json!({
            "metadata": {"name": "node-a"},
            "status": {"addresses": addresses.collect::<Vec<_>>()},
        });
        let node: Node = serde_json::from_value(node.clone()).expect("a Node");
        let found: Vec<String> = primary_addresses(&node)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{node:?}");
    }
}

#[test]
fn primary_addresses_count_as_ranges_and_none_is_served_until_they_are_known() {
    let node_ports = |primary: &[&str], allowed: &[&str]| NodePorts {
        addresses: ["10.0.0.1", "10.0.0.2", "fd00::1"]
            .map(|address| address.parse().expect("an address"))
            .into(),
        range: (30_000, 32_767),
        allowed: allowed
            .iter()
            .map(|a| a.parse().expect("a range"))
            .collect(),
        primary: Some(primary.iter().map(|a| a.parse().expect("one")).collect()),
    };
    let cases: [(NodePorts, &[&str]); 4] = [
        // No address of IPv6 is named.
        (
            node_ports(&["10.0.0.2"], &[]),
            &["10.0.0.2", "::1", "fd00::1"],
        ),
        (node_ports(&["10.0.0.2", "fd00::9"], &[]), &["10.0.0.2"]),
        (node_ports(&[], &[]), &[]),
        (node_ports(&[], &["127.0.0.0/8"]), &["127.0.0.1"]),
    ];
    for (node_ports, expected) in cases {
        let expected: Vec<String> = expected
            .iter()
            .map(|address| format!("Some({address}) 30080"))
            .collect();
        let found = frontends(&node_ports, &both_families(30_080));
        assert_eq!(found, expected, "{node_ports:?}");
    }
}
