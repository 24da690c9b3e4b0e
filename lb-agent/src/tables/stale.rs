//! Sockets whose backends have stopped serving.
//!
//! A backend has when its line has no state bit left: it has left its service port, or the Service is gone, or it is neither
//! ready nor serving. One that is terminating and still serves keeps the sockets that it has, as it keeps its conntrack
//! entries with kube-proxy (pkg/proxy/conntrack/cleanup.go). Two things are not as there: a Service without any backend left
//! is no exception, since whoever connects again is told so at once; and one that is ready without serving
//! (`publishNotReadyAddresses`) keeps its sockets, since whoever connects again may be given it again.

use std::io;
use std::net::SocketAddr;

use lb_common::{Backend as BackendLine, Pair};

use super::recover::{load_backend, load_frontend};
use super::{Backing, Table, Tables, form};

/// A socket that was given a backend that has stopped serving. It may be unconnected, or connected elsewhere by now: ways
/// tell only of connects and sends to frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub cookie: u64,
    pub pair: Pair,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// The backend.
    pub peer: SocketAddr,
}

/// How often backends have stopped serving in this agent's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    pub tcp: u64,
    pub udp: u64,
}

impl Stops {
    pub(super) const fn add(&mut self, protocol: u8) {
        if protocol == lb_common::UDP {
            self.udp += 1;
        } else {
            self.tcp += 1;
        }
    }
}

/// `state`: of [`lb_common::Backend`].
#[must_use]
pub const fn has_stopped(state: u64) -> bool {
    state == 0
}

impl<B: Backing> Tables<B> {
    #[must_use]
    pub const fn stops(&self) -> Stops {
        self.stops
    }

    /// The UDP sockets, and if wanted the TCP sockets, whose backends have stopped serving. One pass over ORIGINS and SPILL.
    pub fn stale(&self, wants_tcp: bool) -> io::Result<Vec<Stale>> {
        let frontends = self.backing.length(Table::FrontendList);
        let backends = self.backing.length(Table::Backends);
        let mut stale = Vec::new();
        self.backing.places(&mut |cookie, pair| {
            if !(1..frontends).contains(&pair.frontend) || !(1..backends).contains(&pair.backend) {
                return;
            }
            let word = BackendLine::STATE_WORD;
            if !has_stopped(self.backing.load(Table::Backends, pair.backend, word)) {
                return;
            }
            let protocol = load_frontend(&self.backing, pair.frontend).protocol;
            if protocol != lb_common::UDP && !wants_tcp {
                return;
            }
            let line = load_backend(&self.backing, pair.backend);
            stale.push(Stale {
                cookie,
                pair,
                protocol,
                peer: form::socket_address(line.address, line.port),
            });
        })?;
        Ok(stale)
    }
}
