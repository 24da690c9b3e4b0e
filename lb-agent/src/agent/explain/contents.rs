//! The tables in an explanation: what they contain for a frontend.

use std::fmt;
use std::io;
use std::net::IpAddr;

use super::super::engine::Engine;
use crate::policy::{Frontend, ServicePort, ServicePortKey};
use crate::serve::{BackendInTables, ExplainedTables, TableDifference, ViewInTables};
use crate::tables::{Backing, ClientAffinity, Comparison};

/// The tables of a running agent.
pub(super) trait Contents: fmt::Debug {
    fn compare(&self, port: &ServicePort, frontend: &Frontend) -> io::Result<Comparison>;
    fn affinity(&self, port: &ServicePortKey, client: u64) -> io::Result<Option<ClientAffinity>>;
    fn is_guarded(&self, address: IpAddr) -> io::Result<bool>;
    fn host_network(&self) -> u64;
}

impl<B: Backing + fmt::Debug> Contents for Engine<B> {
    fn compare(&self, port: &ServicePort, frontend: &Frontend) -> io::Result<Comparison> {
        let mut port = port.clone();
        self.slow_start().show(&mut port);
        self.tables().compare(&port, frontend)
    }

    fn affinity(&self, port: &ServicePortKey, client: u64) -> io::Result<Option<ClientAffinity>> {
        self.tables().affinity(port, client)
    }

    fn is_guarded(&self, address: IpAddr) -> io::Result<bool> {
        self.tables().is_guarded(address)
    }

    fn host_network(&self) -> u64 {
        self.tables().host_network()
    }
}

/// What the tables contain for a frontend; none without tables, or if they cannot be read.
pub(super) fn of_frontend(
    tables: Option<&dyn Contents>,
    port: &ServicePort,
    frontend: &Frontend,
) -> Option<ExplainedTables> {
    let found = tables?.compare(port, frontend).ok()?;
    let differences = found.differences.iter().map(|of| TableDifference {
        reason: of.word().to_owned(),
        message: of.to_string(),
    });
    let views = found.views.iter().map(|view| ViewInTables {
        index: view.index,
        slots: view.slots,
        backends: view
            .backends
            .iter()
            .map(|backend| BackendInTables {
                id: backend.id,
                address: backend.address.to_string(),
                state: backend.state_names(),
                slots: backend.slots,
            })
            .collect(),
    });
    Some(ExplainedTables {
        id: found.element.map(|element| element.id),
        views: views.collect(),
        differences: differences.collect(),
    })
}
