//! One operation, timed, for one of those that race.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use lb_testbed::{Cgroup, Pod};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::server::Server;
use crate::services::{self, BACKEND_PORT, BACKENDS, Kind};

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// connect() alone, until the connection is established.
    Connect,
    /// From connect() over a question and its answer to close().
    TcpExchange,
    /// The same with a connected UDP socket.
    UdpExchange,
}

impl Work {
    pub(super) const ALL: [Self; 3] = [Self::Connect, Self::TcpExchange, Self::UdpExchange];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "tcp-connect",
            Self::TcpExchange => "tcp-exchange",
            Self::UdpExchange => "udp-exchange",
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Connect | Self::TcpExchange => Kind::Tcp,
            Self::UdpExchange => Kind::Udp,
        }
    }
}

/// A way to reach the backends.
#[derive(Debug)]
pub(super) struct Racer<'a> {
    pub(super) name: &'static str,
    /// Where its sockets are made.
    pub(super) cgroup: Cgroup,
    pub(super) pod: &'a Pod,
    /// It goes straight to the pod.
    pub(super) is_direct: bool,
}

/// Operations of one racer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heat {
    pub(super) work: Work,
    pub(super) services: usize,
    /// A random Service each time.
    pub(super) spread: bool,
    pub(super) operations: usize,
    pub(super) seed: u64,
}

impl Heat {
    /// How long each operation took.
    pub(super) fn run(self, racer: &Racer<'_>, server: &Server) -> Result<Vec<Duration>> {
        racer.cgroup.join()?;
        let mut rng = Rng::with_seed(self.seed);
        let targets: Vec<SocketAddr> = (0..self.operations)
            .map(|_| self.target(racer, &mut rng))
            .collect();
        racer.pod.enter(|| {
            let operation = |&to: &SocketAddr| {
                let took = match self.work {
                    Work::Connect => connect(to, server),
                    Work::TcpExchange => tcp_exchange(to, server),
                    Work::UdpExchange => udp_exchange(to, server),
                };
                took.with_context(|| {
                    format!("{} to {to} by way of {}", self.work.name(), racer.name)
                })
            };
            targets.iter().map(operation).collect()
        })?
    }

    fn target(self, racer: &Racer<'_>, rng: &mut Rng) -> SocketAddr {
        let number = if self.spread {
            rng.usize(..self.services)
        } else {
            0
        };
        if racer.is_direct {
            return (BACKENDS[rng.usize(..BACKENDS.len())], BACKEND_PORT).into();
        }
        services::frontend(number).into()
    }
}

fn tcp_socket() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Closing resets the connection, so that nothing stays in TIME_WAIT.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
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
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
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
