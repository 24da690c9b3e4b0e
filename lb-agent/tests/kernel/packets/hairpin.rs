//! Which client a server sees: hairpin, `--masquerade-all`, and agents that do not know the pods' addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Pod, sandboxed};
use serde_json::json;

use super::outcome::{Outcome, expect};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask, ask_until_all};

fn local(name: &'static str, number: u8) -> Service {
    Service::new(name, number).with("externalTrafficPolicy", json!("Local"))
}

/// Pods without hooks that serve.
fn pods_without_hooks<const N: usize>(scene: &mut Scene<'_>, names: [&str; N]) -> Result<[Pod; N]> {
    let pods: Vec<Pod> = names
        .iter()
        .map(|name| scene.node.pod_without_hooks(name))
        .collect::<Result<_>>()?;
    pods.iter().try_for_each(|pod| scene.serve(pod))?;
    pods.try_into()
        .map_err(|_| anyhow::anyhow!("another number of pods"))
}

/// Asks everything from the pod `own` until both pods have answered; `own` must see the node, and `other` what `sees_client` says.
fn check_hairpin(
    scene: &Scene<'_>,
    service: &Service,
    own: &Pod,
    sees_client: impl Fn(Kind) -> bool,
) -> Result<()> {
    for kind in Kind::ALL {
        for family in FAMILIES {
            let to = service.at(kind, family, scene.outside.node_address(family));
            let node = scene.node_addresses(family);
            for protocol in PROTOCOLS {
                let mut answered = BTreeSet::new();
                // One of two is missing after 40 questions once in 10^12 runs.
                for _ in 0..40 {
                    let answer = ask(own, to, protocol).with_context(|| {
                        format!("{} {kind:?} {family:?} {protocol:?}", service.name)
                    })?;
                    let seen = answer.client.ip();
                    let is_right = match answer.name == own.name() || !sees_client(kind) {
                        true => node.contains(&seen),
                        false => seen == own.address(family),
                    };
                    ensure!(
                        is_right,
                        "{} of {} saw {seen} at {kind:?} {family:?} {protocol:?}",
                        answer.name,
                        service.name
                    );
                    answered.insert(answer.name);
                    if answered.len() == 2 {
                        break;
                    }
                }
                ensure!(answered.len() == 2, "only {answered:?} answered at {to}");
            }
        }
    }
    Ok(())
}

/// Whether netfilter sees what the node's bridge forwards: then the bridge itself sends a translated packet back to its port.
fn set_bridge_netfilter(scene: &Scene<'_>, own: &Pod, is_on: bool) -> Result<()> {
    scene.node.set_bridge_netfilter(is_on)?;
    let [.., port] = own.ipv4().octets();
    let hairpin = if is_on { "on" } else { "off" };
    // As the CNI plugin `bridge` does with hairpinMode.
    let line = format!("link set pod{port} type bridge_slave hairpin {hairpin}\n");
    scene.node.namespace().ip(&line)
}

#[test]
fn a_pod_reaches_itself_and_other_pods_see_its_address() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let [own, other] = pods_without_hooks(&mut scene, ["own", "other"])?;
        let endpoints = [(&own, "node-a"), (&other, "node-a")];
        let cluster = Service::new("cluster", 10);
        let external = local("external", 20);
        let internal = local("internal", 30).with("internalTrafficPolicy", json!("Local"));
        for service in [&cluster, &external, &internal] {
            scene.write(service, &endpoints)?;
        }
        let _running = scene.start()?;
        for is_on in [false, true] {
            set_bridge_netfilter(&scene, &own, is_on)?;
            let check = |service, sees_client: fn(Kind) -> bool| {
                check_hairpin(&scene, service, &own, sees_client)
                    .with_context(|| format!("netfilter in the bridge: {is_on}"))
            };
            check(&cluster, |kind| kind == Kind::ClusterIp)?;
            check(&external, |_| true)?;
            check(&internal, |_| true)?;
        }
        Ok(())
    });
}

#[test]
fn a_pod_behind_another_node_sees_the_client_as_a_pod_here_does() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let far = scene.remote_pod("far")?;
        let services = [Service::new("cluster", 10), local("local", 20)];
        for service in &services {
            scene.write(service, &[(&far, "node-b")])?;
        }
        let _running = scene.start()?;
        // Of the other node's pods, the packets pass this node too.
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let node: IpAddr = scene.outside.node_address(family);
                let to = |service: &Service, kind| service.at(kind, family, node);
                let seen =
                    ask_until_all(&far, to(&services[1], Kind::NodePort), protocol, &["far"])?;
                // It reaches itself.
                ensure!(seen.is_subset(&scene.node_addresses(family)), "{seen:?}");
                let outside = scene.outside.machine();
                let seen = ask_until_all(
                    outside,
                    to(&services[0], Kind::NodePort),
                    protocol,
                    &["far"],
                )?;
                ensure!(seen.is_subset(&scene.node_addresses(family)), "{seen:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn masquerade_all_hides_every_client_of_a_cluster_ip() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.agent = scene.agent.clone().arg("--masquerade-all");
        let pods = scene.pods(1)?;
        let service = local("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        for client in [scene.outside.machine(), &pod] {
            for family in FAMILIES {
                let to = |kind| service.at(kind, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    let seen = |kind| ask(client, to(kind), protocol);
                    let of_cluster_ip = seen(Kind::ClusterIp)?.client.ip();
                    ensure!(
                        scene.node_addresses(family).contains(&of_cluster_ip),
                        "{of_cluster_ip} of {}",
                        client.name()
                    );
                    // The flag is about ClusterIPs only.
                    for kind in [Kind::NodePort, Kind::LoadBalancer, Kind::ExternalIp] {
                        assert_eq!(seen(kind)?.client.ip(), client.address(family));
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn without_cluster_cidr_everybody_is_outside_and_cluster_ips_hide_nobody() {
    sandboxed(|sandbox| {
        let mut scene = Scene::without_cluster_cidr(sandbox)?;
        let [own, other] = pods_without_hooks(&mut scene, ["own", "other"])?;
        let far = scene.remote_pod("far")?;
        let cluster = Service::new("cluster", 10);
        let near = local("near", 20);
        let elsewhere = local("elsewhere", 30);
        let endpoints = [(&own, "node-a"), (&other, "node-a")];
        scene.write(&cluster, &endpoints)?;
        scene.write(&near, &[endpoints[0], endpoints[1], (&far, "node-b")])?;
        scene.write(&elsewhere, &[(&far, "node-b")])?;
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        set_bridge_netfilter(&scene, &own, true)?;
        check_hairpin(&scene, &cluster, &own, |kind| kind == Kind::ClusterIp)?;
        for client in [scene.outside.machine(), &pod] {
            for family in FAMILIES {
                let node = scene.outside.node_address(family);
                for protocol in PROTOCOLS {
                    let names = ["own", "other"];
                    let to = cluster.at(Kind::ClusterIp, family, node);
                    let seen = ask_until_all(client, to, protocol, &names)?;
                    assert_eq!(seen, [client.address(family)].into());
                    // Pods too get only local endpoints.
                    let to = near.at(Kind::NodePort, family, node);
                    let seen = ask_until_all(client, to, protocol, &names)?;
                    assert_eq!(seen, [client.address(family)].into());
                    let to = elsewhere.at(Kind::LoadBalancer, family, node);
                    expect(client, to, protocol, Outcome::Dropped)?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_server_on_the_node_itself_sees_every_client() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let host = scene.node.host();
        scene.serve(&host)?;
        let services = [Service::new("cluster", 10), local("local", 20)];
        for service in &services {
            scene.write(service, &[(&host, "node-a")])?;
        }
        let pod = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        // Its packets never come to postrouting, where masquerade is.
        for client in [scene.outside.machine(), &pod] {
            for service in &services {
                for kind in Kind::ALL {
                    for family in FAMILIES {
                        let to = service.at(kind, family, scene.outside.node_address(family));
                        for protocol in PROTOCOLS {
                            let answer = ask(client, to, protocol)
                                .with_context(|| format!("{kind:?} {to} {protocol:?}"))?;
                            assert_eq!(answer.name, host.name());
                            assert_eq!(answer.client.ip(), client.address(family));
                        }
                    }
                }
            }
        }
        Ok(())
    });
}
