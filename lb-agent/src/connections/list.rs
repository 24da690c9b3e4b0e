//! Joins the entries of sockets with the sockets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use lb_common::Pair;

use super::connection::{Connection, Figures, NetworkNamespace, Process, ServicePortName};
use super::error::ConnectionsError;
use super::filter::Filter;
use super::names::{FrontendId, Names};
use crate::kernel::{self, PinnedMaps};
use crate::sockets::{LiveSocket, Owners, Searched, find_live, namespace_names};
use crate::tables::{PairAddresses, ReadTables, addresses};

/// The live sockets that have an entry.
#[derive(Debug)]
pub struct Found {
    tables: PinnedMaps,
    sockets: Vec<(LiveSocket, Pair)>,
    /// Where they were searched for.
    pub searched: Searched,
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
            sockets.push((socket, pair));
        })?;
        Ok(Self {
            tables,
            sockets,
            searched,
        })
    }

    /// The frontends of the sockets. Some are the same.
    pub fn frontends(&self) -> impl Iterator<Item = FrontendId> {
        let addresses = |(_, pair): &(LiveSocket, Pair)| {
            let addresses = addresses(&self.tables, *pair)?;
            Some((pair.frontend, addresses.frontend))
        };
        self.sockets.iter().filter_map(addresses)
    }

    /// Adds names and processes, and filters by them. Reads the descriptors of all processes. Sorted by Service, frontend, backend and
    /// the socket's own address.
    ///
    /// # Errors
    /// The processes cannot be listed.
    pub fn describe(
        self,
        filter: &Filter,
        names: &Names,
    ) -> Result<Vec<Connection>, ConnectionsError> {
        let Self {
            tables,
            mut sockets,
            ..
        } = self;
        let named = |pair: Pair| {
            let addresses = addresses(&tables, pair)?;
            let service = names.of((pair.frontend, addresses.frontend));
            let is_wanted = filter.has_service(service.map(Arc::as_ref), addresses.frontend);
            is_wanted.then_some((addresses, service))
        };
        sockets.retain(|(_, pair)| named(*pair).is_some());
        let inodes: HashSet<u32> = sockets.iter().map(|(socket, _)| socket.inode).collect();
        let owners = Owners::of(&inodes, filter.process).map_err(ConnectionsError::Processes)?;
        let mut known = Known {
            owners,
            processes: HashMap::new(),
            mounted: namespace_names(),
            namespaces: HashMap::new(),
        };
        let mut connections = Vec::with_capacity(sockets.len());
        for (socket, pair) in sockets {
            if let Some((addresses, service)) = named(pair) {
                let connection = known.connection(&socket, &addresses, service.cloned());
                if filter.has_process(&connection) {
                    connections.push(connection);
                }
            }
        }
        connections.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        Ok(connections)
    }
}

/// What several connections share.
struct Known {
    owners: Owners,
    /// By the ids of the processes.
    processes: HashMap<Vec<u32>, Arc<[Process]>>,
    /// Names of network namespaces.
    mounted: BTreeMap<u64, String>,
    namespaces: HashMap<u64, Arc<NetworkNamespace>>,
}

impl Known {
    fn connection(
        &mut self,
        socket: &LiveSocket,
        addresses: &PairAddresses,
        service: Option<Arc<ServicePortName>>,
    ) -> Connection {
        Connection {
            cookie: socket.cookie,
            service,
            protocol: protocol_name(addresses.protocol),
            local: socket.local,
            frontend: addresses.frontend,
            backend: addresses.backend,
            state: socket.state,
            network_namespace: self.namespace(socket.namespace),
            processes: self.processes(socket.inode),
            figures: socket.tcp.map(|tcp| Figures {
                rtt_micros: tcp.rtt_micros,
                idle_millis: tcp.idle_millis,
                bytes_sent: tcp.sent,
                bytes_received: tcp.received,
            }),
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

    fn processes(&mut self, inode: u32) -> Arc<[Process]> {
        let ids = self.owners.of_socket(inode).map(|(pid, _)| pid).collect();
        let owners = &self.owners;
        let known = self.processes.entry(ids);
        Arc::clone(known.or_insert_with(|| {
            let processes = owners.of_socket(inode);
            let processes = processes.map(|(pid, command)| Process {
                pid,
                command: Arc::clone(command),
            });
            processes.collect()
        }))
    }
}

fn protocol_name(of: u8) -> &'static str {
    match of {
        lb_common::UDP => "UDP",
        _ => "TCP",
    }
}
