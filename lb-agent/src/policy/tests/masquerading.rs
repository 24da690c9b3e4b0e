//! Which connections `plan` calls masqueraded. `tests/kernel/packets/matrix.rs` shows the same of packets.

use super::{Case, Settings, service};
use crate::policy::Masquerading;

/// Each frontend of a Service with all kinds of addresses, and which of its connections are masqueraded.
fn masqueraded(masquerading: &Masquerading, spec: &str) -> Vec<String> {
    let spec = format!("  type: LoadBalancer\n  externalIPs: [198.51.100.1]\n{spec}");
    let yaml = service("web", &spec).replace("{port: 80}", "{port: 80, nodePort: 30080}")
        + "status: {loadBalancer: {ingress: [{ip: 203.0.113.1}]}}\n";
    let settings = Settings {
        has_packet_path: true,
        ..Settings::default()
    };
    let case = Case::with(settings, &yaml);
    let mut lines = Vec::new();
    for port in case.policy.service_ports() {
        for frontend in &port.frontends {
            lines.push(format!(
                "{} {}",
                frontend.kind,
                masquerading.of(port, frontend)
            ));
        }
    }
    lines.sort();
    lines
}

fn with_cidrs(cidrs: &[&str], is_for_all: bool) -> Masquerading {
    let cidrs = cidrs.iter().map(|cidr| cidr.parse().expect("a range"));
    Masquerading {
        cluster_cidrs: cidrs.collect(),
        is_for_all,
    }
}

#[test]
fn the_policy_and_the_kind_of_address_decide() {
    let known = with_cidrs(&["10.244.0.0/16"], false);
    assert_eq!(
        masqueraded(&known, ""),
        [
            "ClusterIP from-outside",
            "ExternalIP all",
            "LoadBalancer all",
            "NodePort all"
        ]
    );
    assert_eq!(
        masqueraded(&known, "  externalTrafficPolicy: Local\n"),
        [
            "ClusterIP from-outside",
            "ExternalIP none",
            "LoadBalancer none",
            "NodePort none"
        ]
    );
    // A range of the other family tells nothing about this one.
    for unknown in [with_cidrs(&[], false), with_cidrs(&["fd00::/56"], false)] {
        assert_eq!(masqueraded(&unknown, "")[0], "ClusterIP none");
    }
    let all = with_cidrs(&["10.244.0.0/16"], true);
    assert_eq!(masqueraded(&all, "")[0], "ClusterIP all");
}
