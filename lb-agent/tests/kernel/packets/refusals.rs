//! What nobody serves: refused at once, or dropped, by kube-proxy's rules (the chains `KUBE-EXTERNAL-SERVICES` and `KUBE-SERVICES`
//! in pkg/proxy/iptables/proxier.go, the map `no-endpoint-services` in pkg/proxy/nftables/proxier.go).

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Family, NamedServer, Outside, Pod, Question, sandboxed};
use serde_json::json;

use super::outcome::Outcome::{self, Answered, Dropped, Refused};
use super::outcome::{expect, wait_for};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Protocol, Scene, Service, ask, put};
use crate::support::{HTTP, TARGET, get, status};

/// Expects it of every kind of frontend for which `wanted` is something, over both protocols and families; returns how many
/// questions there were.
fn expect_of(
    scene: &Scene<'_>,
    service: &Service,
    client: &Pod,
    wanted: impl Fn(Kind) -> Option<Outcome>,
) -> Result<u64> {
    let mut questions = 0;
    for kind in Kind::ALL {
        let Some(wanted) = wanted(kind) else { continue };
        for (family, protocol) in FAMILIES
            .into_iter()
            .flat_map(|family| PROTOCOLS.map(|protocol| (family, protocol)))
        {
            let to = service.at(kind, family, scene.outside.node_address(family));
            expect(client, to, protocol, wanted)
                .with_context(|| format!("{} {kind:?}", service.name))?;
            questions += 1;
        }
    }
    Ok(questions)
}

/// A counter of the agent's HTTP server.
fn counter(line: &str) -> Result<u64> {
    let (_, text) = get("metrics")?;
    let value = text
        .lines()
        .find_map(|other| other.strip_prefix(line)?.strip_prefix(' '))
        .with_context(|| format!("no metric {line}:\n{text}"))?;
    Ok(value.parse()?)
}

fn refused(reason: &str) -> Result<u64> {
    counter(&format!(
        "socklb_packet_connections_refused_total{{reason=\"{reason}\"}}"
    ))
}

fn connections() -> Result<u64> {
    let of = |family| {
        counter(&format!(
            "socklb_packet_connections_total{{family=\"{family}\"}}"
        ))
    };
    Ok(of("IPv4")? + of("IPv6")?)
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.agent = scene.agent.clone().arg(format!("--http={HTTP}"));
        let local = |name, number| {
            Service::new(name, number)
                .with("externalTrafficPolicy", json!("Local"))
                .with("internalTrafficPolicy", json!("Local"))
        };
        let services = [Service::new("empty", 10), local("empty-local", 20)];
        for service in &services {
            scene.write(service, &[])?;
        }
        let clients = [
            scene.outside.machine().clone(),
            scene.node.pod_without_hooks("vm")?,
        ];
        let _running = scene.start()?;
        let mut questions = 0;
        for service in &services {
            for client in &clients {
                questions += expect_of(&scene, service, client, |_| Some(Refused))?;
            }
        }
        assert_eq!(refused("no_backend")?, questions);
        assert_eq!(refused("no_local_backend")?, 0);
        assert_eq!(connections()?, 0);
        Ok(())
    });
}

#[test]
fn a_local_policy_without_local_endpoints_drops() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.agent = scene.agent.clone().arg(format!("--http={HTTP}"));
        let far = scene.remote_pod("far")?;
        let external = Service::new("external", 10).with("externalTrafficPolicy", json!("Local"));
        let internal = Service::new("internal", 20).with("internalTrafficPolicy", json!("Local"));
        for service in [&external, &internal] {
            scene.write(service, &[(&far, "node-b")])?;
        }
        let outside = scene.outside.machine().clone();
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        let is_cluster_ip = |kind| kind == Kind::ClusterIp;

        // The external policy is none of the ClusterIP's, and pods are not outside.
        let answered = expect_of(&scene, &external, &outside, |kind| {
            is_cluster_ip(kind).then_some(Answered)
        })? + expect_of(&scene, &external, &pod, |_| Some(Answered))?;
        assert_eq!(connections()?, answered);
        assert_eq!(refused("no_local_backend")?, 0);
        let dropped = expect_of(&scene, &external, &outside, |kind| {
            (!is_cluster_ip(kind)).then_some(Dropped)
        })?;
        // On a machine so busy that the client's kernel sends a SYN again, that one is counted too.
        assert!(refused("no_local_backend")? >= dropped);

        for client in [&outside, &pod] {
            expect_of(&scene, &internal, client, |kind| {
                Some(match is_cluster_ip(kind) {
                    true => Dropped,
                    false => Answered,
                })
            })?;
        }
        assert_eq!(refused("no_backend")?, 0);
        Ok(())
    });
}

#[test]
fn a_cluster_ip_refuses_ports_that_it_does_not_have() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        for client in [scene.outside.machine(), &pod] {
            for family in FAMILIES {
                let to = |kind| service.at(kind, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    expect(client, to(Kind::ClusterIp), protocol, Answered)?;
                    let mut unknown = to(Kind::ClusterIp);
                    unknown.set_port(81);
                    expect(client, unknown, protocol, Refused)?;
                }
            }
        }
        Ok(())
    });
}

/// Asks the machine outside, from this address and port.
fn ask_outside(
    scene: &Scene<'_>,
    client: &Pod,
    from: SocketAddr,
    protocol: Protocol,
    family: Family,
) -> Result<SocketAddr> {
    let to = SocketAddr::from((scene.outside.machine().address(family), TARGET));
    let answer = put(client, Question::to(to).from_socket(from), protocol)
        .with_context(|| format!("{} asks {to} from {from} over {protocol:?}", client.name()))?;
    ensure!(answer.name == "outside", "{} answered", answer.name);
    Ok(answer.client)
}

#[test]
fn an_answer_to_the_number_of_a_node_port_passes() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let far = scene.remote_pod("far")?;
        let local = Service::new("dropping", 30).with("externalTrafficPolicy", json!("Local"));
        let services = [
            Service::new("empty", 10),
            Service::new("serving", 20),
            local,
        ];
        scene.write(&services[0], &[])?;
        scene.write(&services[1], &[(&pods[0], "node-a")])?;
        scene.write(&services[2], &[(&far, "node-b")])?;
        let machine = scene.outside.machine().clone();
        let _servers = [
            NamedServer::tcp_with_client(&machine, TARGET, "outside")?,
            NamedServer::udp_with_client(&machine, TARGET, "outside")?,
        ];
        // The pods' way out of the cluster, as a CNI plugin has it. A plain masquerade keeps the port.
        scene.node.namespace().nft(&format!(
            "add table inet out\n\
             add chain inet out post {{ type nat hook postrouting priority srcnat; }}\n\
             add rule inet out post oifname {} masquerade\n",
            scene.outside.device()
        ))?;
        let _running = scene.start()?;
        for service in &services {
            for family in FAMILIES {
                let node = scene.outside.node_address(family);
                let asked = SocketAddr::from((node, service.node_port()));
                for protocol in PROTOCOLS {
                    // The node's own socket.
                    let seen = ask_outside(&scene, &scene.node.host(), asked, protocol, family)?;
                    assert_eq!(seen, asked);
                    // A pod that the node masquerades.
                    let from = (pods[0].address(family), service.node_port()).into();
                    let seen = ask_outside(&scene, &pods[0], from, protocol, family)?;
                    assert_eq!(seen.ip(), node);
                }
            }
        }
        // The rules were not without effect.
        let node = scene.outside.node_address(Family::IPv4);
        let to = |service: &Service| service.at(Kind::NodePort, Family::IPv4, node);
        expect(&machine, to(&services[0]), Protocol::Udp, Refused)?;
        expect(&machine, to(&services[2]), Protocol::Udp, Dropped)?;
        let answer = ask(&machine, to(&services[1]), Protocol::Udp)?;
        assert_eq!(answer.name, pods[0].name());
        Ok(())
    });
}

#[test]
fn a_node_port_is_served_only_at_the_addresses_of_the_flag() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let other = scene.node.outside("other")?;
        scene
            .outside
            .route_via_node(FAMILIES.map(|family| other.node_address(family)))?;
        let expect_all = |scene: &Scene<'_>, of: &Outside, wanted| {
            for family in FAMILIES {
                let to = service.at(Kind::NodePort, family, of.node_address(family));
                for protocol in PROTOCOLS {
                    wait_for(scene.outside.machine(), to, protocol, wanted)?;
                }
            }
            anyhow::Ok(())
        };
        let agent = scene.agent.clone();
        let subnets = FAMILIES.map(|family| scene.outside.subnet(family));
        scene.agent = agent
            .clone()
            .arg(format!("--nodeport-addresses={}", subnets.join(",")));
        let mut running = scene.start()?;
        // No socket of the node listens there.
        expect_all(&scene, &other, Refused)?;
        expect_all(&scene, &scene.outside, Answered)?;
        running.terminate()?;

        // The Node says which.
        scene.agent = agent.arg("--nodeport-addresses=primary");
        let running = scene.start()?;
        expect_all(&scene, &scene.outside, Refused)?;
        let problems = status(&scene.agent)?.problems;
        ensure!(problems.len() == 1, "{problems:?}");
        ensure!(problems[0].contains("node-a"), "{problems:?}");
        for (named, not_named) in [(&scene.outside, &other), (&other, &scene.outside)] {
            let addresses = FAMILIES
                .map(|family| json!({"type": "InternalIP", "address": named.node_address(family)}));
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "node-a"},
                "status": {"addresses": addresses},
            });
            scene.manifests.write("node.json", [node])?;
            expect_all(&scene, named, Answered)?;
            expect_all(&scene, not_named, Refused)?;
        }
        ensure!(status(&scene.agent)?.problems.is_empty());
        ensure!(running.log().warnings().is_empty(), "{}", running.log());
        Ok(())
    });
}
