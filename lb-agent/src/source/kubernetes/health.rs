//! How fresh the agent's copy of the cluster's objects is: for `status`, metrics and `/readyz`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::catalog::Kind;

/// The state of all watches.
#[derive(Debug)]
pub struct Health {
    server: String,
    kinds: Mutex<BTreeMap<Kind, KindHealth>>,
    /// The highest revision from which a watch was started.
    position: AtomicU64,
}

/// The state of the watch of one kind.
#[derive(Clone, Debug, Default)]
pub struct KindHealth {
    /// All objects have been listed once.
    pub has_listed: bool,
    /// The number of times that all objects were listed.
    pub lists: u64,
    /// The time of the first data from the server, of any type.
    pub first_data: Option<Instant>,
    /// The time of the latest data from the server, of any type.
    pub last_data: Option<Instant>,
    /// The time of the latest object from the server.
    pub event: Option<Instant>,
    /// Since when the watch fails, and why.
    pub trouble: Option<(Instant, String)>,
    pub errors: u64,
}

impl Health {
    pub fn new(server: String) -> Self {
        Self {
            server,
            kinds: Mutex::default(),
            position: AtomicU64::new(0),
        }
    }

    /// The API server's URL.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the state of every watched kind.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<Kind, KindHealth> {
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether objects of another kind than this one had arrived by that time.
    pub(super) fn has_data_of_others(&self, than: Kind, by: Instant) -> bool {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = kinds.iter().filter(|(kind, _)| **kind != than);
        others.any(|(_, health)| health.first_data.is_some_and(|at| at <= by))
    }

    /// Records that a watch starts from this revision.
    pub(super) fn record_position(&self, revision: u64) {
        self.position.fetch_max(revision, Ordering::Relaxed);
    }

    /// Returns the highest revision from which a watch was started since the last call.
    pub(super) fn take_position(&self) -> u64 {
        self.position.swap(0, Ordering::Relaxed)
    }

    pub(super) fn record_data(&self, kind: Kind) {
        let now = Instant::now();
        self.update(kind, |of_kind| {
            of_kind.first_data.get_or_insert(now);
            of_kind.last_data = Some(now);
        });
    }

    /// Returns the time of the latest data of this kind, of any type.
    pub(super) fn last_data(&self, kind: Kind) -> Option<Instant> {
        self.update(kind, |of_kind| of_kind.last_data)
    }

    pub(super) fn update<T>(&self, kind: Kind, change: impl FnOnce(&mut KindHealth) -> T) -> T {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        change(kinds.entry(kind).or_default())
    }
}
