//! A client, a router and a server: network namespaces in a row. The sandbox's own is the router.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{NetworkNamespace, stretched};

/// The port of both servers.
pub const TARGET: u16 = 8080;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

pub struct Router {
    pub client: NetworkNamespace,
    server: NetworkNamespace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

pub const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

impl Family {
    fn address(self, ipv4: [u8; 4], ipv6: [u16; 8]) -> IpAddr {
        match self {
            Self::Ipv4 => ipv4.into(),
            Self::Ipv6 => Ipv6Addr::from(ipv6).into(),
        }
    }

    /// Where the client asks.
    pub fn router(self) -> IpAddr {
        self.address([192, 0, 2, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }

    pub fn client(self) -> IpAddr {
        self.address([192, 0, 2, 2], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2])
    }

    pub fn server(self) -> IpAddr {
        self.address([10, 1, 0, 2], [0xfd01, 0, 0, 0, 0, 0, 0, 2])
    }

    /// The router, as the server sees it.
    pub fn inside(self) -> IpAddr {
        self.address([10, 1, 0, 1], [0xfd01, 0, 0, 0, 0, 0, 0, 1])
    }
}

impl Router {
    /// Servers answer over TCP and UDP with the source address that they see; over UDP also with the length of the datagram.
    pub fn start() -> Result<Self> {
        let router = Self {
            client: NetworkNamespace::create()?,
            server: NetworkNamespace::create()?,
        };
        join(&router.client, "client0", Family::router, Family::client)?;
        join(&router.server, "server0", Family::inside, Family::server)?;
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            let path = format!("/proc/sys/net/{switch}");
            fs::write(&path, "1").with_context(|| format!("cannot write {path}"))?;
        }
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, TARGET));
        let (tcp, udp) = router
            .server
            .enter(|| io::Result::Ok((TcpListener::bind(any)?, UdpSocket::bind(any)?)))??;
        thread::spawn(move || serve_tcp(&tcp));
        thread::spawn(move || serve_udp(&udp));
        Ok(router)
    }

    /// Connects over TCP; what the server sees as the source.
    pub fn ask_tcp(&self, to: SocketAddr, limit: Duration) -> io::Result<IpAddr> {
        let mut stream = self
            .client
            .enter(|| TcpStream::connect_timeout(&to, limit))??;
        stream.set_read_timeout(Some(stretched(LIMIT)))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answer.parse().map_err(io::Error::other)
    }

    /// A connected socket of the client.
    pub fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        self.client.enter(|| {
            let socket = UdpSocket::bind((unspecified(to), 0))?;
            socket.connect(to)?;
            Ok(socket)
        })?
    }
}

/// Sends a datagram; what the server sees as the source.
pub fn ask_udp(socket: &UdpSocket, length: usize, limit: Duration) -> Result<IpAddr> {
    socket.set_read_timeout(Some(limit))?;
    socket.send(&vec![7; length])?;
    let mut answer = [0; 100];
    let received = socket.recv(&mut answer)?;
    let answer = std::str::from_utf8(&answer[..received])?;
    let (source, seen) = answer.split_once(' ').context("no length")?;
    ensure!(
        seen.parse() == Ok(length),
        "{seen} of {length} bytes arrived"
    );
    Ok(source.parse()?)
}

fn unspecified(to: SocketAddr) -> IpAddr {
    match to {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0_u16; 8]),
    }
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming() {
        let answer = stream.and_then(|mut stream| {
            let source = stream.peer_addr()?.ip().to_canonical();
            write!(stream, "{source}")
        });
        if let Err(error) = answer {
            eprintln!("the TCP server: {error}");
        }
    }
}

fn serve_udp(socket: &UdpSocket) {
    let mut datagram = vec![0; 65_536];
    while let Ok((length, source)) = socket.recv_from(&mut datagram) {
        let answer = format!("{} {length}", source.ip().to_canonical());
        if let Err(error) = socket.send_to(answer.as_bytes(), source) {
            eprintln!("the UDP server: {error}");
        }
    }
}

/// Connects a namespace to the calling thread's, with an address of each family at both ends.
fn join(
    namespace: &NetworkNamespace,
    device: &str,
    here: fn(Family) -> IpAddr,
    there: fn(Family) -> IpAddr,
) -> Result<()> {
    let path = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        namespace.as_fd().as_raw_fd()
    );
    ip(&format!(
        "link add {device} type veth peer name eth0 netns {path}"
    ))?;
    ip(&format!("link set {device} up"))?;
    for family in FAMILIES {
        ip(&address(device, here(family)))?;
    }
    namespace.enter(|| {
        ip("link set lo up")?;
        ip("link set eth0 up")?;
        for family in FAMILIES {
            ip(&address("eth0", there(family)))?;
            ip(&format!("route add default via {}", here(family)))?;
        }
        Ok(())
    })?
}

fn address(device: &str, address: IpAddr) -> String {
    match address {
        IpAddr::V4(_) => format!("addr add {address}/24 dev {device}"),
        IpAddr::V6(_) => format!("addr add {address}/64 dev {device} nodad"),
    }
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .context("cannot run `ip`: install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {said}");
    Ok(())
}
