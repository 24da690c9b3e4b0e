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
    state: Arc<Mutex<Gathered>>,
}

#[derive(Debug)]
struct Gathered {
    /// Kinds that were not listed yet.
    awaited: BTreeSet<Kind>,
    problems: BTreeMap<Kind, Vec<Problem>>,
}

/// What the watch of one kind hands on.
#[derive(Debug)]
pub struct Learnt {
    pub changes: Vec<Change>,
    /// All that is wrong with objects of this kind now.
    pub problems: Vec<Problem>,
    /// With these changes all objects of the kind were listed, or they were before.
    pub has_listed: bool,
    /// When the first of the changes came.
    pub heard: Option<Instant>,
}

impl Gatherer {
    pub fn new(batches: mpsc::Sender<Batch>, kinds: BTreeSet<Kind>) -> Self {
        let state = Gathered {
            awaited: kinds,
            problems: BTreeMap::new(),
        };
        Self {
            batches,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Hands on what a watch has learnt. `Err`: nobody listens any more.
    ///
    /// What is true of all kinds is looked at with a slot in the queue at hand: a batch that says that all were listed must
    /// not overtake the one with the last of them.
    pub async fn send(&self, kind: Kind, learnt: Learnt) -> Result<(), mpsc::error::SendError<()>> {
        let slot = self.batches.reserve().await?;
        let mut state = self.state();
        if learnt.has_listed {
            state.awaited.remove(&kind);
        }
        state.problems.insert(kind, learnt.problems);
        let problems: Vec<Problem> = state.problems.values().flatten().cloned().collect();
        let has_listed = state.awaited.is_empty();
        slot.send(Batch {
            changes: learnt.changes,
            has_listed,
            is_complete: has_listed && problems.is_empty(),
            problems,
            heard: learnt.heard,
        });
        Ok(())
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.batches.closed().await;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn learnt(kind: Kind, has_listed: bool) -> Learnt {
        Learnt {
            changes: vec![Change::Only(kind, HashSet::new())],
            problems: Vec::new(),
            has_listed,
            heard: None,
        }
    }

    #[tokio::test]
    async fn no_batch_says_that_all_were_listed_before_the_one_with_the_last_of_them() {
        let (sender, mut batches) = mpsc::channel(1);
        let kinds = BTreeSet::from([Kind::Service, Kind::EndpointSlice]);
        let gatherer = Gatherer::new(sender, kinds);
        let sent = gatherer.send(Kind::Service, learnt(Kind::Service, true));
        sent.await.expect("there is room");
        // Two wait for room: one with the last kind's list, one that only has more of the first kind.
        let waiting = [Kind::EndpointSlice, Kind::Service].map(|kind| {
            let gatherer = gatherer.clone();
            async move { gatherer.send(kind, learnt(kind, true)).await }
        });
        let [last, more] = waiting.map(tokio::spawn);
        let mut seen = Vec::new();
        for _ in 0..3 {
            let batch = batches.recv().await.expect("three were sent");
            let Some(Change::Only(kind, _)) = batch.changes.first() else {
                panic!("it is what was sent");
            };
            seen.push(*kind);
            assert_eq!(batch.has_listed, seen.contains(&Kind::EndpointSlice));
        }
        for task in [last, more] {
            task.await.expect("it ends").expect("somebody listens");
        }
    }
}
