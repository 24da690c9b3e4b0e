//! Joins the entries of sockets with the sockets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::connection::{Connection, NetworkNamespace, Process};
use super::error::ConnectionsError;
use super::filter::Filter;
use super::names::{FrontendId, Names};
use crate::kernel;
use crate::sockets::{LiveSocket, Owners, Searched, find_live, namespace_names};
use crate::tables::{PairAddresses, ReadTables, addresses};

/// The live sockets that have an entry.
#[derive(Debug)]
pub struct Found {
    sockets: Vec<Joined>,
    /// Where they were searched for.
    pub searched: Searched,
}

/// A socket with what its entry says.
#[derive(Debug)]
struct Joined {
    socket: LiveSocket,
    frontend: u32,
    addresses: PairAddresses,
}

impl Joined {
    const fn frontend(&self) -> FrontendId {
        (self.frontend, self.addresses.frontend)
    }
}

impl Found {
    /// Finds the live sockets that have an entry in the pinned tables and match the filter, except for its Services and its
    /// process. Reads all of ORIGINS, then the sockets of every network namespace, which the calling thread enters.
    ///
    /// # Errors
    /// There are no tables, or one of the two cannot be read at all.
    pub fn search(pin_dir: &Path, filter: &Filter) -> Result<Self, ConnectionsError> {
        let tables = kernel::read_tables(pin_dir)?.ok_or_else(|| ConnectionsError::NoTables {
            pin_dir: pin_dir.to_owned(),
        })?;
        let mut entries = HashMap::new();
        let read = tables.entries(&mut |cookie, pair| {
            if let Some(at) = addresses(&tables, pair)
                && filter.has_backend(at.backend)
            {
                entries.insert(cookie, pair);
            }
        });
        read.map_err(|error| ConnectionsError::Entries {
            pin_dir: pin_dir.to_owned(),
            error,
        })?;
        let mut sockets = Vec::new();
        let searched = find_live(&mut entries, &mut |socket, pair| {
            if let Some(addresses) = addresses(&tables, pair) {
                sockets.push(Joined {
                    socket,
                    frontend: pair.frontend,
                    addresses,
                });
            }
        })?;
        Ok(Self { sockets, searched })
    }

    /// The frontends of the sockets. Some are the same.
    pub fn frontends(&self) -> impl Iterator<Item = FrontendId> {
        self.sockets.iter().map(Joined::frontend)
    }

    /// Adds names and processes, and filters by them. Reads the descriptors of all processes. Sorted by Service, frontend, backend and
    /// the socket's own address.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn describe(
        mut self,
        filter: &Filter,
        names: &Names,
    ) -> Result<Vec<Connection>, ConnectionsError> {
        self.sockets.retain(|of| {
            let service = names.of(of.frontend());
            filter.has_service(service.map(Arc::as_ref), of.addresses.frontend)
        });
        let inodes: HashSet<u32> = self.sockets.iter().map(|of| of.socket.inode).collect();
        let owners = Owners::of(&inodes, filter.process).map_err(ConnectionsError::Processes)?;
        let mut known = Known {
            owners,
            mounted: namespace_names(),
            namespaces: HashMap::new(),
        };
        let mut connections = Vec::with_capacity(self.sockets.len());
        for of in self.sockets {
            let connection = known.connection(&of, names);
            if filter.has_process(&connection) {
                connections.push(connection);
            }
        }
        connections.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(connections)
    }
}

/// What several connections share.
struct Known {
    owners: Owners,
    /// Names of network namespaces.
    mounted: BTreeMap<u64, String>,
    namespaces: HashMap<u64, Arc<NetworkNamespace>>,
}

impl Known {
    fn connection(&mut self, of: &Joined, names: &Names) -> Connection {
        let Joined {
            socket, addresses, ..
        } = of;
        let tcp = socket.tcp;
        let rtt = tcp.and_then(|tcp| tcp.rtt);
        let idle = tcp.and_then(|tcp| tcp.idle);
        Connection {
            cookie: socket.cookie,
            service: names.of(of.frontend()).cloned(),
            protocol: protocol_name(addresses.protocol),
            local: socket.local,
            frontend: addresses.frontend,
            backend: addresses.backend,
            state: socket.state,
            network_namespace: self.namespace(socket.namespace),
            processes: self.processes(socket.inode),
            rtt_micros: rtt.map(|of| u64::try_from(of.as_micros()).unwrap_or(u64::MAX)),
            idle_millis: idle.map(|of| u64::try_from(of.as_millis()).unwrap_or(u64::MAX)),
            bytes_sent: tcp.map(|tcp| tcp.sent),
            bytes_received: tcp.map(|tcp| tcp.received),
        }
    }

    fn namespace(&mut self, inode: u64) -> Arc<NetworkNamespace> {
        let name = self.mounted.get(&inode);
        let known = self.namespaces.entry(inode);
        Arc::clone(known.or_insert_with(|| {
            Arc::new(NetworkNamespace {
                name: name.cloned(),
                inode,
            })
        }))
    }

    fn processes(&self, inode: u32) -> Vec<Process> {
        let processes = self.owners.of_socket(inode);
        let processes = processes.map(|(pid, command)| Process {
            pid,
            command: Arc::clone(command),
        });
        processes.collect()
    }
}

fn protocol_name(of: u8) -> &'static str {
    match of {
        lb_common::UDP => "UDP",
        _ => "TCP",
    }
}
