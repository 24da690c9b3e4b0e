//! The privileges that the packet path needs.

use anyhow::Result;
use lb_agent::privileges::OF_TABLES;
use lb_testbed::sandboxed;

use crate::packets::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask_until_all};
use crate::support::eventually;

/// The same three as without it: devices, nftables and its watch need no more than CAP_NET_ADMIN.
#[test]
fn the_packet_path_needs_no_further_capability() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(2)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        scene.agent = scene.agent.with_only(OF_TABLES);
        let mut running = scene.start()?;
        check(&scene, &service, &["pod-0"])?;

        // More backends, and a device that was not there before.
        scene.write(&service, &[(&pods[0], "node-a"), (&pods[1], "node-a")])?;
        eventually("the second pod is asked", || {
            Ok(check(&scene, &service, &["pod-0", "pod-1"]).is_ok())
        })?;
        let later = scene.node.outside("later")?;
        running.wait_for_event_with("packet_path.attached", |event| {
            event.text("devices") == later.device()
        })?;
        let log = running.log();
        let worries = log.all().filter(|event| event.level() != "INFO");
        let worries: Vec<&str> = worries.map(|event| event.name()).collect();
        // Of sockets, not of packets.
        assert_eq!(worries, ["sockets.end_only_own_namespace"], "{log}");

        scene.node.namespace().nft("delete table inet socklb")?;
        running.wait_for_event("packet_path.ruleset_repaired")?;
        eventually("the backends are in the maps again", || {
            Ok(check(&scene, &service, &["pod-0", "pod-1"]).is_ok())
        })
    });
}

/// A client outside reaches each of these servers through the NodePort.
fn check(scene: &Scene<'_>, service: &Service, servers: &[&str]) -> Result<()> {
    let outside = scene.outside.machine();
    for family in FAMILIES {
        let node = scene.outside.node_address(family);
        for protocol in PROTOCOLS {
            let to = service.at(Kind::NodePort, family, node);
            ask_until_all(outside, to, protocol, servers)?;
        }
    }
    Ok(())
}
