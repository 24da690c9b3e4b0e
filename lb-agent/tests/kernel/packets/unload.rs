//! `lb-agent unload` removes the packet path too.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use lb_testbed::{Family, Pod, Question, connect, sandboxed, stretched};

use super::scene::{Kind, Protocol, Scene, Service, ask};
use crate::support::{status, unload};

/// Far longer than an answer takes.
const LIMIT: Duration = Duration::from_secs(1);

/// As kube-proxy or a CNI plugin has.
const OTHER_RULES: &str = "table inet other {
  chain nat {
    type nat hook postrouting priority 100
    oifname nowhere masquerade
  }
}";

#[test]
fn the_packet_path_outlives_the_agent_and_unload_removes_it() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let mut running = scene.start()?;
        let packets = status(&scene.agent)?.packet_path.context("it is on")?;
        ensure!(running.terminate()?.success());

        let node = scene.outside.node_address(Family::IPv4);
        let to: SocketAddr = service.at(Kind::NodePort, Family::IPv4, node);
        let client = scene.outside.machine();
        assert_eq!(ask(client, to, Protocol::Tcp)?.name, "pod-0");
        let mut open = open(client, to)?;
        echo(&mut open)?;

        // Without any, the kernel stops translating packets.
        scene.node.namespace().nft(OTHER_RULES)?;
        let said = unload(&scene.agent)?;
        for part in [
            "detached 9 hooks".to_owned(),
            format!("from {} network devices", packets.devices.len()),
            "inet socklb".to_owned(),
        ] {
            ensure!(said.contains(&part), "{said}");
        }
        let outcome = client.enter(|| Question::to(to).within(LIMIT).over_tcp())?;
        ensure!(outcome.is_err(), "{outcome:?}");
        echo(&mut open).context("on the connection that was open before")?;
        ensure!(unload(&scene.agent)?.contains("nothing to remove"));

        let left = "table inet socklb { comment \"managed by socklb\"; }";
        scene.node.namespace().nft(left)?;
        ensure!(unload(&scene.agent)?.contains("inet socklb"));
        ensure!(unload(&scene.agent)?.contains("nothing to remove"));
        Ok(())
    });
}

fn open(client: &Pod, to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = client.enter(|| connect(to))??;
    stream.set_read_timeout(Some(stretched(LIMIT)))?;
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    Ok(stream)
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}
