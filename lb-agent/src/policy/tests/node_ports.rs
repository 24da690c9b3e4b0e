//! The addresses on which NodePorts answer.

use std::net::IpAddr;

use super::{Case, service};
use crate::policy::{FrontendKind, NodePorts};

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
    let node_ports = NodePorts {
        addresses,
        range,
        allowed: allowed
            .iter()
            .map(|range| range.parse().expect("a range"))
            .collect(),
    };
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
