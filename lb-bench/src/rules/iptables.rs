//! kube-proxy's iptables mode: a Service's rule is one of a list.

use std::fmt::Write as _;

use super::{PODS, Rules};
use crate::services::{self, BACKEND_PORT, BACKENDS, PORT};

impl Rules {
    /// For `iptables-restore`.
    pub(super) fn iptables(self) -> String {
        let protocol = self.protocol();
        let [mut chains, mut list, mut node_ports, mut rules] = [const { String::new() }; 4];
        for number in 0..self.services {
            let ip = *services::frontend(number).ip();
            let service = format!("KUBE-SVC-{number:016}");
            let name = format!("default/service-{number}:main");
            let comment = format!("-m comment --comment \"{name}");
            let _ = writeln!(chains, ":{service} - [0:0]");
            let _ = writeln!(
                list,
                "-A KUBE-SERVICES -d {ip}/32 -p {protocol} {comment} cluster IP\" -m {protocol} --dport {PORT} -j {service}"
            );
            let _ = writeln!(
                rules,
                "-A {service} ! -s {PODS} -d {ip}/32 -p {protocol} {comment} cluster IP\" -m {protocol} --dport {PORT} -j KUBE-MARK-MASQ"
            );
            if self.node.is_some() {
                let external = format!("KUBE-EXT-{number:016}");
                let port = services::node_port(number);
                let _ = writeln!(chains, ":{external} - [0:0]");
                let _ = writeln!(
                    node_ports,
                    "-A KUBE-NODEPORTS -p {protocol} {comment}\" -m {protocol} --dport {port} -j {external}"
                );
                let _ = writeln!(
                    rules,
                    "-A {external} -m comment --comment \"masquerade traffic for {name} external destinations\" -j KUBE-MARK-MASQ\n\
                     -A {external} -j {service}"
                );
            }
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
        let filter = self.node.map_or(FILTER_OF_OUTPUT, |_| FILTER);
        let prerouting = self.node.map_or("", |_| PREROUTING);
        format!(
            "{filter}*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
             :KUBE-MARK-MASQ - [0:0]\n{chains}{prerouting}\
             -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
             -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
             -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n\
             -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n\
             -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n\
             {list}\
             -A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n\
             {node_ports}{rules}COMMIT\n"
        )
    }
}

const PREROUTING: &str =
    "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n";

/// The filter for traffic that starts in the same network namespace.
const FILTER_OF_OUTPUT: &str = "*filter
:KUBE-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
";

/// The whole filter.
const FILTER: &str = "*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
";
