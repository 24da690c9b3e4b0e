//! The rules that kube-proxy writes for ClusterIPs, with the structure of its chains, for traffic that starts in the same network
//! namespace: see pkg/proxy/nftables/proxier.go and pkg/proxy/iptables/proxier.go of Kubernetes.

use std::fmt::Write as _;

use crate::services::{self, BACKEND_PORT, BACKENDS, PORT, ServiceKind};

/// The pods' addresses; the rules masquerade traffic from other addresses.
const PODS: &str = "10.244.0.0/16";

fn protocol(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Udp => "udp",
        _ => "tcp",
    }
}

/// For `nft -f`: one look-up in a map of verdicts finds the Service's chain.
pub(super) fn nftables(kind: ServiceKind, services: usize) -> String {
    let protocol = protocol(kind);
    let mut rules = String::from(NFTABLES_HEAD);
    let mut service_ips = String::new();
    let mut cluster_ips = String::new();
    for number in 0..services {
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
    }
    let _ = writeln!(
        rules,
        "map service-ips {{\ntype ipv4_addr . inet_proto . inet_service : verdict\nelements = {{ {service_ips} }}\n}}\n\
         set cluster-ips {{\ntype ipv4_addr\nelements = {{ {cluster_ips} }}\n}}\n\
         {NFTABLES_HOOKS}}}"
    );
    rules
}

const NFTABLES_HEAD: &str = "table ip kube-proxy {
map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }
map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
map service-nodeports { type inet_proto . inet_service : verdict; }
set nodeport-ips { type ipv4_addr; }
chain mark-for-masquerade { mark set mark or 0x4000; }
";

const NFTABLES_HOOKS: &str = "chain services {
ip daddr . meta l4proto . th dport vmap @service-ips
ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
}
chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
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
chain filter-output {
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

/// For `iptables-restore`: the Service's rule is one of a list.
pub(super) fn iptables(kind: ServiceKind, services: usize) -> String {
    let protocol = protocol(kind);
    let mut chains = String::new();
    let mut list = String::new();
    let mut rules = String::new();
    for number in 0..services {
        let ip = *services::frontend(number).ip();
        let service = format!("KUBE-SVC-{number:016}");
        let comment = format!("-m comment --comment \"default/service-{number}:main");
        let _ = writeln!(chains, ":{service} - [0:0]");
        let _ = writeln!(
            list,
            "-A KUBE-SERVICES -d {ip}/32 -p {protocol} {comment} cluster IP\" -m {protocol} --dport {PORT} -j {service}"
        );
        let _ = writeln!(
            rules,
            "-A {service} ! -s {PODS} -d {ip}/32 -p {protocol} {comment} cluster IP\" -m {protocol} --dport {PORT} -j KUBE-MARK-MASQ"
        );
        for (index, backend) in BACKENDS.iter().enumerate() {
            let endpoint = format!("KUBE-SEP-{number:013}-{index:02}");
            let _ = writeln!(chains, ":{endpoint} - [0:0]");
            let left = BACKENDS.len() - index;
            let chance = if left > 1 {
                format!(
                    "-m statistic --mode random --probability {:.10} ",
                    1.0 / left as f64
                )
            } else {
                String::new()
            };
            let to = format!("{backend}:{BACKEND_PORT}");
            let _ = writeln!(
                rules,
                "-A {service} {comment} -> {to}\" {chance}-j {endpoint}\n\
                 -A {endpoint} -s {backend}/32 {comment}\" -j KUBE-MARK-MASQ\n\
                 -A {endpoint} -p {protocol} {comment}\" -m {protocol} -j DNAT --to-destination {to}"
            );
        }
    }
    format!(
        "{IPTABLES_FILTER}*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
         :KUBE-MARK-MASQ - [0:0]\n{chains}\
         -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
         -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
         -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
         -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
         -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
         -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
         {list}\
         -A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n\
         {rules}COMMIT\n"
    )
}

const IPTABLES_FILTER: &str = "*filter
:KUBE-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
";
