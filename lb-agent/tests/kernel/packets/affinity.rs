//! `sessionAffinity: ClientIP`: a source address stays with one endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Family, Pod, Question, sandboxed};
use serde_json::json;

use super::scene::{FAMILIES, Kind, PROTOCOLS, Placed, Protocol, Scene, Service, ask, put};

fn sticky(name: &'static str, seconds: u32) -> Service {
    Service::new(name, 10)
        .with("sessionAffinity", json!("ClientIP"))
        .with(
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": seconds}}),
        )
}

fn placed(pods: &[Pod]) -> Vec<Placed<'_>> {
    pods.iter().map(|pod| (pod, "node-a")).collect()
}

/// Asks a few times from one address; the only name that answers.
fn only_name(
    client: &Pod,
    from: Option<IpAddr>,
    to: SocketAddr,
    protocol: Protocol,
) -> Result<String> {
    let question = match from {
        Some(from) => Question::to(to).from(from),
        None => Question::to(to),
    };
    let mut names = BTreeSet::new();
    for _ in 0..5 {
        names.insert(put(client, question, protocol)?.name);
    }
    ensure!(names.len() == 1, "{names:?} answer {from:?} at {to}");
    names.pop_first().context("nobody answered")
}

#[test]
fn one_client_has_one_endpoint_at_all_addresses_of_a_service() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(4)?;
        let service = sticky("web", 3_600);
        scene.write(&service, &placed(&pods))?;
        let vm = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        for client in [scene.outside.machine(), &vm] {
            for family in FAMILIES {
                for protocol in PROTOCOLS {
                    let mut names = BTreeMap::new();
                    for kind in Kind::ALL {
                        let to = service.at(kind, family, scene.outside.node_address(family));
                        names.insert(only_name(client, None, to, protocol)?, kind);
                    }
                    ensure!(names.len() == 1, "{names:?} over {protocol:?}");
                }
            }
        }
        Ok(())
    });
}

/// Addresses for clients on one machine.
fn addresses(family: Family, count: u8) -> Vec<IpAddr> {
    (1..=count)
        .map(|last| match family {
            Family::IPv4 => IpAddr::from([192, 0, 2, 200 + last]),
            Family::IPv6 => IpAddr::from([0x2001, 0xdb8, 0x77, 0, 0, 0, 0, last.into()]),
        })
        .collect()
}

#[test]
fn clients_spread_and_choose_again_after_the_time_out() {
    const CLIENTS: u8 = 20;
    const SECONDS: u32 = 2;
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(3)?;
        let lasting = sticky("lasting", 3_600);
        let mut short = sticky("short", SECONDS);
        short.number = 20;
        for service in [&lasting, &short] {
            scene.write(service, &placed(&pods))?;
        }
        let clients = FAMILIES.map(|family| (family, addresses(family, CLIENTS)));
        for (_, addresses) in &clients {
            scene.outside.add_addresses(addresses.iter().copied())?;
        }
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        let choices = |service: &Service| {
            let mut choices = Vec::new();
            for (family, addresses) in &clients {
                let node = scene.outside.node_address(*family);
                let to = service.at(Kind::NodePort, *family, node);
                for address in addresses {
                    let question = Question::to(to).from(*address);
                    choices.push(put(machine, question, Protocol::Tcp)?.name);
                }
            }
            anyhow::Ok(choices)
        };
        // That all of one family, or all after the time-out, agree by chance happens once in 10^9 runs.
        let first = choices(&lasting)?;
        for of_family in first.chunks(CLIENTS.into()) {
            let names: BTreeSet<_> = of_family.iter().collect();
            ensure!(names.len() > 1, "{of_family:?}");
        }
        let of_short = choices(&short)?;
        // The time-out counts from the last connection.
        thread::sleep(Duration::from_secs(u64::from(SECONDS) + 1));
        ensure!(choices(&short)? != of_short);
        ensure!(choices(&lasting)? == first);
        Ok(())
    });
}

#[test]
fn each_connection_prolongs_the_affinity() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    const CONNECTIONS: usize = 8;
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(4)?;
        let service = sticky("web", 3);
        scene.write(&service, &placed(&pods))?;
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        let node = scene.outside.node_address(Family::IPv4);
        let to = service.at(Kind::LoadBalancer, Family::IPv4, node);
        let mut names = Vec::new();
        let mut last = Instant::now();
        while names.len() < CONNECTIONS {
            let name = ask(machine, to, Protocol::Tcp)?.name;
            // A busy machine may have let the time-out pass.
            if last.elapsed() > TIMEOUT / 2 {
                names.clear();
            }
            last = Instant::now();
            names.push(name);
            thread::sleep(Duration::from_millis(600));
        }
        let distinct: BTreeSet<_> = names.iter().collect();
        ensure!(distinct.len() == 1, "{names:?}");
        Ok(())
    });
}

#[test]
fn a_client_whose_endpoint_left_gets_another_and_stays_there() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(3)?;
        let service = sticky("web", 3_600);
        scene.write(&service, &placed(&pods))?;
        let _running = scene.start()?;
        let machine = scene.outside.machine().clone();
        for family in FAMILIES {
            let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
            scene.write(&service, &placed(&pods))?;
            scene.wait_for_backends(&service, &placed(&pods))?;
            for protocol in PROTOCOLS {
                let mut left = placed(&pods);
                let mut seen = BTreeSet::new();
                while left.len() > 1 {
                    let name = only_name(&machine, None, to, protocol)?;
                    ensure!(seen.insert(name.clone()), "{name} had left");
                    left.retain(|(pod, _)| pod.name() != name);
                    scene.write(&service, &left)?;
                    scene.wait_for_backends(&service, &left)?;
                }
                let name = only_name(&machine, None, to, protocol)?;
                ensure!(left[0].0.name() == name);
                scene.write(&service, &placed(&pods))?;
                scene.wait_for_backends(&service, &placed(&pods))?;
                // One that comes back is not preferred.
                ensure!(only_name(&machine, None, to, protocol)? == name);
            }
        }
        Ok(())
    });
}

#[test]
fn affinity_never_leads_around_a_local_policy() {
    // One of them has the other node's endpoint, but for once in 10^9 runs.
    const CLIENTS: u8 = 30;
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let near = scene.pods(1)?;
        let far = scene.remote_pod("far")?;
        let service = sticky("web", 3_600).with("externalTrafficPolicy", json!("Local"));
        scene.write(&service, &[(&near[0], "node-a"), (&far, "node-b")])?;
        let clients = addresses(Family::IPv4, CLIENTS);
        scene.outside.add_addresses(clients.iter().copied())?;
        let _running = scene.start()?;
        let node = scene.outside.node_address(Family::IPv4);
        let at = |kind| service.at(kind, Family::IPv4, node);
        let machine = scene.outside.machine();
        let mut of_cluster_ip = BTreeSet::new();
        for client in clients {
            let client = Some(client);
            of_cluster_ip.insert(only_name(
                machine,
                client,
                at(Kind::ClusterIp),
                Protocol::Tcp,
            )?);
            for kind in [Kind::NodePort, Kind::LoadBalancer, Kind::ExternalIp] {
                let name = only_name(machine, client, at(kind), Protocol::Tcp)?;
                ensure!(name == near[0].name(), "{name} at {kind:?}");
            }
        }
        // Some had the other node's.
        ensure!(of_cluster_ip.contains(far.name()), "{of_cluster_ip:?}");
        Ok(())
    });
}
