//! ICMP: the program leaves it alone, and errors about a translated connection reach its client (conntrack translates them).

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{CLUSTER_CIDRS, Pod, Question, patiently, sandboxed, stretched};
use socket2::{Domain, Protocol as Number, SockAddr, Socket, Type};

use super::scene::{FAMILIES, Kind, Protocol, Scene, Service, put};

const LIMIT: Duration = Duration::from_secs(2);

/// Type and code of an echo request and of its answer (RFC 792, RFC 4443), and the length of the header that a raw socket
/// receives before it.
const IPV4: ([u8; 2], [u8; 2], usize) = ([8, 0], [0, 0], 20);
const IPV6: ([u8; 2], [u8; 2], usize) = ([128, 0], [129, 0], 0);

/// Sends an echo request, and waits for the answer from the same address.
fn ping(to: IpAddr) -> io::Result<()> {
    let ((request, answer, header), number, domain) = match to {
        IpAddr::V4(_) => (IPV4, Number::ICMPV4, Domain::IPV4),
        IpAddr::V6(_) => (IPV6, Number::ICMPV6, Domain::IPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(number))?;
    socket.set_read_timeout(Some(stretched(LIMIT)))?;
    // A raw socket that is connected receives only what comes from there.
    socket.connect(&SockAddr::from(SocketAddr::new(to, 0)))?;
    let mut packet = [request[0], request[1], 0, 0, 0x12, 0x34, 0, 1];
    // For IPv6 the kernel fills in the checksum.
    if to.is_ipv4() {
        [packet[2], packet[3]] = checksum(&packet).to_be_bytes();
    }
    socket.send(&packet)?;
    let mut received = [const { std::mem::MaybeUninit::uninit() }; 128];
    for _ in 0..100 {
        let length = patiently(LIMIT, || socket.recv(&mut received))?;
        let bytes = received[..length].iter().map(|byte| {
            // SAFETY: the kernel has written that many bytes.
            unsafe { byte.assume_init() }
        });
        let bytes: Vec<u8> = bytes.skip(header).collect();
        if bytes.starts_with(&answer) && bytes.get(4..8) == Some(&packet[4..8]) {
            return Ok(());
        }
    }
    Err(ErrorKind::TimedOut.into())
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2);
    let sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from(folded & 0xffff).unwrap_or_default()
}

#[test]
fn pings_pass() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let pods = scene.pods(1)?;
        let far = scene.remote_pod("far")?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&pods[0], "node-a")])?;
        scene.outside.route_via_node(CLUSTER_CIDRS)?;
        let _running = scene.start()?;
        let machine = scene.outside.machine();
        for family in FAMILIES {
            let node = scene.outside.node_address(family);
            let asked = put(
                machine,
                Question::to(service.at(Kind::NodePort, family, node)),
                Protocol::Tcp,
            )?;
            ensure!(asked.name == pods[0].name(), "{asked:?}");
            for to in [node, pods[0].address(family), far.address(family)] {
                machine
                    .enter(|| ping(to))?
                    .with_context(|| format!("ping {to}"))?;
            }
        }
        Ok(())
    });
}

/// The largest packet on the way to a pod, below those of all links. IPv6 allows none below 1280.
const NARROW: &str = "1300";

/// Makes the pod's node refuse larger packets to it.
fn narrow(node: &Pod, pod: &Pod) -> Result<()> {
    for family in FAMILIES {
        let address = pod.address(family).to_string();
        let status = node
            .command("ip")
            .args(["route", "replace", &address, "dev", "pod2", "mtu", NARROW])
            .status()?;
        if !status.success() {
            bail!("cannot set the MTU of the route to {address}: {status}");
        }
    }
    Ok(())
}

#[test]
fn a_client_learns_of_a_narrow_link_behind_the_node() {
    sandboxed(|sandbox| {
        let mut scene = Scene::new(sandbox)?;
        let far = scene.remote_pod("far")?;
        let service = Service::new("web", 10);
        scene.write(&service, &[(&far, "node-b")])?;
        narrow(scene.remote.host(), &far)?;
        let _running = scene.start()?;
        for family in FAMILIES {
            for kind in Kind::ALL {
                let to = service.at(kind, family, scene.outside.node_address(family));
                // Full segments do not fit, so the host of the pod answers each with an error until the client knows.
                let answer = put(
                    scene.outside.machine(),
                    Question::to(to).of_length(6_000),
                    Protocol::Tcp,
                );
                let answer = answer.with_context(|| format!("to {to}"))?;
                ensure!(answer.name == far.name(), "{answer:?}");
            }
        }
        Ok(())
    });
}
