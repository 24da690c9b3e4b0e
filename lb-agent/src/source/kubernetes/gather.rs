//! Where the watches of all kinds meet: each hands on its changes with what is true of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::catalog::{Change, Kind, Problem};
use crate::source::Batch;

/// Cheap to clone; each watch has one.
#[derive(Clone, Debug)]
pub struct Gatherer {
    batches: mpsc::Sender<Batch>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Kinds that were not listed yet.
    awaited: BTreeSet<Kind>,
    problems: BTreeMap<Kind, Vec<Problem>>,
}

impl Gatherer {
    pub fn new(batches: mpsc::Sender<Batch>, kinds: BTreeSet<Kind>) -> Self {
        let state = State {
            awaited: kinds,
            problems: BTreeMap::new(),
        };
        Self {
            batches,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// All objects of a kind were listed, and are handed on with the next changes.
    pub fn listed(&self, kind: Kind) {
        self.state().awaited.remove(&kind);
    }

    /// Hands changes on. `problems`: all that is wrong with objects of this kind now. `heard`: when the first of them came.
    pub async fn send(
        &self,
        kind: Kind,
        changes: Vec<Change>,
        problems: Vec<Problem>,
        heard: Option<Instant>,
    ) -> Result<(), mpsc::error::SendError<Batch>> {
        let batch = {
            let mut state = self.state();
            state.problems.insert(kind, problems);
            let problems: Vec<Problem> = state.problems.values().flatten().cloned().collect();
            let has_listed = state.awaited.is_empty();
            Batch {
                changes,
                has_listed,
                is_complete: has_listed && problems.is_empty(),
                problems,
                heard,
            }
        };
        self.batches.send(batch).await
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.batches.closed().await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
