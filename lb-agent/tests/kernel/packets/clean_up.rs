//! kube-proxy's rules are removed, and come back, while connections are open: the steps of docs/install.md in both directions.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result};
use lb_testbed::{Family, connect, sandboxed};

use super::scene::{Kind, Protocol, Scene, Service, ask};
use crate::support::TARGET;

#[test]
fn open_connections_survive_the_removal_of_either_rules() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        let node = scene.outside.node_address(Family::IPv4);
        let to = service.at(Kind::NodePort, Family::IPv4, node);
        let machine = scene.outside.machine();
        let open = || machine.enter(|| connect(to))?.context("a connection");
        // Rules of another table that does the same, as kube-proxy's.
        let theirs = format!(
            "table ip kube-proxy {{\n\
             chain nat-prerouting {{\n\
             type nat hook prerouting priority dstnat\n\
             tcp dport {} dnat to {}:{TARGET}\n\
             }}\n\
             chain nat-postrouting {{\n\
             type nat hook postrouting priority srcnat\n\
             ct status dnat masquerade fully-random\n\
             }}\n\
             }}\n",
            to.port(),
            pods[0].ipv4(),
        );
        scene.node.namespace().nft(&theirs)?;
        let by_theirs = greeted(open()?)?;

        let mut running = scene.start()?;
        let beside = greeted(open()?)?;
        scene.node.namespace().nft("delete table ip kube-proxy")?;
        for stream in [&by_theirs, &beside] {
            echo(stream).context("after the clean-up")?;
        }
        let by_ours = greeted(open()?)?;

        scene.node.namespace().nft(&theirs)?;
        running.terminate()?;
        scene.agent.unload()?;
        for stream in [&by_theirs, &beside, &by_ours] {
            echo(stream).context("after the way back")?;
        }
        assert_eq!(ask(machine, to, Protocol::Tcp)?.name, "pod-0");
        Ok(())
    });
}

/// Reads the server's first line.
fn greeted(mut stream: TcpStream) -> Result<TcpStream> {
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
    }
    Ok(stream)
}

/// Sends a byte and gets it back.
fn echo(mut stream: &TcpStream) -> Result<()> {
    let mut byte = [0];
    stream.write_all(b"x")?;
    stream.read_exact(&mut byte)?;
    assert_eq!(byte, *b"x");
    Ok(())
}
