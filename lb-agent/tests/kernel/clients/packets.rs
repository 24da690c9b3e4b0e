//! Pods that are left out, on a node without kube-proxy.

use std::net::IpAddr;

use anyhow::Result;
use lb_testbed::sandboxed;

use crate::packets::scene::{FAMILIES, Kind, PROTOCOLS, Scene, Service, ask};
use crate::support::backends;

#[test]
fn the_packet_path_serves_pods_that_the_hooks_leave_alone() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let servers = scene.pods(2)?;
        let client = scene.node.pod("client")?;
        let service = Service::new("web", 10);
        let endpoints = [(&servers[0], "node-a"), (&servers[1], "node-a")];
        scene.write(&service, &endpoints)?;
        // None of them has an object.
        scene.agent = scene.agent.clone().arg("--pods=");
        let _running = scene.start()?;
        scene.wait_for_backends(&service, &endpoints)?;
        let names: Vec<&str> = servers.iter().map(|pod| pod.name()).collect();
        for (family, protocol) in FAMILIES.into_iter().flat_map(|f| PROTOCOLS.map(|p| (f, p))) {
            let to = service.at(Kind::ClusterIp, family, IpAddr::from([0; 4]));
            let answer = ask(&client, to, protocol)?;
            assert!(names.contains(&&*answer.name), "{answer:?}");
        }
        let by_sockets: Result<u64> =
            backends(&scene.agent).map(|all| all.iter().map(|backend| backend.connections).sum());
        assert_eq!(by_sockets?, 0);
        Ok(())
    });
}
