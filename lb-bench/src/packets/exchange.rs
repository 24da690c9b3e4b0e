//! Timed exchanges between a client outside and a server behind a node. One thread is both, so that none has to wake up another.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fastrand::Rng;
use socket2::SockAddr;

use super::router::{Router, Target};
use crate::client::{tcp_socket, udp_socket};
use crate::server::Server;
use crate::services::ServiceKind;

/// Bytes of a bulk transfer.
const BULK: usize = 1 << 20;
/// Bytes in one call of write().
const CHUNK: usize = 1 << 16;

/// The exchange that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// connect() and close() of a TCP connection.
    TcpNew,
    /// One byte and one back on an open TCP connection.
    TcpRequest,
    /// A mebibyte from the server on an open TCP connection.
    TcpBulk,
    /// One datagram and one back with a new socket.
    UdpNew,
    /// The same with a socket that has had an answer before.
    UdpRequest,
}

impl Exchange {
    pub(super) const ALL: [Self; 5] = [
        Self::TcpNew,
        Self::TcpRequest,
        Self::TcpBulk,
        Self::UdpNew,
        Self::UdpRequest,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TcpNew => "tcp-new",
            Self::TcpRequest => "tcp-request",
            Self::TcpBulk => "tcp-bulk",
            Self::UdpNew => "udp-new",
            Self::UdpRequest => "udp-request",
        }
    }

    pub(super) fn kind(self) -> ServiceKind {
        match self {
            Self::TcpNew | Self::TcpRequest | Self::TcpBulk => ServiceKind::Tcp,
            Self::UdpNew | Self::UdpRequest => ServiceKind::Udp,
        }
    }

    /// Exchanges in a turn.
    fn operations(self) -> usize {
        match self {
            Self::TcpNew | Self::UdpNew => 100,
            Self::TcpRequest | Self::UdpRequest => 300,
            Self::TcpBulk => 8,
        }
    }
}

/// The exchanges of one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) exchange: Exchange,
    pub(super) services: usize,
    pub(super) seed: u64,
}

impl Turn {
    /// The time of each exchange.
    pub(super) fn run(self, router: &Router, target: Target) -> Result<Vec<Duration>> {
        let mut rng = Rng::with_seed(self.seed);
        let times = self.exchange.operations();
        let server = router.server();
        let first = target.address(self.services, &mut rng);
        let took = router.client().enter(|| match self.exchange {
            Exchange::TcpNew => (0..times)
                .map(|_| tcp_new(target.address(self.services, &mut rng), server))
                .collect(),
            Exchange::UdpNew => (0..times)
                .map(|_| udp_new(target.address(self.services, &mut rng), server))
                .collect(),
            Exchange::TcpRequest => tcp_requests(first, server, times),
            Exchange::TcpBulk => tcp_bulk(first, server, times),
            Exchange::UdpRequest => udp_requests(first, server, times),
        })?;
        took.with_context(|| format!("{} failed", self.exchange.name()))
    }
}

fn tcp_new(to: SocketAddr, server: &Server) -> Result<Duration> {
    let socket = tcp_socket()?;
    let to = SockAddr::from(to);
    let start = Instant::now();
    socket.connect(&to)?;
    let other = server.accept()?;
    drop(socket);
    drop(other);
    Ok(start.elapsed())
}

/// The client's and the server's end of a connection.
fn open(to: SocketAddr, server: &Server) -> Result<(TcpStream, TcpStream)> {
    let socket = tcp_socket()?;
    socket.connect(&SockAddr::from(to))?;
    let other = server.accept()?;
    other.set_nodelay(true)?;
    Ok((socket.into(), other))
}

fn tcp_requests(to: SocketAddr, server: &Server, times: usize) -> Result<Vec<Duration>> {
    let (mut client, mut other) = open(to, server)?;
    let mut request = || -> Result<Duration> {
        let start = Instant::now();
        client.write_all(b"?")?;
        Server::answer(&mut other)?;
        client.read_exact(&mut [0])?;
        Ok(start.elapsed())
    };
    (0..times).map(|_| request()).collect()
}

fn tcp_bulk(to: SocketAddr, server: &Server, times: usize) -> Result<Vec<Duration>> {
    let (mut client, mut other) = open(to, server)?;
    client.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    let mut transfer = || -> Result<Duration> {
        let start = Instant::now();
        let (mut sent, mut received) = (0, 0);
        let mut data = vec![0; CHUNK];
        while received < BULK {
            if sent < BULK {
                sent += or_none(other.write(&data[..CHUNK.min(BULK - sent)]))?;
            }
            received += or_none(client.read(&mut data))?;
        }
        Ok(start.elapsed())
    };
    (0..times).map(|_| transfer()).collect()
}

/// The number of bytes; 0 when the call would block.
fn or_none(result: std::io::Result<usize>) -> Result<usize> {
    match result {
        Ok(0) => bail!("the connection was closed"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => Ok(result?),
    }
}

fn udp_new(to: SocketAddr, server: &Server) -> Result<Duration> {
    let socket = udp_socket()?;
    let to = SockAddr::from(to);
    let start = Instant::now();
    socket.connect(&to)?;
    let client = UdpSocket::from(socket);
    ask(&client, server)?;
    drop(client);
    Ok(start.elapsed())
}

fn udp_requests(to: SocketAddr, server: &Server, times: usize) -> Result<Vec<Duration>> {
    let socket = udp_socket()?;
    socket.connect(&SockAddr::from(to))?;
    let client = UdpSocket::from(socket);
    ask(&client, server)?;
    let request = || -> Result<Duration> {
        let start = Instant::now();
        ask(&client, server)?;
        Ok(start.elapsed())
    };
    (0..times).map(|_| request()).collect()
}

fn ask(client: &UdpSocket, server: &Server) -> Result<()> {
    client.send(b"?")?;
    server.answer_datagram()?;
    client.recv(&mut [0])?;
    Ok(())
}
