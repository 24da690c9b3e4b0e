//! Every algorithm chooses for packets too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_testbed::{Family, Pod, Question, sandboxed};

use super::scene::{
    FAMILIES, Kind, PROTOCOLS, Placed, Protocol, Scene, Service, ask_until_all, put,
};

/// How often each pod answers.
fn answers(
    scene: &Scene<'_>,
    service: &Service,
    from: impl IntoIterator<Item = IpAddr>,
) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for address in from {
        let family = match address {
            IpAddr::V4(_) => Family::IPv4,
            IpAddr::V6(_) => Family::IPv6,
        };
        let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
        let question = Question::to(to).from(address);
        let name = put(scene.outside.machine(), question, Protocol::Tcp)?.name;
        *answers.entry(name).or_default() += 1;
    }
    Ok(answers)
}

#[test]
fn every_algorithm_chooses_for_packets() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(3)?;
        let endpoints: Vec<Placed<'_>> = pods.iter().map(|pod| (pod, "node-a")).collect();
        let names: Vec<&str> = pods.iter().map(Pod::name).collect();
        let services = [
            Service::new("random", 10).by("random"),
            Service::new("least-conn", 20).by("least-conn"),
            Service::new("round-robin", 30).by("round-robin"),
            Service::new("maglev", 40).by("maglev"),
        ];
        for service in &services {
            scene.write(service, &endpoints)?;
        }
        let clients: Vec<IpAddr> = (1..=30)
            .map(|last| [192, 0, 2, 200 + last].into())
            .collect();
        scene.outside.add_addresses(clients.iter().copied())?;
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        for service in &services[..3] {
            for family in FAMILIES {
                let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
                for protocol in PROTOCOLS {
                    ask_until_all(machine, to, protocol, &names)?;
                }
            }
        }
        let [_, _, round_robin, maglev] = &services;
        let own = std::iter::repeat_n(machine.address(Family::IPv4), 30);
        let of_round_robin = answers(&scene, round_robin, own)?;
        ensure!(
            of_round_robin.values().all(|number| *number == 10),
            "{of_round_robin:?}"
        );

        // One source address has one endpoint, and the addresses spread.
        let mut chosen = BTreeSet::new();
        for client in &clients {
            let of_client = answers(&scene, maglev, [*client; 3])?;
            ensure!(of_client.len() == 1, "{client}: {of_client:?}");
            chosen.extend(of_client.into_keys());
        }
        ensure!(chosen.len() == names.len(), "{chosen:?}");
        Ok(())
    });
}
