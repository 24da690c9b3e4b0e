//! Combines the watches of all kinds: adds the state of all kinds to the changes of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::catalog::{Change, Kind, Problem};
use crate::source::batch::Batch;

/// Cheap to clone. Each watch has one.
#[derive(Clone, Debug)]
pub struct Gatherer {
    batches: mpsc::Sender<Batch>,
    state: Arc<Mutex<Gathered>>,
}

#[derive(Debug)]
struct Gathered {
    /// Kinds that have not been listed yet.
    awaited: BTreeSet<Kind>,
    problems: BTreeMap<Kind, Vec<Problem>>,
}

/// The data that the watch of one kind passes on.
#[derive(Debug)]
pub struct KindUpdate {
    pub changes: Vec<Change>,
    /// All current problems of objects of this kind.
    pub problems: Vec<Problem>,
    /// All objects of the kind have been listed, with these changes or before them.
    pub has_listed: bool,
    /// The time at which the first of the changes arrived.
    pub received: Option<Instant>,
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

    /// Passes on the news of a watch. `Err`: the receiver was dropped.
    ///
    /// The state of all kinds is read only after a slot in the queue is reserved: a batch that reports all kinds as listed must
    /// not overtake the batch that completes the last list.
    pub async fn send(
        &self,
        kind: Kind,
        update: KindUpdate,
    ) -> Result<(), mpsc::error::SendError<()>> {
        let slot = self.batches.reserve().await?;
        let mut state = self.state();
        if update.has_listed {
            state.awaited.remove(&kind);
        }
        state.problems.insert(kind, update.problems);
        let problems: Vec<Problem> = state.problems.values().flatten().cloned().collect();
        let has_listed = state.awaited.is_empty();
        slot.send(Batch {
            changes: update.changes,
            has_listed,
            is_complete: has_listed && problems.is_empty(),
            problems,
            received: update.received,
        });
        Ok(())
    }

    /// Waits until the receiver is dropped.
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

    fn update(kind: Kind, has_listed: bool) -> KindUpdate {
        KindUpdate {
            changes: vec![Change::Only(kind, HashSet::new())],
            problems: Vec::new(),
            has_listed,
            received: None,
        }
    }

    #[tokio::test]
    async fn only_the_batch_with_the_last_kind_completes_the_list() {
        let (sender, mut batches) = mpsc::channel(1);
        let kinds = BTreeSet::from([Kind::Service, Kind::EndpointSlice]);
        let gatherer = Gatherer::new(sender, kinds);
        let sent = gatherer.send(Kind::Service, update(Kind::Service, true));
        sent.await.expect("there is room");
        // Two senders wait for a slot: one with the list of the last kind, one with more changes of the first kind.
        let waiting = [Kind::EndpointSlice, Kind::Service].map(|kind| {
            let gatherer = gatherer.clone();
            async move { gatherer.send(kind, update(kind, true)).await }
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
            task.await.expect("it ends").expect("the receiver exists");
        }
    }
}
