//! Selects the file whose definition of an object counts: the last one in the order of the paths, as if `kubectl apply` had
//! received the same paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::paths::{FileKey, display};
use crate::catalog::{Change, Object, ObjectId, Problem};

#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_object: HashMap<ObjectId, BTreeMap<FileKey, Object>>,
    /// Objects that more than one file defines.
    repeated: BTreeSet<ObjectId>,
    /// The definitions that counted before the changes that have not been taken yet.
    before: BTreeMap<ObjectId, Option<Object>>,
}

impl Definitions {
    /// Replaces a file's old definitions by its new ones.
    pub(super) fn replace(
        &mut self,
        file: &FileKey,
        old: &BTreeMap<ObjectId, Object>,
        new: &BTreeMap<ObjectId, Object>,
    ) {
        for id in old.keys().filter(|id| !new.contains_key(id)) {
            self.set(id, file, None);
        }
        for (id, object) in new {
            if old.get(id) != Some(object) {
                self.set(id, file, Some(object.clone()));
            }
        }
    }

    /// Returns the changes of the definitions that count, since the last call.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        let before = std::mem::take(&mut self.before);
        let changes = before.into_iter().filter_map(|(id, before)| {
            let now = self.counting(&id);
            if now == before.as_ref() {
                return None;
            }
            Some(match now {
                Some(object) => Change::Set(object.clone()),
                None => Change::Remove(id),
            })
        });
        changes.collect()
    }

    pub(super) fn defines(&self, id: &ObjectId) -> bool {
        self.by_object.contains_key(id)
    }

    /// Returns a line for each object that is defined more than once.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.repeated.iter().flat_map(|id| {
            let mut files = self.by_object.get(id).into_iter().flat_map(BTreeMap::keys);
            let last = files.next_back().map(|key| display(&key.path));
            let last = last.unwrap_or_default();
            files.map(move |earlier| {
                let earlier = display(&earlier.path);
                let message = format!(
                    "is defined in {earlier} and again in {last}: the last one counts; remove one"
                );
                Problem::of(id, message)
            })
        })
    }

    fn set(&mut self, id: &ObjectId, file: &FileKey, object: Option<Object>) {
        if !self.before.contains_key(id) {
            let counting = self.counting(id).cloned();
            self.before.insert(id.clone(), counting);
        }
        let by_file = self.by_object.entry(id.clone()).or_default();
        match object {
            Some(object) => by_file.insert(file.clone(), object),
            None => by_file.remove(file),
        };
        if by_file.len() > 1 {
            self.repeated.insert(id.clone());
        } else {
            self.repeated.remove(id);
        }
        if by_file.is_empty() {
            self.by_object.remove(id);
        }
    }

    fn counting(&self, id: &ObjectId) -> Option<&Object> {
        self.by_object.get(id)?.values().next_back()
    }
}
