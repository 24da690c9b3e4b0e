//! What is open goes on, whatever becomes of the Service: conntrack keeps the choice, and only new flows get a verdict.

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Pod, sandboxed};
use serde_json::json;

use super::flow::Flow;
use super::outcome::{Outcome, wait_for};
use super::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service};

/// Opens flows of both protocols and families to the LoadBalancer IP and the NodePort.
fn open(scene: &Scene<'_>, client: &Pod, service: &Service) -> Result<Vec<(String, Flow)>> {
    // By default a UDP flow ends after 30 s of silence, in which an emulated machine does little.
    scene.node.namespace().set_sysctls(&[
        ("net/netfilter/nf_conntrack_udp_timeout", "3600"),
        ("net/netfilter/nf_conntrack_udp_timeout_stream", "3600"),
    ])?;
    let mut flows = Vec::new();
    for kind in [Kind::LoadBalancer, Kind::NodePort] {
        for family in FAMILIES {
            for protocol in PROTOCOLS {
                let to = service.at(kind, family, scene.outside.node_address(family));
                let what = format!("{} {kind:?} {to} over {protocol:?}", service.name);
                let (flow, _) = Flow::open(client, to, protocol).with_context(|| what.clone())?;
                flows.push((what, flow));
            }
        }
    }
    Ok(flows)
}

fn ask_all(flows: &mut [(String, Flow)]) -> Result<()> {
    for (what, flow) in flows {
        for _ in 0..3 {
            flow.ask().with_context(|| what.clone())?;
        }
    }
    Ok(())
}

/// Opens flows, changes the Service, waits until new flows become `wanted`, and asks the open ones.
fn outlive(
    scene: &Scene<'_>,
    service: &Service,
    client: &Pod,
    change: impl FnOnce() -> Result<()>,
    wanted: Outcome,
) -> Result<()> {
    let mut flows = open(scene, client, service)?;
    ensure!(flows.len() == 8);
    change()?;
    for family in FAMILIES {
        for protocol in PROTOCOLS {
            let to = service.at(
                Kind::LoadBalancer,
                family,
                scene.outside.node_address(family),
            );
            wait_for(client, to, protocol, wanted)?;
        }
    }
    ask_all(&mut flows)
}

#[test]
fn flows_outlive_the_endpoints_of_their_service() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("emptied", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let _running = scene.start()?;
        let client = scene.outside.machine();
        let empty = || scene.write(&service, &[]);
        outlive(&scene, &service, client, empty, Outcome::Refused)
    });
}

#[test]
fn flows_outlive_their_service() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("removed", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let _running = scene.start()?;
        let client = scene.outside.machine().clone();
        // Without its Service, packets to the LoadBalancer IP would go back and forth.
        scene
            .node
            .namespace()
            .ip("route add blackhole 203.0.113.0/24\n\
             route add blackhole 2001:db8:cb00::/64\n")?;
        let remove = || scene.manifests.remove("removed.json");
        outlive(&scene, &service, &client, remove, Outcome::Dropped)
    });
}

#[test]
fn flows_outlive_a_change_to_local_endpoints_elsewhere() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let far = scene.remote_pod("far")?;
        let service = Service::new("turned-local", 10);
        scene.write(&service, &[(&far, "node-b")])?;
        let _running = scene.start()?;
        let local = service
            .clone()
            .with("externalTrafficPolicy", json!("Local"));
        let client = scene.outside.machine();
        let turn = || scene.write(&local, &[(&far, "node-b")]);
        outlive(&scene, &service, client, turn, Outcome::Dropped)
    });
}

#[test]
fn flows_outlive_source_ranges_that_shut_them_out() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("shut", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let _running = scene.start()?;
        let shut = service.clone().with(
            "loadBalancerSourceRanges",
            json!(["172.16.0.0/12", "fd99::/64"]),
        );
        let pod = scene.node.pod_without_hooks("vm")?;
        let mut of_pod = open(&scene, &pod, &service)?;
        let client = scene.outside.machine();
        let turn = || scene.write(&shut, &[(&pods[0], "node-a")]);
        outlive(&scene, &service, client, turn, Outcome::Dropped)?;
        ask_all(&mut of_pod)
    });
}

#[test]
fn tcp_connections_outlive_the_removal_of_their_endpoint() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(2)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let _running = scene.start()?;
        let client = scene.outside.machine();
        let mut flows = open(&scene, client, &service)?;
        flows.retain(|(_, flow)| matches!(flow, Flow::Tcp(_)));
        ensure!(flows.len() == 4);
        scene.write(&service, &[(&pods[1], "node-a")])?;
        for family in FAMILIES {
            let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
            for protocol in PROTOCOLS {
                super::scene::wait_for_answer(client, to, protocol, pods[1].name())?;
            }
        }
        ask_all(&mut flows)
    });
}
