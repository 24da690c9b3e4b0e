//! The agent in place of kube-proxy, as the overlay deploys it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Deadline, Family, NamedServer, Question, RoutedNode, Sandbox, ServiceManifest, SliceManifest,
    sandboxed,
};

use crate::bundle::Bundle;
use crate::{LIMIT, TARGET};

const NODE_PORT: u16 = 30_080;

#[test]
fn the_agent_balances_packets_with_the_daemonsets_capabilities() {
    sandboxed(|sandbox| {
        let node = RoutedNode::new(sandbox)?;
        let pod = node.pod("server")?;
        let _server = NamedServer::tcp_with_client(&pod, TARGET, "server")?;
        write_service(sandbox, pod.ipv4())?;
        let outside = node.outside("outside")?;
        let to = SocketAddr::new(outside.node_address(Family::IPv4), NODE_PORT);
        // Not in the machine's cgroup, which the bundle's mounts hide: this thread's is no less outside of the node's.
        let ask = || {
            let network = outside.machine().namespace();
            network.enter(|| Question::to(to).over_tcp())?
        };

        let agent = Bundle::without_kube_proxy(sandbox, node.cgroup())?;
        let mut running = agent.start()?;
        running.wait_for_event("agent.ready")?;
        let log = running.log();
        ensure!(!log.has("packet_path.failed"), "{log}");
        assert_eq!(ask().context("while the agent runs")?.name, "server");
        // The ruleset and the watch of it.
        node.namespace().nft("delete table inet socklb")?;
        running.wait_for_event("packet_path.ruleset_repaired")?;
        let deadline = Deadline::within(LIMIT);
        while ask().is_err() {
            ensure!(!deadline.is_over(), "not repaired within {deadline}");
        }

        running.terminate()?;
        assert_eq!(ask().context("after the agent")?.name, "server");
        let unload = Bundle::unload(sandbox)?;
        let mut unloading = unload.start()?;
        ensure!(unloading.wait()?.success(), "{}", unloading.log());
        let table = node.namespace().nft("list table inet socklb");
        ensure!(table.is_err(), "the table is still there");
        let gone = ask().expect_err("nothing listens on the node");
        assert_eq!(gone.raw_os_error(), Some(libc::ECONNREFUSED), "{gone}");
        Ok(())
    });
}

fn write_service(sandbox: &Sandbox, backend: Ipv4Addr) -> Result<()> {
    let service = ServiceManifest::new("web").cluster_ip(Ipv4Addr::new(10, 96, 0, 10));
    let mut service = service.port("http", 80).to_json();
    service["spec"]["type"] = "NodePort".into();
    service["spec"]["ports"][0]["nodePort"] = NODE_PORT.into();
    let slice = SliceManifest::new("web", Family::IPv4).port("http", TARGET);
    sandbox
        .manifests()?
        .write("web.json", [service, slice.address(backend).to_json()])
}
