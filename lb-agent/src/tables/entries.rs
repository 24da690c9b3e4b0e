//! What the entries of sockets in ORIGINS and SPILL say: which ids are named, which sockets have entries, and which of them have
//! a backend that has stopped serving.
//!
//! A backend has stopped when its line has no state bit: it was removed from its service port, or the Service was, or it is
//! neither ready nor serving. One that is terminating and still serves keeps its sockets, as it keeps its conntrack entries
//! with kube-proxy (pkg/proxy/conntrack/cleanup.go). Two rules differ from kube-proxy's. A Service without any backend is no
//! exception: a client that connects again gets an error at once. And a backend that is ready without serving
//! (`publishNotReadyAddresses`) keeps its sockets, since a client that connects again may get it again.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::SocketAddr;

use lb_common::{Backend as BackendLine, Pair};

use super::backing::{ReadTables, Table};
use super::encode;
use super::model::{Item, Model, load_backend, load_frontend};

/// A socket that was given a backend that has stopped serving. It may be unconnected, or connected elsewhere by now: entries
/// only record connects and sends to frontends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub cookie: u64,
    pub pair: Pair,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// The backend.
    pub peer: SocketAddr,
    /// The id that the backend's service port had.
    pub service_port: u32,
}

impl Stale {
    /// Whether it is a TCP socket.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == lb_common::TCP
    }
}

/// A socket that was given a backend. It may be unconnected, or connected elsewhere by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub cookie: u64,
    pub pair: Pair,
    /// The backend.
    pub peer: SocketAddr,
}

/// What a pair of ids stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairAddresses {
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// What the socket asked for.
    pub frontend: SocketAddr,
    /// What it got.
    pub backend: SocketAddr,
}

/// The addresses behind a socket's entry. None for ids that are outside of the tables or not in use.
///
/// While an entry names an id, the id stays what it was: see [`free_unnamed`].
pub fn addresses(backing: &impl ReadTables, pair: Pair) -> Option<PairAddresses> {
    if pair.frontend >= backing.length(Table::FrontendList)
        || pair.backend >= backing.length(Table::Backends)
    {
        return None;
    }
    let frontend = load_frontend(backing, pair.frontend);
    let backend = load_backend(backing, pair.backend);
    (frontend.protocol != 0 && backend.port != 0).then(|| PairAddresses {
        protocol: frontend.protocol,
        frontend: encode::socket_address(frontend.address, frontend.port),
        backend: encode::socket_address(backend.address, backend.port),
    })
}

/// `state`: of [`lb_common::Backend`].
#[must_use]
pub const fn has_stopped(state: u64) -> bool {
    state == 0
}

/// The UDP sockets, and if wanted the TCP sockets, whose backends have stopped serving. Reads all of ORIGINS and SPILL.
pub fn stale(backing: &impl ReadTables, wants_tcp: bool) -> io::Result<Vec<Stale>> {
    let frontends = backing.length(Table::FrontendList);
    let backends = backing.length(Table::Backends);
    let mut stale = Vec::new();
    backing.entries(&mut |cookie, pair| {
        if !(1..frontends).contains(&pair.frontend) || !(1..backends).contains(&pair.backend) {
            return;
        }
        let word = BackendLine::STATE_WORD;
        if !has_stopped(backing.load(Table::Backends, pair.backend, word)) {
            return;
        }
        let protocol = load_frontend(backing, pair.frontend).protocol;
        if protocol != lb_common::UDP && !wants_tcp {
            return;
        }
        let line = load_backend(backing, pair.backend);
        stale.push(Stale {
            cookie,
            pair,
            protocol,
            peer: encode::socket_address(line.address, line.port),
            service_port: line.service_port,
        });
    })?;
    Ok(stale)
}

/// The TCP sockets that were given one of these backends. Reads all of ORIGINS and SPILL.
pub fn connections_to(
    backing: &impl ReadTables,
    backends: &BTreeSet<u32>,
) -> io::Result<Vec<Named>> {
    let mut named = Vec::new();
    backing.entries(&mut |cookie, pair| {
        if !backends.contains(&pair.backend) {
            return;
        }
        if let Some(addresses) = addresses(backing, pair)
            && addresses.protocol == lb_common::TCP
        {
            let peer = addresses.backend;
            named.push(Named { cookie, pair, peer });
        }
    })?;
    Ok(named)
}

/// The cookies of all sockets that have an entry.
pub fn cookies(backing: &impl ReadTables) -> io::Result<HashSet<u64>> {
    let mut cookies = HashSet::new();
    backing.entries(&mut |cookie, _| {
        cookies.insert(cookie);
    })?;
    Ok(cookies)
}

/// Frees the quarantined backend ids on which no entry counts and the frontend ids that no entry names. Reads all of ORIGINS
/// if there is a frontend id to look for. Returns the backend ids that are free now.
pub fn free_unnamed(backing: &impl ReadTables, model: &mut Model) -> Vec<u32> {
    let named = named_frontends(backing, model);
    model.free_unnamed(|item| match item {
        Item::Backend(id) => active(backing, id) != 0,
        Item::Frontend(id) => named.as_ref().is_none_or(|named| named.contains(&id)),
        Item::Run { .. } | Item::View(_) => false,
    })
}

/// How many entries count on a backend.
pub fn active(backing: &impl ReadTables, backend: u32) -> u64 {
    backing.load(Table::Backends, backend, BackendLine::ACTIVE_WORD)
}

/// The quarantined frontend ids that entries name. None: there is none to look for, or the entries cannot be read.
fn named_frontends(backing: &impl ReadTables, model: &Model) -> Option<BTreeSet<u32>> {
    let ids = model.quarantine.named.iter().filter_map(|item| match item {
        Item::Frontend(id) => Some(*id),
        _ => None,
    });
    let wanted: BTreeSet<u32> = ids.collect();
    if wanted.is_empty() {
        return None;
    }
    let mut named = BTreeSet::new();
    let result = backing.entries(&mut |_, pair| {
        if wanted.contains(&pair.frontend) {
            named.insert(pair.frontend);
        }
    });
    match result {
        Ok(()) => Some(named),
        Err(error) => {
            tracing::warn!(
                event = "tables.entries_not_readable",
                %error,
                "cannot read ORIGINS: frontend ids stay quarantined",
            );
            None
        }
    }
}
