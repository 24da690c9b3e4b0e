//! However a socket uses its entry in ORIGINS, the entry is freed.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, Family, NamedServer, Sandbox, ServiceManifest, SliceManifest, connect, sandboxed,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::support::{
    PORT, Web, active, agent, backends, cluster_ip, eventually, status, write_service,
};

const DNS: u16 = 53;

/// A UDP Service with two backends, and its agent.
fn dns(sandbox: &Sandbox) -> Result<(Vec<lb_testbed::Pod>, Vec<NamedServer>, Agent)> {
    let pods = sandbox.pods(2)?;
    let servers = pods
        .iter()
        .map(|pod| NamedServer::udp(pod, DNS, pod.name()))
        .collect::<Result<_>>()?;
    let manifests = sandbox.manifests()?;
    let objects = [1, 2].into_iter().flat_map(|number| {
        let name = format!("dns-{number}");
        let service = ServiceManifest::new(&name)
            .cluster_ip(cluster_ip(number))
            .udp_port("dns", DNS);
        let slice = SliceManifest::new(&name, Family::IPv4)
            .udp_port("dns", DNS)
            .addresses(pods.iter().map(lb_testbed::Pod::ipv4));
        [service.to_json(), slice.to_json()]
    });
    manifests.write("dns.json", objects)?;
    Ok((pods, servers, agent(sandbox, &manifests)))
}

fn service(number: u8) -> SocketAddr {
    (cluster_ip(number), DNS).into()
}

#[test]
fn an_open_connection_is_counted_and_a_closed_one_is_not() {
    sandboxed(|sandbox| {
        let web = Web::start(sandbox, 3, 3)?;
        let to = Web::ADDRESS;
        let streams = web.client.enter(|| {
            let streams = (0..200).map(|_| connect(to));
            streams.collect::<io::Result<Vec<TcpStream>>>()
        })??;
        assert_eq!(active(&web.agent)?, 200);
        for stream in &streams {
            assert_eq!(stream.peer_addr()?, to);
        }
        // A copy of the descriptor keeps the socket, and its count, alive.
        let copy = streams[0].try_clone()?;
        drop(streams);
        assert_eq!(active(&web.agent)?, 1);
        drop(copy);
        assert_eq!(active(&web.agent)?, 0);
        Ok(())
    });
}

#[test]
fn a_socket_that_connects_again_is_counted_once() {
    sandboxed(|sandbox| {
        let (pods, _servers, agent) = dns(sandbox)?;
        let client = sandbox.pod("client")?;
        let _running = agent.start()?;
        client.enter(|| -> Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            for round in 0..50 {
                let to = service(1 + round % 2);
                socket.connect(to)?;
                assert_eq!(socket.peer_addr()?, to);
                assert_eq!(active(&agent)?, 1);
            }
            socket.connect((pods[0].ipv4(), DNS))?;
            assert_eq!(active(&agent)?, 0);
            Ok(())
        })??;
        Ok(())
    });
}

#[test]
fn a_connect_refused_by_the_backend_is_uncounted() {
    sandboxed(|sandbox| {
        let pods = sandbox.pods(2)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let addresses: Vec<_> = pods.iter().map(|pod| pod.ipv4().into()).collect();
        write_service(&manifests, "nobody", cluster_ip(10), &addresses)?;
        let agent = agent(sandbox, &manifests);
        let _running = agent.start()?;
        let to = SocketAddr::from((cluster_ip(10), PORT));
        for _ in 0..100 {
            let refused = client.enter(|| TcpStream::connect(to).err())?;
            let refused = refused.and_then(|error| error.raw_os_error());
            assert_eq!(refused, Some(libc::ECONNREFUSED));
        }
        assert_eq!(active(&agent)?, 0);
        let connections: u64 = backends(&agent)?.iter().map(|b| b.connections).sum();
        assert_eq!(connections, 100);
        Ok(())
    });
}

#[test]
fn sockets_spill_when_their_set_is_full_and_are_uncounted() {
    sandboxed(|sandbox| {
        let (_pods, _servers, agent) = dns(sandbox)?;
        let client = sandbox.pod("client")?;
        let _running = agent.start()?;
        client.enter(|| -> Result<()> {
            let mut held = Vec::new();
            let set = cookie(&UdpSocket::bind("0.0.0.0:0")?)? >> 2 & SETS_MASK;
            // Twice as many sockets in one set as it has ways.
            for _ in 0..2_000_000 {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                if cookie(&socket)? >> 2 & SETS_MASK == set {
                    socket.connect(service(1))?;
                    held.push(socket);
                }
                if held.len() == 8 {
                    break;
                }
            }
            ensure!(
                held.len() == 8,
                "only {} sockets fell into the set",
                held.len()
            );
            assert_eq!(active(&agent)?, 8);
            for socket in &held {
                assert_eq!(socket.peer_addr()?, service(1));
                socket.connect(service(2))?;
            }
            assert_eq!(active(&agent)?, 8);
            for socket in &held {
                assert_eq!(socket.peer_addr()?, service(2));
            }
            // The sockets with a way close first. The others must still be found, although the set has room by then.
            for socket in held.drain(..4) {
                drop(socket);
            }
            assert_eq!(active(&agent)?, 4);
            for socket in &held {
                assert_eq!(socket.peer_addr()?, service(2));
                socket.connect(service(1))?;
                assert_eq!(socket.peer_addr()?, service(1));
            }
            assert_eq!(active(&agent)?, 4);
            drop(held);
            assert_eq!(active(&agent)?, 0);
            Ok(())
        })??;
        eventually(
            "nothing is quarantined",
            || Ok(status(&agent)?.resting == 0),
        )?;
        Ok(())
    });
}

/// The number of sets of a new ORIGINS, minus one.
const SETS_MASK: u64 = 65_535;

/// The identity by which the programs know a socket.
fn cookie(socket: &UdpSocket) -> io::Result<u64> {
    SockRef::from(socket).cookie()
}

#[test]
fn ping_and_udp_lite_sockets_are_not_misread() {
    sandboxed(|sandbox| {
        let (_pods, _servers, agent) = dns(sandbox)?;
        let client = sandbox.pod("client")?;
        let _running = agent.start()?;
        client.enter(|| -> Result<()> {
            fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
            for protocol in [Protocol::ICMPV4, Protocol::UDPLITE] {
                let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(protocol))?;
                let connected = socket.connect(&service(1).into());
                let error = connected.expect_err("nothing is there for this protocol");
                // Not translated: the kernel finds no route to the ClusterIP.
                assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH), "{error}");
            }
            Ok(())
        })??;
        ensure!(backends(&agent)?.iter().all(|b| b.connections == 0));
        Ok(())
    });
}
