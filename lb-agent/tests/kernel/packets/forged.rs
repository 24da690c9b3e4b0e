//! A pod cannot make verdicts: the priority of its packets ends at its network namespace (`____dev_forward_skb`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_common::verdict::{DROP, OUT_OF_RANGE, REJECT, choice};
use lb_testbed::{Pod, patiently, sandboxed, stretched};

use super::outcome::{Outcome, expect};
use super::scene::{FAMILIES, Kind, Protocol, Scene, Service};
use crate::support::TARGET;

const LIMIT: Duration = Duration::from_secs(2);

/// Ids of backends to try: more than there are.
const IDS: u32 = 16;

/// Asks over UDP with a priority of its own; the name of the server.
fn ask(client: &Pod, to: SocketAddr, priority: u32) -> Result<String> {
    let answer = client.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // SAFETY: the value is a plain number, and outlives the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PRIORITY,
                (&raw const priority).cast(),
                4,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        socket.set_read_timeout(Some(stretched(LIMIT)))?;
        socket.connect(to)?;
        socket.send(b"?")?;
        let mut answer = [0; 256];
        let length = patiently(LIMIT, || socket.recv(&mut answer))?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    })??;
    Ok(answer.split(' ').next().unwrap_or_default().to_owned())
}

#[test]
fn a_verdict_of_a_pods_own_has_no_effect() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(2)?;
        // Only the second one is an endpoint.
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[1], "node-a")])?;
        let vm = scene.node.pod_without_hooks("vm")?;
        let _running = scene.start()?;
        let to = SocketAddr::from((pods[0].ipv4(), TARGET));
        let choices = (0..IDS).map(choice);
        for client in [&vm, scene.outside.machine()] {
            if client.name() == vm.name() {
                for is_on in [false, true] {
                    scene.node.set_bridge_netfilter(is_on)?;
                    for priority in choices.clone().chain([REJECT, DROP, OUT_OF_RANGE]) {
                        let name = ask(client, to, priority)
                            .with_context(|| format!("{priority:#x} from {}", client.name()))?;
                        ensure!(name == pods[0].name(), "{priority:#x}: {name}");
                    }
                }
            }
            for family in FAMILIES {
                let to = service.at(Kind::NodePort, family, scene.outside.node_address(family));
                expect(client, to, Protocol::Udp, Outcome::Answered)?;
            }
        }
        // A verdict that it brings along does not keep the program from its own.
        let node = scene.outside.node_address(FAMILIES[0]);
        let cluster_ip = service.at(Kind::ClusterIp, FAMILIES[0], node);
        for priority in [REJECT, DROP, choice(0)] {
            ensure!(ask(&vm, cluster_ip, priority)? == pods[1].name());
        }
        Ok(())
    });
}
