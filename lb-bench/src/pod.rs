//! The pod in which clients and servers are, so that no packet leaves its loopback device. One thread is both.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result};
use lb_testbed::{Pod, Sandbox};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::services::{BACKEND_PORT, BACKENDS};

/// Connections that may wait for accept(); the kernel's limit in a new network namespace is the same.
const BACKLOG: i32 = 4096;

/// Listens on all addresses of the calling thread's network namespace, without blocking.
pub(crate) fn listen() -> Result<TcpListener> {
    listen_on(Ipv4Addr::UNSPECIFIED, BACKEND_PORT)
}

/// As [`listen`], on one address.
pub(crate) fn listen_on(address: Ipv4Addr, port: u16) -> Result<TcpListener> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    listener.bind(&SockAddr::from(SocketAddr::from((address, port))))?;
    listener.listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    Ok(listener.into())
}

/// The pod with its servers. Its sockets are created outside of the contenders' cgroups.
#[derive(Debug)]
pub(crate) struct BenchPod {
    pod: Pod,
    listener: TcpListener,
    /// Receives datagrams until its buffer is full, so that none causes an ICMP error; sends those that clients expect.
    datagrams: UdpSocket,
}

impl BenchPod {
    pub(crate) fn new(sandbox: &Sandbox) -> Result<Self> {
        let pod = sandbox.pod("bench")?;
        pod.add_addresses(BACKENDS.map(IpAddr::from))?;
        let (listener, datagrams) = pod.enter(|| -> Result<_> {
            let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, BACKEND_PORT))?;
            Ok((listen()?, datagrams))
        })??;
        Ok(Self {
            pod,
            listener,
            datagrams,
        })
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Sends a datagram.
    pub(crate) fn send_to(&self, to: SocketAddr) -> std::io::Result<()> {
        let port = to.port();
        self.datagrams
            .send_to(b"!", (Ipv4Addr::LOCALHOST, port))
            .map(drop)
    }

    /// Closes the servers' ends of the connections that were made.
    pub(crate) fn accept_all(&self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client closed it before.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("cannot accept"),
            }
        }
    }
}
