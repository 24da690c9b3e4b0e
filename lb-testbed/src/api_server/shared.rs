//! State that the handle and the server's thread share.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use tokio::sync::{broadcast, watch};

use super::behaviour::Behaviour;
use super::faults::{Disturbance, Failure, Faults, Verb};
use super::kind::Kind;
use super::store::Store;

/// With more disturbances at once a watch misses the oldest.
const DISTURBANCES_AT_ONCE: usize = 64;

/// How often to check whether connections have ended.
const CHECK_EVERY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the watches.
    changes: watch::Sender<()>,
    /// Open connections hold a receiver; replacing the sender ends them.
    connections: Mutex<watch::Sender<()>>,
    disturbances: broadcast::Sender<(Option<Kind>, Disturbance)>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) behaviour: Behaviour,
    pub(super) faults: Faults,
    /// The accepted bearer tokens; none: no token is needed.
    pub(super) tokens: Option<HashSet<String>>,
    pub(super) requests: BTreeMap<(Kind, Verb), Requests>,
    pub(super) open_watches: BTreeMap<Kind, usize>,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) count: u64,
    /// Path and query of the last one.
    pub(super) last: String,
}

impl Shared {
    pub(super) fn new(store: Store) -> Self {
        Self {
            state: Mutex::new(State {
                store,
                behaviour: Behaviour::default(),
                faults: Faults::default(),
                tokens: None,
                requests: BTreeMap::new(),
                open_watches: BTreeMap::new(),
            }),
            changes: watch::Sender::new(()),
            connections: Mutex::new(watch::Sender::new(())),
            disturbances: broadcast::Sender::new(DISTURBANCES_AT_ONCE),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        unpoisoned(&self.state)
    }

    /// Changes the store and wakes the watches.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Store) -> R) -> R {
        let result = change(&mut self.state().store);
        self.changes.send_replace(());
        result
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Ends the open connections and waits for them.
    pub(super) fn cut(&self) {
        let ended = mem::take(&mut *unpoisoned(&self.connections));
        ended.send_replace(());
        while ended.receiver_count() != 0 {
            thread::sleep(CHECK_EVERY);
        }
    }

    /// For a new connection to hold: it changes when the connection has to end.
    pub(super) fn connection(&self) -> watch::Receiver<()> {
        unpoisoned(&self.connections).subscribe()
    }

    pub(super) fn disturb(&self, kind: Option<Kind>, disturbance: Disturbance) {
        // An error means that no watch is open.
        let _ = self.disturbances.send((kind, disturbance));
    }

    pub(super) fn disturbances(&self) -> broadcast::Receiver<(Option<Kind>, Disturbance)> {
        self.disturbances.subscribe()
    }

    /// Counts a request and returns its failure, if it is to fail.
    pub(super) fn admit(
        &self,
        kind: Option<Kind>,
        verb: Verb,
        uri: &str,
        token: Option<&str>,
    ) -> Option<Failure> {
        let mut state = self.state();
        if let Some(kind) = kind {
            let requests = state.requests.entry((kind, verb)).or_default();
            requests.count += 1;
            uri.clone_into(&mut requests.last);
        }
        let failure = state.faults.strike(kind, verb);
        let is_known = |tokens: &HashSet<String>| token.is_some_and(|token| tokens.contains(token));
        failure.or_else(|| match &state.tokens {
            Some(tokens) if !is_known(tokens) => Some(Failure::Answer(401)),
            _ => None,
        })
    }

    /// Counts a watch as open until the result is dropped.
    pub(super) fn count_watch(self: &Arc<Self>, kind: Kind) -> OpenWatch {
        *self.state().open_watches.entry(kind).or_default() += 1;
        OpenWatch {
            shared: self.clone(),
            kind,
        }
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(super) struct OpenWatch {
    shared: Arc<Shared>,
    kind: Kind,
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(count) = self.shared.state().open_watches.get_mut(&self.kind) {
            *count -= 1;
        }
    }
}
