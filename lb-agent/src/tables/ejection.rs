//! What the tables contain for outlier detection, and the ejection of a backend.

use std::net::SocketAddr;

use lb_common::Backend as BackendLine;
use lb_common::backend::state::{EXTERNAL, INTERNAL, OUTSIDE, WATCHED};
use lb_common::outlier::Failures;

use super::backing::{Backing, ReadTables, Table};
use super::model::{HeldPort, Model};
use super::service_ports;

/// A backend whose failed connects are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchedBackend {
    pub id: u32,
    pub address: SocketAddr,
    /// The bits of [`lb_common::backend::state`] of the views that may choose it.
    pub views: u64,
    /// Connects that failed in a row.
    pub failures: u32,
    /// See [`lb_common::outlier::TRIAL`]; 0: it is not ejected.
    pub ejected_until: u64,
}

/// Reads and changes what the tables contain for outlier detection.
#[derive(Debug)]
pub struct Ejections<'a, B> {
    pub(super) backing: &'a mut B,
    pub(super) model: &'a Model,
}

impl<B: Backing> Ejections<'_, B> {
    /// The watched backends of a service port that views may choose.
    #[must_use]
    pub fn watched(&self, service_port: u32) -> Vec<WatchedBackend> {
        let port = self.model.ports.get(&service_port);
        port.map_or_else(Vec::new, |port| watched(self.backing, port).collect())
    }

    /// Whether any backend is watched.
    #[must_use]
    pub fn has_watched(&self) -> bool {
        let mut backends = self.model.ports.values().flat_map(|port| &port.backends);
        backends.any(|held| held.state & WATCHED != 0)
    }

    /// The ejected backends, each with the id of its service port.
    #[must_use]
    pub fn ejected(&self) -> Vec<(u32, WatchedBackend)> {
        let ports = self.model.ports.iter();
        ports
            .flat_map(|(id, port)| watched(self.backing, port).map(|backend| (*id, backend)))
            .filter(|(_, backend)| backend.ejected_until != 0)
            .collect()
    }

    /// Changes until when a backend is ejected, unless a program has changed it meanwhile. Returns whether it was changed.
    #[must_use]
    pub fn eject(&mut self, id: u32, from: u64, until: u64) -> bool {
        let word = BackendLine::EJECTED_WORD;
        self.backing.replace(Table::Backends, id, word, from, until)
    }

    #[cfg(test)]
    pub fn set_failures(&mut self, id: u32, word: u64) {
        self.backing
            .store(Table::Backends, id, BackendLine::FAILURES_WORD, word);
    }

    #[cfg(test)]
    pub fn word(&self, id: u32) -> u64 {
        ejected_until(self.backing, id)
    }

    /// A backend is no longer watched: forgets all about it, unless its id is another one's by now.
    pub fn let_go(&mut self, id: u32, address: SocketAddr) {
        if service_ports::backend_address(self.backing, id) == Some(address) {
            self.backing
                .store(Table::Backends, id, BackendLine::EJECTED_WORD, 0);
            self.forget_failures(id);
        }
    }

    /// Forgets the failed connects to a backend.
    pub fn forget_failures(&mut self, id: u32) {
        self.backing
            .store(Table::Backends, id, BackendLine::FAILURES_WORD, 0);
    }
}

fn watched<'a>(
    backing: &'a impl ReadTables,
    port: &'a HeldPort,
) -> impl Iterator<Item = WatchedBackend> + 'a {
    let of_views = INTERNAL | EXTERNAL | OUTSIDE;
    let held = port.backends.iter();
    held.filter(move |held| held.state & WATCHED != 0 && held.state & of_views != 0)
        .map(move |held| WatchedBackend {
            id: held.id,
            address: held.address,
            views: held.state & of_views,
            failures: failures(backing, held.id),
            ejected_until: ejected_until(backing, held.id),
        })
}

/// The connects to a backend that failed in a row.
pub(super) fn failures(backing: &impl ReadTables, id: u32) -> u32 {
    let word = backing.load(Table::Backends, id, BackendLine::FAILURES_WORD);
    Failures::from_word(word).count
}

pub(super) fn ejected_until(backing: &impl ReadTables, id: u32) -> u64 {
    backing.load(Table::Backends, id, BackendLine::EJECTED_WORD)
}
