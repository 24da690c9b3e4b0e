//! How fresh what is known of the cluster is: for `status`, metrics and `/readyz`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::catalog::Kind;

/// How the watches are doing.
#[derive(Debug)]
pub struct Health {
    server: String,
    kinds: Mutex<BTreeMap<Kind, KindHealth>>,
    /// The highest revision from which a watch was asked for.
    position: AtomicU64,
}

/// How the watch of one kind is doing.
#[derive(Clone, Debug, Default)]
pub struct KindHealth {
    /// All objects were listed once.
    pub has_listed: bool,
    /// How often all objects were listed.
    pub lists: u64,
    /// When anything at all first came from the server.
    pub first_heard: Option<Instant>,
    /// When anything at all last came from the server.
    pub heard: Option<Instant>,
    /// When an object last came from the server.
    pub event: Option<Instant>,
    /// Since when, and why, the server is not heard.
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

    /// Every kind that is watched.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<Kind, KindHealth> {
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether objects of another kind than this one had come by that time.
    pub(super) fn heard_others(&self, than: Kind, by: Instant) -> bool {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = kinds.iter().filter(|(kind, _)| **kind != than);
        others.any(|(_, health)| health.first_heard.is_some_and(|at| at <= by))
    }

    /// A watch is asked for from this revision.
    pub(super) fn asks_from(&self, revision: u64) {
        self.position.fetch_max(revision, Ordering::Relaxed);
    }

    /// The highest revision from which a watch was asked for since this was last called.
    pub(super) fn take_position(&self) -> u64 {
        self.position.swap(0, Ordering::Relaxed)
    }

    pub(super) fn heard(&self, kind: Kind) {
        let now = Instant::now();
        self.note(kind, |of_kind| {
            of_kind.first_heard.get_or_insert(now);
            of_kind.heard = Some(now);
        });
    }

    /// When anything at all last came.
    pub(super) fn last_heard(&self, kind: Kind) -> Option<Instant> {
        self.note(kind, |of_kind| of_kind.heard)
    }

    pub(super) fn note<T>(&self, kind: Kind, change: impl FnOnce(&mut KindHealth) -> T) -> T {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        change(kinds.entry(kind).or_default())
    }
}
