//! Beside kube-proxy's nftables mode: a table as it writes it (pkg/proxy/nftables/proxier.go). Each connection is translated
//! once, by whichever chain comes first: of those with one priority that is the one made last (`nf_hook_entries_grow` in
//! net/netfilter/core.c).

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Family, Pod, sandboxed};

use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask};
use crate::netfilter::nft;
use crate::support::TARGET;

/// kube-proxy's table of one family, which sends the Service to this pod.
pub fn table(scene: &Scene<'_>, service: &Service, family: Family, pod: &Pod) -> String {
    let nowhere = IpAddr::from([0; 4]);
    let port = service.node_port();
    let address = |kind| service.at(kind, family, nowhere);
    let (ip, to) = match family {
        Family::IPv4 => ("ip", format!("{}:{TARGET}", pod.ipv4())),
        Family::IPv6 => ("ip6", format!("[{}]:{TARGET}", pod.ipv6())),
    };
    let (pods, nodes) = match family {
        Family::IPv4 => ("10.244.0.0/16", scene.outside.node_address(family)),
        Family::IPv6 => ("fd00:244::/48", scene.outside.node_address(family)),
    };
    let (own, cluster_ip) = (pod.address(family), address(Kind::ClusterIp));
    let mut service_ips = String::new();
    let mut node_ports = String::new();
    for protocol in ["tcp", "udp"] {
        let of = |kind: Kind, chain: &str| {
            let at = address(kind);
            format!("{} . {protocol} . {} : goto {chain}, ", at.ip(), at.port())
        };
        service_ips += &of(Kind::ClusterIp, "service");
        service_ips += &of(Kind::LoadBalancer, "external");
        service_ips += &of(Kind::ExternalIp, "external");
        node_ports += &format!("{protocol} . {port} : goto external, ");
    }
    format!(
        "table {ip} kube-proxy {{
            chain mark-for-masquerade {{ mark set mark or 0x4000; }}
            chain endpoint {{
                {ip} saddr {own} jump mark-for-masquerade
                meta l4proto {{ tcp, udp }} counter dnat to {to}
            }}
            chain service {{
                {ip} daddr {} {ip} saddr != {pods} jump mark-for-masquerade
                goto endpoint
            }}
            chain external {{
                jump mark-for-masquerade
                goto service
            }}
            map service-ips {{
                type {ip}v_addr . inet_proto . inet_service : verdict
                elements = {{ {service_ips} }}
            }}
            map service-nodeports {{
                type inet_proto . inet_service : verdict
                elements = {{ {node_ports} }}
            }}
            set nodeport-ips {{
                type {ip}v_addr
                elements = {{ {nodes} }}
            }}
            chain services {{
                {ip} daddr . meta l4proto . th dport vmap @service-ips
                {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
            }}
            chain masquerading {{
                mark and 0x4000 == 0 return
                mark set mark xor 0x4000
                masquerade fully-random
            }}
            chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
            chain nat-output {{ type nat hook output priority -100; jump services; }}
            chain nat-postrouting {{ type nat hook postrouting priority 100; jump masquerading; }}
        }}\n",
        cluster_ip.ip()
    )
    .replace("ipv_addr", "ipv4_addr")
    .replace("ip6v_addr", "ipv6_addr")
}

/// The sum of the packet counters in these tables' rules that translate.
fn translated(tables: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for table in tables {
        let listed = nft(&format!("list table {table}"))?;
        for line in listed.lines().filter(|line| line.contains("dnat")) {
            let (_, counter) = line.split_once("counter packets ").context("no counter")?;
            let number = counter.split(' ').next().context("no number")?;
            sum += number.parse::<u64>()?;
        }
    }
    Ok(sum)
}

const OURS: [&str; 1] = ["inet socklb"];
const THEIRS: [&str; 2] = ["ip kube-proxy", "ip6 kube-proxy"];

/// kube-proxy's table is there before ours, or comes later.
fn check(scene: &mut Scene<'_>, is_ours_later: bool) -> Result<()> {
    // Real rules have the same endpoints; these show who translated.
    let ours = scene.pods(1)?.remove(0);
    let theirs = scene.node.pod("theirs")?;
    scene.serve(&theirs)?;
    let service = Service::new("web", 10);
    scene.write(&service, &[(&ours, "node-a")])?;
    let vm = scene.node.pod_without_hooks("vm")?;
    let tables: String = FAMILIES
        .map(|family| table(scene, &service, family, &theirs))
        .concat();
    if is_ours_later {
        nft(&tables)?;
    }
    let _running = scene.start()?;
    if !is_ours_later {
        nft(&tables)?;
    }
    let mut connections = 0;
    for (client, is_outside) in [(scene.outside.machine(), true), (&vm, false)] {
        for kind in Kind::ALL {
            for family in FAMILIES {
                let to = service.at(kind, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    let answer = ask(client, to, protocol)
                        .with_context(|| format!("{} {to} {protocol:?}", client.name()))?;
                    connections += 1;
                    let first = if is_ours_later { &ours } else { &theirs };
                    ensure!(answer.name == first.name(), "{} answered", answer.name);
                    let seen = answer.client.ip();
                    let is_masqueraded = scene.node_addresses(family).contains(&seen);
                    ensure!(
                        is_masqueraded == (is_outside || kind != Kind::ClusterIp),
                        "{seen}"
                    );
                }
            }
        }
    }
    let sums = (translated(&OURS)?, translated(&THEIRS)?);
    let wanted = match is_ours_later {
        true => (connections, 0),
        false => (0, connections),
    };
    ensure!(sums == wanted, "{sums:?} of {connections}");
    // Without kube-proxy, the same.
    nft("delete table ip kube-proxy\ndelete table ip6 kube-proxy")?;
    for family in FAMILIES {
        let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
        for protocol in PROTOCOLS {
            ensure!(ask(scene.outside.machine(), to, protocol)?.name == ours.name());
        }
    }
    Ok(())
}

#[test]
fn connections_are_translated_once_where_kube_proxys_rules_are() {
    sandboxed(|sandbox| check(&mut Scene::new(sandbox)?, true));
}

#[test]
fn connections_are_translated_once_where_kube_proxys_rules_come() {
    sandboxed(|sandbox| check(&mut Scene::new(sandbox)?, false));
}
