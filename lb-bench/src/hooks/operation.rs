//! The operations that make the hooks run; each contender does the same ones.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::affinity::AffinityPin;
use crate::contender::{Contender, Hook, Runs};
use crate::pod::BenchPod;
use crate::services::{self, BACKEND_PORT, BACKENDS, ServiceKind};

/// Sockets that are open at once where many sockets spread the memory accesses.
const SOCKETS: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// TCP connections to an address that belongs to no Service.
    Direct,
    Tcp,
    Udp,
    /// Datagrams of unconnected sockets that have sent before.
    UdpFlow,
    /// Datagrams of unconnected sockets straight to a pod.
    UdpDirect,
    Getpeername,
    Recvmsg,
    AffinityFirst,
    AffinityHit,
    LeastConn,
}

impl Operation {
    pub(super) const ALL: [Self; 10] = [
        Self::Direct,
        Self::Tcp,
        Self::Udp,
        Self::UdpFlow,
        Self::UdpDirect,
        Self::Getpeername,
        Self::Recvmsg,
        Self::AffinityFirst,
        Self::AffinityHit,
        Self::LeastConn,
    ];

    /// The Services that it needs.
    pub(super) fn kind(self) -> ServiceKind {
        match self {
            Self::Direct | Self::Tcp => ServiceKind::Tcp,
            Self::Udp | Self::UdpFlow | Self::UdpDirect | Self::Getpeername | Self::Recvmsg => {
                ServiceKind::Udp
            }
            Self::AffinityFirst | Self::AffinityHit => ServiceKind::Affinity,
            Self::LeastConn => ServiceKind::LeastConn,
        }
    }

    /// The hooks that it runs, and the names of the cases.
    pub(super) fn cases(self) -> &'static [(Hook, &'static str)] {
        match self {
            Self::Direct => &[
                (Hook::Connect4, "miss"),
                (Hook::SockRelease, "release-miss"),
            ],
            Self::Tcp => &[
                (Hook::Connect4, "tcp-hit"),
                (Hook::SockRelease, "release-hit"),
            ],
            Self::Udp => &[(Hook::Connect4, "udp-hit")],
            Self::UdpFlow => &[(Hook::Sendmsg4, "udp-flow")],
            Self::UdpDirect => &[(Hook::Sendmsg4, "udp-miss")],
            Self::Getpeername => &[(Hook::Getpeername4, "getpeername-miss")],
            Self::Recvmsg => &[(Hook::Recvmsg4, "recvmsg-miss")],
            Self::AffinityFirst => &[(Hook::Connect4, "affinity-first")],
            Self::AffinityHit => &[(Hook::Connect4, "affinity-hit")],
            Self::LeastConn => &[(Hook::Connect4, "least-conn")],
        }
    }

    /// Whether the classic design supports it too.
    pub(super) fn is_classic(self) -> bool {
        matches!(self.kind(), ServiceKind::Tcp | ServiceKind::Udp)
    }
}

/// A batch of the same operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    pub(super) operation: Operation,
    pub(super) services: usize,
    /// A random Service each time, instead of always the same one.
    pub(super) spread: bool,
    pub(super) operations: usize,
    pub(super) seed: u64,
}

/// Nanoseconds for each run of a hook.
pub(super) type Costs = BTreeMap<Hook, f64>;

impl Batch {
    /// Runs in the contender's cgroup. With `is_direct`, clients connect to the pod itself: for programs that translate nothing.
    pub(super) fn run(
        self,
        contender: &Contender,
        pod: &BenchPod,
        affinity: Option<&AffinityPin>,
        is_direct: bool,
    ) -> Result<Costs> {
        contender.cgroup().join()?;
        let costs = pod.pod().enter(|| {
            let worker = Worker {
                batch: self,
                contender,
                pod,
                affinity,
                is_direct,
            };
            worker.run()
        })??;
        pod.accept_all()?;
        Ok(costs)
    }
}

#[derive(Debug)]
struct Worker<'a> {
    batch: Batch,
    contender: &'a Contender,
    pod: &'a BenchPod,
    affinity: Option<&'a AffinityPin>,
    is_direct: bool,
}

impl Worker<'_> {
    fn run(&self) -> Result<Costs> {
        let mut rng = Rng::with_seed(self.batch.seed);
        let targets = self.targets(&mut rng);
        match self.batch.operation {
            Operation::Direct | Operation::Tcp | Operation::LeastConn => {
                self.measured(|| tcp(&targets))
            }
            Operation::Udp => self.measured(|| udp(&targets)),
            Operation::UdpFlow | Operation::UdpDirect => {
                let sockets =
                    self.sockets(|socket, to| socket.send_to(b"?", to).map(drop), &targets)?;
                self.measured(|| {
                    each(&sockets, self.batch, &mut rng, |(socket, to)| {
                        socket.send_to(b"?", to).map(drop)
                    })
                })
            }
            Operation::Getpeername => {
                let sockets = self.sockets(|socket, to| socket.connect(to), &targets)?;
                self.measured(|| {
                    each(&sockets, self.batch, &mut rng, |(socket, _)| {
                        socket.peer_addr().map(drop)
                    })
                })
            }
            Operation::Recvmsg => {
                let sockets = self.sockets(|_, _| Ok(()), &targets)?;
                self.measured(|| {
                    each(&sockets, self.batch, &mut rng, |(socket, _)| {
                        self.pod.send_to(socket.local_addr()?)?;
                        socket.recv_from(&mut [0; 8]).map(drop)
                    })
                })
            }
            Operation::AffinityHit => {
                tcp(&targets)?;
                self.pod.accept_all()?;
                self.measured(|| tcp(&targets))
            }
            Operation::AffinityFirst => self.first(&mut rng),
        }
    }

    /// The kernel's figures for the runs during `work`.
    fn measured(&self, operation: impl FnOnce() -> Result<()>) -> Result<Costs> {
        let before = self.contender.runs()?;
        operation()?;
        let after = self.contender.runs()?;
        let cost = |hook: &Hook| {
            let earlier = before.get(hook).copied().unwrap_or_default();
            Runs::nanoseconds_since(after[hook], earlier)
        };
        let costs = after.keys().filter_map(|hook| Some((*hook, cost(hook)?)));
        Ok(costs.collect())
    }

    /// Connections of clients that are not in the affinity table.
    fn first(&self, rng: &mut Rng) -> Result<Costs> {
        let mut numbers: Vec<usize> = (0..self.batch.services).collect();
        if self.batch.spread {
            rng.shuffle(&mut numbers);
            numbers.truncate(self.batch.operations);
        } else {
            numbers.truncate(1);
        }
        let targets: Vec<SocketAddr> = numbers.iter().map(|&number| self.service(number)).collect();
        let repetitions = 0..self.batch.operations.div_ceil(targets.len());
        let Some(pin) = self.affinity else {
            return self.measured(|| repetitions.into_iter().try_for_each(|_| tcp(&targets)));
        };
        let mut table = pin.open()?;
        table.clear()?;
        tcp(&targets)?;
        let known = table.keys()?;
        self.measured(|| {
            for _ in repetitions {
                table.remove(&known)?;
                tcp(&targets)?;
            }
            Ok(())
        })
    }

    fn targets(&self, rng: &mut Rng) -> Vec<SocketAddr> {
        let target = |_| match (self.batch.operation, self.batch.spread) {
            (Operation::Direct, false) => backend(),
            (Operation::Direct, true) => {
                let anywhere = Ipv4Addr::from(0x7f00_0001 + rng.u32(..0x00ff_fff0));
                (anywhere, BACKEND_PORT).into()
            }
            (Operation::Getpeername | Operation::UdpDirect, _) => backend(),
            (_, false) => self.service(0),
            (_, true) => self.service(rng.usize(..self.batch.services)),
        };
        (0..self.batch.operations).map(target).collect()
    }

    fn service(&self, number: usize) -> SocketAddr {
        if self.is_direct {
            return backend();
        }
        services::frontend(number).into()
    }

    /// Prepared sockets: one, or many with `spread`.
    fn sockets(
        &self,
        prepare: impl Fn(&UdpSocket, SocketAddr) -> std::io::Result<()>,
        targets: &[SocketAddr],
    ) -> Result<Vec<(UdpSocket, SocketAddr)>> {
        let number = if self.batch.spread { SOCKETS } else { 1 };
        let open = |&to: &SocketAddr| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            prepare(&socket, to)?;
            Ok((socket, to))
        };
        let sockets: Result<_> = targets.iter().cycle().take(number).map(open).collect();
        sockets.context("cannot open sockets")
    }
}

/// The destination without any translation.
fn backend() -> SocketAddr {
    SocketAddrV4::new(BACKENDS[0], BACKEND_PORT).into()
}

fn each(
    sockets: &[(UdpSocket, SocketAddr)],
    batch: Batch,
    rng: &mut Rng,
    operation: impl Fn(&(UdpSocket, SocketAddr)) -> std::io::Result<()>,
) -> Result<()> {
    for _ in 0..batch.operations {
        operation(&sockets[rng.usize(..sockets.len())])?;
    }
    Ok(())
}

fn tcp(targets: &[SocketAddr]) -> Result<()> {
    for &to in targets {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        // Closing resets the connection, so that nothing stays in TIME_WAIT.
        socket.set_linger(Some(Duration::ZERO))?;
        socket
            .connect(&SockAddr::from(to))
            .with_context(|| format!("cannot connect to {to}"))?;
    }
    Ok(())
}

fn udp(targets: &[SocketAddr]) -> Result<()> {
    for &to in targets {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket
            .connect(&SockAddr::from(to))
            .with_context(|| format!("cannot connect to {to}"))?;
    }
    Ok(())
}
