//! The difference between one answer of the agent and the next.

use std::collections::BTreeMap;

use serde::Serialize;

use super::listed::Listed;

/// What has happened to an object, by the names of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// The objects of the last answer.
#[derive(Debug)]
pub(super) struct Changes<T: Listed> {
    known: BTreeMap<T::Key, T>,
}

impl<T: Listed> Default for Changes<T> {
    fn default() -> Self {
        Self {
            known: BTreeMap::new(),
        }
    }
}

impl<T: Listed> Changes<T> {
    /// The added and modified objects in the order of `now`, then the deleted ones as they were last.
    pub(super) fn since_last(&mut self, now: Vec<T>) -> Vec<(EventType, T)> {
        let mut before = std::mem::take(&mut self.known);
        let mut changes = Vec::new();
        for object in now {
            let key = object.key();
            match before.remove(&key) {
                None => changes.push((EventType::Added, object.clone())),
                Some(last) if object.has_changed(&last) => {
                    changes.push((EventType::Modified, object.clone()));
                }
                Some(_) => {}
            }
            self.known.insert(key, object);
        }
        changes.extend(before.into_values().map(|last| (EventType::Deleted, last)));
        changes
    }
}
