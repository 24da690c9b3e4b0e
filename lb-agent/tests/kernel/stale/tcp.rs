//! TCP connections stay with their backends, unless `--terminate-tcp` is given.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Result, ensure};
use lb_testbed::{
    Agent, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest, SliceManifest, connect,
    sandboxed,
};
use socket2::Domain;

use super::{connected, wait_for_counts, wait_until_ended};
use crate::support::{PORT, TARGET, agent, cluster_ip, eventually, status};

/// The Service `both`, on one port over TCP and UDP; IPv4.
struct Both {
    pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
    client: Pod,
    manifests: Manifests,
}

const TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(cluster_ip(10)), PORT);

impl Both {
    fn new(sandbox: &Sandbox) -> Result<Self> {
        let pods = sandbox.pods(2)?;
        let mut servers = Vec::new();
        for pod in &pods {
            servers.push(NamedServer::tcp(pod, TARGET, pod.name())?);
            servers.push(NamedServer::udp(pod, TARGET, pod.name())?);
        }
        let both = Self {
            pods,
            _servers: servers,
            client: sandbox.pod("client")?,
            manifests: sandbox.manifests()?,
        };
        both.serve_by(0)?;
        Ok(both)
    }

    fn serve_by(&self, pod: usize) -> Result<()> {
        let service = ServiceManifest::new("both")
            .cluster_ip(TO.ip())
            .port("tcp", PORT)
            .udp_port("udp", PORT);
        let slice = SliceManifest::new("both", Family::IPv4)
            .port("tcp", TARGET)
            .udp_port("udp", TARGET)
            .address(self.pods[pod].ipv4());
        self.manifests
            .write("both.json", [service.to_json(), slice.to_json()])
    }

    /// A connection, a connection of an IPv6 socket, and a UDP socket.
    fn sockets(&self) -> Result<([TcpStream; 2], UdpSocket)> {
        self.client.enter(|| {
            let mapped = (cluster_ip(10).to_ipv6_mapped(), PORT);
            let streams = [connect(TO)?, connect(mapped)?];
            Ok((streams, connected(Domain::IPV4, TO)?))
        })?
    }

    fn agent(&self, sandbox: &Sandbox) -> Agent {
        agent(sandbox, &self.manifests)
    }
}

/// Checks that a connection is open: the server echoes.
fn check_echo(stream: &mut TcpStream, name: &str) -> Result<()> {
    let mut greeting = vec![0; name.len() + 1];
    stream.read_exact(&mut greeting)?;
    assert_eq!(String::from_utf8(greeting)?.trim_end(), name);
    stream.write_all(b"still here")?;
    let mut echo = [0; 10];
    stream.read_exact(&mut echo)?;
    assert_eq!(&echo, b"still here");
    Ok(())
}

#[test]
fn connections_are_kept_by_default() {
    sandboxed(|sandbox| {
        let both = Both::new(sandbox)?;
        let agent = both.agent(sandbox);
        let _running = agent.start()?;
        let (mut streams, witness) = both.sockets()?;
        both.serve_by(1)?;
        wait_until_ended(&witness)?;
        for stream in &mut streams {
            check_echo(stream, both.pods[0].name())?;
        }
        wait_for_counts(&agent, 1, 0)?;
        Ok(())
    });
}

#[test]
fn connections_are_ended_with_terminate_tcp() {
    sandboxed(|sandbox| {
        let both = Both::new(sandbox)?;
        let agent = both.agent(sandbox).arg("--terminate-tcp");
        let _running = agent.start()?;
        let (streams, datagrams) = both.sockets()?;
        let direct = (both.pods[0].ipv4(), TARGET);
        let mut direct = both.client.enter(|| connect(direct))??;
        both.serve_by(1)?;
        wait_until_ended(&datagrams)?;
        for mut stream in streams {
            eventually("the connection is ended", || {
                Ok(stream.peer_addr().is_err())
            })?;
            let mut text = Vec::new();
            let error = stream.read_to_end(&mut text).err();
            let number = error.and_then(|error| error.raw_os_error());
            assert_eq!(number, Some(libc::ECONNABORTED));
        }
        check_echo(&mut direct, both.pods[0].name())?;
        wait_for_counts(&agent, 1, 2)?;
        ensure!(status(&agent)?.socket_termination.includes_tcp);
        let (mut streams, _) = both.sockets()?;
        for stream in &mut streams {
            check_echo(stream, both.pods[1].name())?;
        }
        Ok(())
    });
}
