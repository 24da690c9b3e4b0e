//! kube-proxy's nftables mode: one look-up in a map of verdicts finds a Service's chain.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::{PODS, Rules};
use crate::services::{self, BACKEND_PORT, BACKENDS, PORT};

impl Rules {
    /// For `nft -f`.
    pub(super) fn nftables(self) -> String {
        let protocol = self.protocol();
        let mut rules = String::from(HEAD);
        let [mut service_ips, mut cluster_ips, mut node_ports] = [const { String::new() }; 3];
        for number in 0..self.services {
            let ip = *services::frontend(number).ip();
            let mut picks = String::new();
            for (index, backend) in BACKENDS.iter().enumerate() {
                let _ = writeln!(
                    rules,
                    "chain endpoint-{number}-{index} {{\n\
                     ip saddr {backend} jump mark-for-masquerade\n\
                     meta l4proto {protocol} dnat to {backend}:{BACKEND_PORT}\n}}"
                );
                let _ = write!(picks, "{index} : goto endpoint-{number}-{index},");
            }
            let _ = writeln!(
                rules,
                "chain service-{number} {{\n\
                 ip daddr {ip} {protocol} dport {PORT} ip saddr != {PODS} jump mark-for-masquerade\n\
                 numgen random mod {} vmap {{ {picks} }}\n}}",
                BACKENDS.len()
            );
            let _ = write!(
                service_ips,
                "{ip} . {protocol} . {PORT} : goto service-{number},"
            );
            let _ = write!(cluster_ips, "{ip},");
            if self.node.is_some() {
                let _ = writeln!(
                    rules,
                    "chain external-{number} {{\n\
                     jump mark-for-masquerade\n\
                     goto service-{number}\n}}"
                );
                let port = services::node_port(number);
                let _ = write!(node_ports, "{protocol} . {port} : goto external-{number},");
            }
        }
        let _ = writeln!(
            rules,
            "map service-ips {{\ntype ipv4_addr . inet_proto . inet_service : verdict\nelements = {{ {service_ips} }}\n}}\n\
             set cluster-ips {{\ntype ipv4_addr\nelements = {{ {cluster_ips} }}\n}}\n\
             map service-nodeports {{\ntype inet_proto . inet_service : verdict\n{}\n}}\n\
             set nodeport-ips {{\ntype ipv4_addr\n{}\n}}\n\
             {CHAINS}{OUTPUT}{}}}",
            elements(&node_ports),
            elements(
                &self
                    .node
                    .as_ref()
                    .map(Ipv4Addr::to_string)
                    .unwrap_or_default()
            ),
            self.node.map_or("", |_| FROM_OUTSIDE),
        );
        rules
    }
}

fn elements(list: &str) -> String {
    match list {
        "" => String::new(),
        list => format!("elements = {{ {list} }}"),
    }
}

const HEAD: &str = "table ip kube-proxy {
map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
map no-endpoint-nodeports { type inet_proto . inet_service : verdict; }
map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
chain mark-for-masquerade { mark set mark or 0x4000; }
";

const CHAINS: &str = "chain services {
ip daddr . meta l4proto . th dport vmap @service-ips
ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
}
chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
chain nodeport-endpoints-check { ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports; }
chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }
chain cluster-ips-check {
ip daddr @cluster-ips reject
ip daddr 10.96.0.0/12 drop
}
chain masquerading {
mark and 0x4000 == 0 return
mark set mark xor 0x4000
masquerade fully-random
}
";

/// The hooks that traffic passes which starts in the same network namespace.
const OUTPUT: &str = "chain filter-output {
type filter hook output priority -110;
ct state new jump service-endpoints-check
ct state new jump firewall-check
}
chain filter-output-post-dnat {
type filter hook output priority -90;
ct state new jump cluster-ips-check
}
chain nat-output {
type nat hook output priority -100;
jump services
}
chain nat-postrouting {
type nat hook postrouting priority 100;
jump masquerading
}
";

/// The other hooks.
const FROM_OUTSIDE: &str = "chain filter-prerouting {
type filter hook prerouting priority -110;
ct state new jump firewall-check
}
chain filter-input {
type filter hook input priority -110;
ct state new jump nodeport-endpoints-check
ct state new jump service-endpoints-check
}
chain filter-forward {
type filter hook forward priority -110;
ct state new jump service-endpoints-check
ct state new jump cluster-ips-check
}
chain nat-prerouting {
type nat hook prerouting priority -100;
jump services
}
";
