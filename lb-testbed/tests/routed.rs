//! The routed node tested, without an agent: packets from outside, from other nodes' pods and from pods without hooks, routed, or
//! translated by rules of the test.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use lb_testbed::{
    Answer, CLUSTER_CIDRS, Family, Link, NamedServer, NetworkNamespace, Pod, Question, RoutedNode,
    connect, sandboxed,
};

const FAMILIES: [Family; 2] = [Family::IPv4, Family::IPv6];
/// Bytes of a question: one packet, and two and many fragments.
const LENGTHS: [usize; 3] = [1, 4_000, 20_000];
/// The address that rules of a test translate.
const VIPS: [&str; 2] = ["203.0.113.80", "2001:db8:ffff::80"];

fn vip(family: Family) -> Result<IpAddr> {
    let [ipv4, ipv6] = VIPS;
    Ok(match family {
        Family::IPv4 => ipv4.parse()?,
        Family::IPv6 => ipv6.parse()?,
    })
}

/// Both servers of a pod, named after it.
fn serve(pod: &Pod) -> Result<[NamedServer; 2]> {
    Ok([
        NamedServer::tcp_with_client(pod, 80, pod.name())?,
        NamedServer::udp_with_client(pod, 80, pod.name())?,
    ])
}

/// Asks over TCP, and over UDP with datagrams of each length.
fn ask_all(client: &Pod, to: IpAddr) -> Result<Vec<Answer>> {
    let question = Question::to((to, 80));
    let answers = client.enter(|| -> std::io::Result<_> {
        let mut answers = vec![question.over_tcp()?, question.of_length(20_000).over_tcp()?];
        for length in LENGTHS {
            answers.push(question.of_length(length).over_udp()?);
        }
        Ok(answers)
    })??;
    Ok(answers)
}

/// All answers come from this server, which saw this client.
#[track_caller]
fn assert_all(answers: &[Answer], server: &Pod, client: IpAddr) {
    let of: BTreeSet<(&str, IpAddr)> = answers
        .iter()
        .map(|answer| (answer.name.as_str(), answer.client.ip()))
        .collect();
    assert_eq!(of, BTreeSet::from([(server.name(), client)]));
}

/// Sends port 80 of [`VIPS`] to a pod; with masquerade if asked for.
fn translate(node: &NetworkNamespace, to: &Pod, masquerades: bool) -> Result<()> {
    let [ipv4, ipv6] = VIPS;
    let masquerade = if masquerades {
        "ct status dnat masquerade"
    } else {
        ""
    };
    node.nft(&format!(
        "table inet test\n\
         delete table inet test\n\
         table inet test {{\n\
         chain prerouting {{\n\
         type nat hook prerouting priority dstnat\n\
         ip daddr {ipv4} meta l4proto {{ tcp, udp }} th dport 80 dnat ip to {}:80\n\
         ip6 daddr {ipv6} meta l4proto {{ tcp, udp }} th dport 80 dnat ip6 to [{}]:80\n\
         }}\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat\n\
         {masquerade}\n\
         }}\n\
         }}\n",
        to.ipv4(),
        to.ipv6()
    ))
}

#[test]
fn a_machine_outside_reaches_the_node_and_its_pods() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let pod = node.pod("web")?;
        let host = node.host();
        let _servers = [serve(&pod)?, serve(&host)?];
        let outside = node.outside("client")?;
        outside.route_via_node(CLUSTER_CIDRS)?;
        for family in FAMILIES {
            let client = outside.machine().address(family);
            let answers = ask_all(outside.machine(), pod.address(family))?;
            assert_all(&answers, &pod, client);
            let answers = ask_all(outside.machine(), outside.node_address(family))?;
            assert_all(&answers, &host, client);
            // And the other way.
            let server = NamedServer::tcp_with_client(outside.machine(), 0, "outside")?;
            let question = Question::to((client, server.port()));
            let answer = pod.enter(|| question.over_tcp())??;
            assert_eq!(answer.client.ip(), pod.address(family));
        }
        Ok(())
    });
}

#[test]
fn machines_outside_have_addresses_of_their_own_and_more() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let pod = node.pod("web")?;
        let _servers = serve(&pod)?;
        let machines = [node.outside("one")?, node.outside("two")?];
        assert_eq!(
            machines.each_ref().map(lb_testbed::Outside::device),
            ["outside0", "outside1"]
        );
        let more: [IpAddr; 2] = ["198.51.100.7".parse()?, "2001:db8:7::7".parse()?];
        machines[1].add_addresses(more)?;
        for machine in &machines {
            machine.route_via_node(CLUSTER_CIDRS)?;
            for family in FAMILIES {
                let answers = ask_all(machine.machine(), pod.address(family))?;
                assert_all(&answers, &pod, machine.machine().address(family));
            }
        }
        for (family, from) in FAMILIES.into_iter().zip(more) {
            let question = Question::to((pod.address(family), 80)).from(from);
            let answers = machines[1]
                .machine()
                .enter(|| [question.over_tcp(), question.over_udp()])?;
            for answer in answers {
                assert_eq!(answer?.client.ip(), from);
            }
        }
        Ok(())
    });
}

#[test]
fn a_translated_packet_keeps_its_source_unless_it_is_masqueraded() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let (here, remote) = (node.pod("here")?, node.remote_node("node-b")?);
        let elsewhere = remote.pod("elsewhere")?;
        let _servers = [serve(&here)?, serve(&elsewhere)?];
        let outside = node.outside("client")?;
        outside.route_via_node(VIPS)?;
        let (ipv4, ipv6) = remote.masqueraded();
        let of_node: [IpAddr; 2] = [ipv4.into(), ipv6.into()];
        for (family, of_node) in FAMILIES.into_iter().zip(of_node) {
            for pod in [&here, &elsewhere] {
                translate(node.namespace(), pod, false)?;
                let answers = ask_all(outside.machine(), vip(family)?)?;
                assert_all(&answers, pod, outside.machine().address(family));
            }
            translate(node.namespace(), &elsewhere, true)?;
            let answers = ask_all(outside.machine(), vip(family)?)?;
            assert_all(&answers, &elsewhere, of_node);
            translate(node.namespace(), &here, true)?;
            let answers = ask_all(outside.machine(), vip(family)?)?;
            assert_all(&answers, &here, node.host().address(family));
        }
        Ok(())
    });
}

/// With and without br_netfilter, since both pods are on the node's bridge.
#[test]
fn a_pod_reaches_another_through_the_node() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let [server, hooked] = ["server", "hooked"].map(|name| node.pod(name));
        let (server, hooked) = (server?, hooked?);
        let unhooked = node.pod_without_hooks("unhooked")?;
        let _servers = serve(&server)?;
        translate(node.namespace(), &server, false)?;
        let has_bridge_netfilter = fs::exists("/proc/sys/net/bridge/bridge-nf-call-iptables")?;
        for bridge_netfilter in [false, true] {
            if has_bridge_netfilter {
                node.set_bridge_netfilter(bridge_netfilter)?;
            }
            for client in [&hooked, &unhooked] {
                for family in FAMILIES {
                    for to in [vip(family)?, server.address(family)] {
                        let answers = ask_all(client, to)?;
                        assert_all(&answers, &server, client.address(family));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_pod_without_hooks_is_not_below_the_agents_cgroup() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let outside = node.outside("client")?;
        let remote = node.remote_node("node-b")?;
        let cgroup = node.cgroup().file_name().and_then(|name| name.to_str());
        let below = format!("/{}", cgroup.unwrap_or_default());
        for (pod, is_below) in [
            (&node.pod("web")?, true),
            (&node.host(), true),
            (&node.pod_without_hooks("kata")?, false),
            (outside.machine(), false),
            (remote.host(), false),
            (&remote.pod("elsewhere")?, false),
        ] {
            let thread = pod.enter(|| fs::read_to_string("/proc/thread-self/cgroup"))??;
            let process = pod.command("cat").arg("/proc/self/cgroup").output()?;
            for cgroups in [thread, String::from_utf8(process.stdout)?] {
                let own = cgroups.lines().find(|line| line.starts_with("0::"));
                let is_there = own.is_some_and(|line| line.ends_with(&below));
                assert_eq!(is_there, is_below, "{}: {cgroups}", pod.name());
            }
        }
        Ok(())
    });
}

#[test]
fn every_kind_of_link_carries_packets() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let pod = node.pod("web")?;
        let _servers = serve(&pod)?;
        translate(node.namespace(), &pod, false)?;
        for link in Link::ALL {
            if !link.is_supported()? {
                println!("this kernel has no {link:?}");
                continue;
            }
            let outside = node.outside_over(&format!("{link:?}"), link)?;
            outside.route_via_node(VIPS)?;
            for family in FAMILIES {
                let answers = ask_all(outside.machine(), vip(family)?)?;
                assert_all(&answers, &pod, outside.machine().address(family));
            }
        }
        Ok(())
    });
}

#[test]
fn a_tun_device_has_no_link_header_and_ends_with_its_machine() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let links = || -> Result<String> {
            let output = node.host().command("ip").args(["-o", "link"]).output()?;
            Ok(String::from_utf8(output.stdout)?)
        };
        let outside = node.outside_over("tunnel", Link::Tun)?;
        let device = outside.device();
        let seen = links()?;
        let line = seen.lines().find(|line| line.contains(&device));
        assert!(
            line.is_some_and(|line| line.contains("link/none")),
            "{seen}"
        );
        drop(outside);
        let seen = links()?;
        assert!(!seen.contains(&device), "{seen}");
        Ok(())
    });
}

#[test]
fn nothing_gets_out_of_a_routed_node() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let (pod, outside) = (node.pod("client")?, node.outside("client")?);
        outside.route_via_node(["10.96.0.0/12", "fd00:96::/112"])?;
        for address in ["10.96.0.1", "198.51.100.1", "fd00:96::1", "2001:db8:99::1"] {
            let address = SocketAddr::new(address.parse()?, 80);
            for place in [&pod, &node.host(), outside.machine()] {
                let kind = place
                    .enter(|| connect(address))?
                    .map_err(|error| error.kind());
                let is_unreachable = matches!(
                    kind,
                    Err(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
                );
                assert!(is_unreachable, "{} to {address}: {kind:?}", place.name());
            }
        }
        Ok(())
    });
}

#[test]
fn a_question_has_a_source_and_a_time_limit() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let pod = node.pod("web")?;
        let servers = serve(&pod)?;
        let outside = node.outside("client")?;
        outside.route_via_node(CLUSTER_CIDRS)?;
        let machine = outside.machine();
        let question = Question::to((pod.ipv4(), 80)).within(Duration::from_millis(300));
        let from = SocketAddr::from((machine.ipv4(), 4_321));
        let answers = machine.enter(|| {
            let question = question.from_socket(from);
            [question.over_tcp(), question.over_udp()]
        })?;
        for answer in answers {
            assert_eq!(answer?.client, from);
        }
        assert_eq!(servers.each_ref().map(NamedServer::served), [1, 1]);
        node.namespace().nft(
            "table inet test { chain forward { type filter hook forward priority 0; drop; }; }",
        )?;
        let answers = machine.enter(|| [question.over_tcp(), question.over_udp()])?;
        for answer in answers {
            let kind = answer.map_err(|error| error.kind());
            let is_late = matches!(kind, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock));
            assert!(is_late, "{kind:?}");
        }
        Ok(())
    });
}
