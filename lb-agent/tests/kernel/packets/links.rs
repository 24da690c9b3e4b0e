//! Kinds of devices: the program sees the packets of each differently, and those of some twice.

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Link, Outside, Pod, sandboxed};

use super::outcome::{Outcome, expect, wait_for};
use super::scene::{
    FAMILIES, Kind, PROTOCOLS, Placed, Protocol, SERVICE_NETWORKS, Scene, Service, ask,
    ask_until_all, put,
};

/// Asks every kind of frontend over a link until all of the pods have answered, and those of a Service without endpoints, which refuse.
fn ask_over(
    scene: &Scene<'_>,
    outside: &Outside,
    [service, local, empty]: &[Service; 3],
    pods: &[Pod],
) -> Result<()> {
    let names: Vec<&str> = pods.iter().map(Pod::name).collect();
    let machine = outside.machine();
    for kind in Kind::ALL {
        for family in FAMILIES {
            let node = outside.node_address(family);
            let mut node_addresses = scene.node_addresses(family);
            node_addresses.insert(node);
            for protocol in PROTOCOLS {
                let seen =
                    ask_until_all(machine, service.at(kind, family, node), protocol, &names)?;
                ensure!(seen.is_subset(&node_addresses), "{seen:?}");
                let answer = ask(machine, local.at(kind, family, node), protocol)?;
                let is_masqueraded = node_addresses.contains(&answer.client.ip());
                ensure!(is_masqueraded == (kind == Kind::ClusterIp), "{answer:?}");
                expect(
                    machine,
                    empty.at(kind, family, node),
                    protocol,
                    Outcome::Refused,
                )?;
            }
            let question = lb_testbed::Question::to(service.at(kind, family, node));
            put(machine, question.of_length(4_000), Protocol::Udp)?;
        }
    }
    Ok(())
}

/// Over a link of this kind that is there when the agent starts, and one that comes later.
fn check(scene: &mut Scene<'_>, link: Link) -> Result<()> {
    let pods = scene.pods(2)?;
    let endpoints: Vec<Placed<'_>> = pods.iter().map(|pod| (pod, "node-a")).collect();
    let services = [
        Service::new("web", 10),
        Service::new("local", 20).with("externalTrafficPolicy", serde_json::json!("Local")),
        Service::new("empty", 30),
    ];
    scene.write(&services[0], &endpoints)?;
    scene.write(&services[1], &endpoints)?;
    scene.write(&services[2], &[])?;
    let before = scene.node.outside_over("before", link)?;
    let mut running = scene.start()?;
    let later = scene.node.outside_over("later", link)?;
    running.wait_for_event_with("packet_path.attached", |attached| {
        attached
            .text("devices")
            .split(", ")
            .any(|device| device == later.device())
    })?;
    for outside in [&before, &later] {
        outside.route_via_node(SERVICE_NETWORKS)?;
        // The agent learns of addresses apart from devices.
        for family in FAMILIES {
            let to = services[0].at(Kind::NodePort, family, outside.node_address(family));
            for protocol in PROTOCOLS {
                wait_for(outside.machine(), to, protocol, Outcome::Answered)?;
            }
        }
        ask_over(scene, outside, &services, &pods)
            .with_context(|| format!("over {}, {link:?}", outside.device()))?;
    }
    let log = running.log();
    ensure!(log.warnings().is_empty(), "{log}");
    Ok(())
}

/// Whether the kernel has this kind of link. Linux 6.1 of the virtual machine has all; a smaller kernel need not.
fn is_there(link: Link) -> Result<bool> {
    let is_there = link.is_supported()?;
    if !is_there {
        println!("NOT checked: this kernel has no link of the kind {link:?}");
    }
    Ok(is_there)
}

#[test]
fn packets_without_a_link_header_are_balanced() {
    sandboxed(|sandbox| check(&mut Scene::new(sandbox)?, Link::Tun));
}

#[test]
fn packets_of_a_bridge_are_balanced_once() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.node.set_bridge_netfilter(false)?;
        check(&mut scene, Link::Bridge)
    });
}

#[test]
fn packets_of_a_bridge_with_netfilter_are_balanced_once() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        scene.node.set_bridge_netfilter(true)?;
        check(&mut scene, Link::Bridge)
    });
}

#[test]
fn packets_of_a_vlan_are_balanced_once() {
    sandboxed(|sandbox| match is_there(Link::Vlan)? {
        true => check(&mut Scene::new(sandbox)?, Link::Vlan),
        false => Ok(()),
    });
}

#[test]
fn packets_of_a_bond_are_balanced_once() {
    sandboxed(|sandbox| match is_there(Link::Bond)? {
        true => check(&mut Scene::new(sandbox)?, Link::Bond),
        false => Ok(()),
    });
}
