//! Servers that send their name, so that a client knows which backend it reached.

mod tcp;
mod udp;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::namespace::NetworkNamespace;
use crate::pod::Pod;

/// What a server sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// Its name.
    Name,
    /// The address at which the client reached it.
    Address,
    /// Its name and the client's address and port; over UDP the question follows.
    NameAndClient,
}

/// A server on one thread, on all of a pod's addresses in both families, until it is dropped.
#[derive(Debug)]
pub struct NamedServer {
    name: String,
    port: u16,
    served: Arc<AtomicU64>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl NamedServer {
    /// Over TCP: writes its name and a newline to each client, then echoes what comes until the client closes.
    pub fn tcp(pod: &Pod, port: u16, name: &str) -> Result<Self> {
        Self::tcp_in(pod.namespace(), port, name)
    }

    /// Over UDP: answers each datagram with its name, from the address that the datagram was sent to.
    pub fn udp(pod: &Pod, port: u16, name: &str) -> Result<Self> {
        Self::udp_in(pod.namespace(), port, name)
    }

    /// As [`Self::tcp`], for example in the node's own namespace.
    pub fn tcp_in(namespace: &NetworkNamespace, port: u16, name: &str) -> Result<Self> {
        Self::start(namespace, Type::STREAM, port, name, Greeting::Name)
    }

    /// As [`Self::udp`], for example in the node's own namespace.
    pub fn udp_in(namespace: &NetworkNamespace, port: u16, name: &str) -> Result<Self> {
        Self::start(namespace, Type::DGRAM, port, name, Greeting::Name)
    }

    /// As [`Self::tcp`], but it sends the address at which it was reached: a server for each of the pod's addresses.
    pub fn tcp_by_address(pod: &Pod, port: u16) -> Result<Self> {
        let kind = (Type::STREAM, Greeting::Address);
        Self::start(pod.namespace(), kind.0, port, "by address", kind.1)
    }

    /// As [`Self::udp`], with the address that the datagram was sent to in place of a name.
    pub fn udp_by_address(pod: &Pod, port: u16) -> Result<Self> {
        let kind = (Type::DGRAM, Greeting::Address);
        Self::start(pod.namespace(), kind.0, port, "by address", kind.1)
    }

    /// As [`Self::tcp`], with the client's address and port after the name, for [`crate::Question`].
    pub fn tcp_with_client(pod: &Pod, port: u16, name: &str) -> Result<Self> {
        Self::tcp_with_client_in(pod.namespace(), port, name)
    }

    /// As [`Self::tcp_with_client`], in any network namespace.
    pub fn tcp_with_client_in(namespace: &NetworkNamespace, port: u16, name: &str) -> Result<Self> {
        let greeting = Greeting::NameAndClient;
        Self::start(namespace, Type::STREAM, port, name, greeting)
    }

    /// As [`Self::udp`], with the client's address and port after the name, and then the datagram itself, for
    /// [`crate::Question`].
    pub fn udp_with_client(pod: &Pod, port: u16, name: &str) -> Result<Self> {
        Self::udp_with_client_in(pod.namespace(), port, name)
    }

    /// As [`Self::udp_with_client`], in any network namespace.
    pub fn udp_with_client_in(namespace: &NetworkNamespace, port: u16, name: &str) -> Result<Self> {
        let greeting = Greeting::NameAndClient;
        Self::start(namespace, Type::DGRAM, port, name, greeting)
    }

    fn start(
        namespace: &NetworkNamespace,
        kind: Type,
        port: u16,
        name: &str,
        greeting: Greeting,
    ) -> Result<Self> {
        let (protocol, serve): (_, fn(&ServerTask) -> Result<()>) = match kind {
            Type::STREAM => (Protocol::TCP, tcp::serve),
            _ => (Protocol::UDP, udp::serve),
        };
        let socket = namespace
            .enter(|| bind(kind, protocol, port))
            .and_then(|bound| bound)
            .with_context(|| format!("server {name} cannot listen on port {port}"))?;
        let served = Arc::new(AtomicU64::new(0));
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map(Arc::new)
            .context("cannot make an eventfd")?;
        let port = socket
            .local_addr()?
            .as_socket()
            .map_or(port, |address| address.port());
        let task = ServerTask {
            socket,
            name: name.to_owned(),
            greeting,
            served: served.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Err(error) = serve(&task) {
                    eprintln!("server {} stopped: {error:#}", task.name);
                }
            })
            .context("cannot start a server's thread")?;
        Ok(Self {
            name: name.to_owned(),
            port,
            served,
            stop,
            thread: Some(thread),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, also when 0 was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The number of accepted connections, or of received datagrams. Each is counted before it is answered: a client
    /// that has its answer is included.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for NamedServer {
    fn drop(&mut self) {
        let stopping = self.stop.write(1);
        if let (Ok(_), Some(thread)) = (stopping, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// A server's thread, its socket and its counters.
struct ServerTask {
    socket: Socket,
    name: String,
    greeting: Greeting,
    served: Arc<AtomicU64>,
    stop: Arc<EventFd>,
}

impl ServerTask {
    /// The answer to `client`, who reached the server at the address `asked`.
    fn greeting(&self, asked: Option<IpAddr>, client: Option<SocketAddr>) -> String {
        match (self.greeting, asked, client) {
            (Greeting::Address, Some(address), _) => format!("{}\n", address.to_canonical()),
            (Greeting::NameAndClient, _, Some(client)) => {
                let client = SocketAddr::new(client.ip().to_canonical(), client.port());
                format!("{} {client}\n", self.name)
            }
            _ => format!("{}\n", self.name),
        }
    }

    fn count(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    fn stop_fd(&self) -> impl AsFd {
        self.stop.as_ref().as_fd()
    }
}

/// One socket for both families: IPv4 clients show as `::ffff:a.b.c.d`.
fn bind(kind: Type, protocol: Protocol, port: u16) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(false)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::Ipv6RecvPacketInfo,
            &true,
        )?;
    }
    socket.bind(&SockAddr::from(SocketAddr::from((
        Ipv6Addr::UNSPECIFIED,
        port,
    ))))?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

/// Connections that wait to be accepted. The kernel's own cap in a new network namespace is the same.
const BACKLOG: i32 = 4096;
