//! `lb-agent connections`, on a node with a dual-stack Service over TCP and UDP.

mod filters;
mod many;
mod missing;
mod rows;
mod watch;

use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{
    Agent, AgentProcess, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest, connect, die_with_parent, patiently,
};
use serde_json::Value;
use socket2::{Domain, SockRef};

use crate::support::{PORT, TARGET, agent, cluster_ip};
use crate::udp;

const IPV4: IpAddr = IpAddr::V4(cluster_ip(10));
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 10));
const DNS: u16 = 53;

/// No cookies.
const NONE: [u64; 0] = [];

/// The Service `shop/web`: `http` over TCP on port 80 and `dns` over UDP on port 53, both with the same pods.
struct Scene {
    pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
    client: Pod,
    manifests: Manifests,
    agent: Agent,
    running: AgentProcess,
}

impl Scene {
    fn start(sandbox: &Sandbox, pods: usize) -> Result<Self> {
        let pods = sandbox.pods(pods)?;
        let mut servers = Vec::new();
        for pod in &pods {
            servers.push(NamedServer::tcp(pod, TARGET, pod.name())?);
            servers.push(NamedServer::udp(pod, TARGET, pod.name())?);
        }
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let service = ServiceManifest::new("web")
            .namespace("shop")
            .cluster_ip(IPV4)
            .cluster_ip(IPV6)
            .port("http", PORT)
            .udp_port("dns", DNS);
        let slice = |family| {
            let slice = SliceManifest::new("web", family).namespace("shop");
            let slice = slice.port("http", TARGET).udp_port("dns", TARGET);
            let addresses = pods.iter().map(|pod| pod.address(family));
            slice.addresses(addresses).to_json()
        };
        let slices = [Family::IPv4, Family::IPv6].map(slice);
        let [first, second] = slices;
        manifests.write("web.json", [service.to_json(), first, second])?;
        let agent = agent(sandbox, &manifests);
        let running = agent.start()?;
        Ok(Self {
            pods,
            _servers: servers,
            client,
            manifests,
            agent,
            running,
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        command(&self.agent, args)
    }

    /// The objects that the command lists, and what it prints to stderr.
    fn list(&self, args: &[&str]) -> Result<(Vec<Value>, String)> {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        of_output(self.command(&args).output()?)
    }

    /// The cookies of the listed sockets, sorted. Nothing may be printed to stderr.
    fn cookies(&self, args: &[&str]) -> Result<Vec<u64>> {
        let (rows, error) = self.list(args)?;
        ensure!(error.is_empty(), "{args:?}: {error}");
        Ok(cookies(&rows))
    }

    /// The pod's address in the family of a ClusterIP.
    fn backend(&self, name: &str, frontend: SocketAddr) -> Result<SocketAddr> {
        let pod = self.pods.iter().find(|pod| pod.name() == name);
        let pod = pod.with_context(|| format!("no pod {name}"))?;
        let family = match frontend {
            SocketAddr::V4(_) => Family::IPv4,
            SocketAddr::V6(_) => Family::IPv6,
        };
        Ok((pod.address(family), TARGET).into())
    }
}

/// `lb-agent connections ARGS...` with an agent and its tables.
fn command(agent: &Agent, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.arg("connections").args(args);
    command.arg("--socket").arg(agent.socket());
    command.arg("--pin-dir").arg(agent.pin_dir());
    command
}

fn of_output(output: Output) -> Result<(Vec<Value>, String)> {
    let error = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{error}");
    Ok((serde_json::from_slice(&output.stdout)?, error))
}

fn cookies(rows: &[Value]) -> Vec<u64> {
    let mut cookies: Vec<u64> = rows
        .iter()
        .filter_map(|row| row["cookie"].as_u64())
        .collect();
    cookies.sort_unstable();
    cookies
}

enum Open {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

/// An open socket that went through the Service, and what it should be listed with.
struct Client {
    open: Open,
    frontend: SocketAddr,
    backend: SocketAddr,
    state: &'static str,
}

impl Client {
    /// A connection in the calling thread's namespace. `to` may be a mapped address.
    fn tcp(scene: &Scene, to: IpAddr) -> Result<Self> {
        let frontend = (to.to_canonical(), PORT).into();
        let mut stream = connect((to, PORT))?;
        let mut name = [0; 64];
        let length = stream.read(&mut name)?;
        let name = std::str::from_utf8(&name[..length])?.trim_end();
        Ok(Self {
            open: Open::Tcp(stream),
            frontend,
            backend: scene.backend(name, frontend)?,
            state: "ESTABLISHED",
        })
    }

    /// A UDP socket that has an answer.
    fn udp(scene: &Scene, to: IpAddr, is_connected: bool) -> Result<Self> {
        let address = (to, DNS).into();
        let frontend = (to.to_canonical(), DNS).into();
        let socket = udp::socket(Domain::for_address(address))?;
        let name = if is_connected {
            socket.connect(address)?;
            socket.send(b"?")?;
            let mut name = [0; 64];
            let length = patiently(udp::LIMIT, || socket.recv(&mut name))?;
            String::from_utf8_lossy(&name[..length]).into_owned()
        } else {
            udp::ask(&socket, address)?
        };
        Ok(Self {
            open: Open::Udp(socket),
            frontend,
            backend: scene.backend(name.trim_end(), frontend)?,
            state: if is_connected {
                "ESTABLISHED"
            } else {
                "UNCONNECTED"
            },
        })
    }

    fn cookie(&self) -> Result<u64> {
        Ok(SockRef::from(&self.fd()).cookie()?)
    }

    fn local(&self) -> Result<SocketAddr> {
        let local = match &self.open {
            Open::Tcp(stream) => stream.local_addr()?,
            Open::Udp(socket) => socket.local_addr()?,
        };
        Ok(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }

    fn protocol(&self) -> &'static str {
        match self.open {
            Open::Tcp(_) => "TCP",
            Open::Udp(_) => "UDP",
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.open {
            Open::Tcp(stream) => stream.as_fd(),
            Open::Udp(socket) => socket.as_fd(),
        }
    }
}

/// One of each kind, in the calling thread's namespace.
fn one_of_each(scene: &Scene) -> Result<Vec<Client>> {
    let IpAddr::V4(ipv4) = IPV4 else {
        unreachable!("it is IPv4")
    };
    let mapped = ipv4.to_ipv6_mapped().into();
    let mut clients = Vec::new();
    for to in [IPV4, IPV6, mapped] {
        clients.push(Client::tcp(scene, to)?);
        clients.push(Client::udp(scene, to, true)?);
    }
    for to in [IPV4, IPV6] {
        clients.push(Client::udp(scene, to, false)?);
    }
    Ok(clients)
}

/// A process `sleep` of a user that has a copy of a socket open, and the caller none.
fn sleep_with(socket: OwnedFd, user: u32) -> Result<Child> {
    let mut sleep = Command::new("sleep");
    sleep.arg("600").stdin(socket).uid(user);
    Ok(die_with_parent(&mut sleep).spawn()?)
}

fn cookies_of<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Result<Vec<u64>> {
    let mut cookies = clients
        .into_iter()
        .map(Client::cookie)
        .collect::<Result<Vec<u64>>>()?;
    cookies.sort_unstable();
    Ok(cookies)
}
