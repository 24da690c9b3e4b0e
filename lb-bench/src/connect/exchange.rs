//! Timed exchanges between a client and a server, by each candidate.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use lb_testbed::{Cgroup, Pod};
use socket2::SockAddr;

use crate::client::{tcp_socket, udp_socket};
use crate::server::Server;
use crate::services::{self, BACKEND_PORT, BACKENDS, ServiceKind};

/// The exchange that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Only connect(), until the connection is established.
    Connect,
    /// connect(), one byte to the server and one back, close().
    Tcp,
    /// The same with a connected UDP socket.
    Udp,
}

impl Exchange {
    pub(super) const ALL: [Self; 3] = [Self::Connect, Self::Tcp, Self::Udp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "tcp-connect",
            Self::Tcp => "tcp-exchange",
            Self::Udp => "udp-exchange",
        }
    }

    pub(super) fn kind(self) -> ServiceKind {
        match self {
            Self::Connect | Self::Tcp => ServiceKind::Tcp,
            Self::Udp => ServiceKind::Udp,
        }
    }
}

/// A load balancer, or none, between the client and the backends.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) name: &'static str,
    /// The cgroup in which its sockets are created.
    pub(super) cgroup: Cgroup,
    pub(super) pod: &'a Pod,
    /// Clients connect to the pod itself.
    pub(super) is_direct: bool,
}

/// Exchanges of one candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedBatch {
    pub(super) exchange: Exchange,
    pub(super) services: usize,
    /// A random Service each time.
    pub(super) spread: bool,
    pub(super) operations: usize,
    pub(super) seed: u64,
}

impl TimedBatch {
    /// The time of each exchange.
    pub(super) fn run(self, candidate: &Candidate<'_>, server: &Server) -> Result<Vec<Duration>> {
        candidate.cgroup.join()?;
        let mut rng = Rng::with_seed(self.seed);
        let targets: Vec<SocketAddr> = (0..self.operations)
            .map(|_| self.target(candidate, &mut rng))
            .collect();
        candidate.pod.enter(|| {
            let operation = |&to: &SocketAddr| {
                let took = match self.exchange {
                    Exchange::Connect => connect(to, server),
                    Exchange::Tcp => tcp_exchange(to, server),
                    Exchange::Udp => udp_exchange(to, server),
                };
                took.with_context(|| {
                    format!("{} to {to} with {}", self.exchange.name(), candidate.name)
                })
            };
            targets.iter().map(operation).collect()
        })?
    }

    fn target(self, candidate: &Candidate<'_>, rng: &mut Rng) -> SocketAddr {
        let number = if self.spread {
            rng.usize(..self.services)
        } else {
            0
        };
        if candidate.is_direct {
            return (BACKENDS[rng.usize(..BACKENDS.len())], BACKEND_PORT).into();
        }
        services::frontend(number).into()
    }
}

fn connect(to: SocketAddr, server: &Server) -> Result<Duration> {
    let socket = tcp_socket()?;
    let to = SockAddr::from(to);
    let start = Instant::now();
    socket.connect(&to)?;
    let took = start.elapsed();
    drop(server.accept()?);
    Ok(took)
}

fn tcp_exchange(to: SocketAddr, server: &Server) -> Result<Duration> {
    let socket = tcp_socket()?;
    let to = SockAddr::from(to);
    let start = Instant::now();
    socket.connect(&to)?;
    let mut client = TcpStream::from(socket);
    client.write_all(b"?")?;
    let mut other = server.accept()?;
    Server::answer(&mut other)?;
    client.read_exact(&mut [0])?;
    drop(client);
    let took = start.elapsed();
    Ok(took)
}

fn udp_exchange(to: SocketAddr, server: &Server) -> Result<Duration> {
    let socket = udp_socket()?;
    let to = SockAddr::from(to);
    let start = Instant::now();
    socket.connect(&to)?;
    let client = UdpSocket::from(socket);
    client.send(b"?")?;
    server.answer_datagram()?;
    client.recv(&mut [0])?;
    drop(client);
    Ok(start.elapsed())
}
