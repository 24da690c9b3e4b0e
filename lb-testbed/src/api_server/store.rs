//! All objects, the revision counter, and the latest events. No HTTP, no threads.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::history::{History, HistoryEvent};
use super::kind::Kind;
use super::object::{Key, Object, metadata_of};
use super::refusal::Refusal;

pub(super) type Objects = BTreeMap<Key, Arc<Object>>;

#[derive(Debug)]
pub(super) struct Store {
    revision: u64,
    objects: BTreeMap<Kind, Objects>,
    history: History,
}

impl Store {
    /// An empty store whose first change has the next revision.
    pub(super) fn at(revision: u64) -> Self {
        Self {
            revision,
            objects: Kind::ALL
                .into_iter()
                .map(|kind| (kind, Objects::new()))
                .collect(),
            history: History::beginning_after(revision),
        }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Drops the history: watches from an earlier revision, and further pages of earlier lists, get 410.
    pub(super) fn forget_history(&mut self) {
        self.history = History::beginning_after(self.revision);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values().flat_map(BTreeMap::values)
    }

    pub(super) fn get(&self, kind: Kind, key: &Key) -> Result<&Arc<Object>, Refusal> {
        self.of(kind)
            .and_then(|objects| objects.get(key))
            .ok_or_else(|| Refusal::not_found(kind, key))
    }

    /// The objects of a kind at a revision.
    pub(super) fn snapshot(&self, kind: Kind, revision: u64) -> Result<Cow<'_, Objects>, Refusal> {
        let events = self.history.since(revision).ok_or_else(|| {
            Refusal::expired(format!("The resourceVersion {revision} is too old"))
        })?;
        let now = self.of(kind).map_or_else(Cow::default, Cow::Borrowed);
        let objects =
            events
                .rev()
                .filter(|event| event.kind == kind)
                .fold(now, |mut objects, event| {
                    undo(event, objects.to_mut());
                    objects
                });
        Ok(objects)
    }

    pub(super) fn create(
        &mut self,
        kind: Kind,
        key: Key,
        mut fields: Map<String, Value>,
    ) -> Result<Arc<Object>, Refusal> {
        if self.get(kind, &key).is_ok() {
            return Err(Refusal::already_exists(kind, &key));
        }
        for ours in ["uid", "creationTimestamp"] {
            metadata_of(&mut fields).remove(ours);
        }
        Ok(self.put(kind, key, fields))
    }

    /// Replaces an object. A `resourceVersion` in it must be the current one.
    pub(super) fn replace(
        &mut self,
        kind: Kind,
        key: Key,
        mut fields: Map<String, Value>,
    ) -> Result<Arc<Object>, Refusal> {
        let current = self.get(kind, &key)?.revision.to_string();
        match metadata_of(&mut fields).get("resourceVersion") {
            Some(Value::String(expected)) if !expected.is_empty() && *expected != current => {
                Err(Refusal::conflict(kind, &key))
            }
            _ => Ok(self.put(kind, key, fields)),
        }
    }

    /// Creates or replaces an object. Without a change there is no new revision. A new object may have a creation time.
    pub(super) fn put(
        &mut self,
        kind: Kind,
        key: Key,
        mut fields: Map<String, Value>,
    ) -> Arc<Object> {
        let before = self.get(kind, &key).ok().cloned();
        let old = before.as_ref().map(|before| before.fields());
        complete(&key, &mut fields, old.as_ref());
        if let (Some(before), Some(mut old)) = (&before, old) {
            metadata_of(&mut old).remove("resourceVersion");
            if old == fields {
                return before.clone();
            }
        }
        self.revision += 1;
        let object = Arc::new(Object::new(kind, key.clone(), self.revision, fields));
        self.objects
            .entry(kind)
            .or_default()
            .insert(key, object.clone());
        self.happened(kind, before, Some(object.clone()));
        object
    }

    pub(super) fn remove(&mut self, kind: Kind, key: &Key) -> Result<Arc<Object>, Refusal> {
        let removed = self
            .objects
            .get_mut(&kind)
            .and_then(|objects| objects.remove(key))
            .ok_or_else(|| Refusal::not_found(kind, key))?;
        self.revision += 1;
        self.happened(kind, Some(removed.clone()), None);
        Ok(removed)
    }

    fn of(&self, kind: Kind) -> Option<&Objects> {
        self.objects.get(&kind)
    }

    fn happened(&mut self, kind: Kind, before: Option<Arc<Object>>, after: Option<Arc<Object>>) {
        self.history
            .push(HistoryEvent::new(self.revision, kind, before, after));
    }
}

fn undo(event: &HistoryEvent, objects: &mut Objects) {
    match (&event.before, &event.after) {
        (Some(before), _) => {
            objects.insert(before.key.clone(), before.clone());
        }
        (None, Some(after)) => {
            objects.remove(&after.key);
        }
        (None, None) => {}
    }
}

/// Adds the server's metadata, except the revision.
fn complete(key: &Key, fields: &mut Map<String, Value>, old: Option<&Map<String, Value>>) {
    for head in ["apiVersion", "kind"] {
        fields.remove(head);
    }
    let of_old = |field: &str| old.and_then(|old| old.get("metadata")?.get(field)).cloned();
    let generation = of_old("generation").and_then(|old| old.as_u64());
    let generation = match (generation, old) {
        (Some(generation), Some(old)) if is_same_generation(old, fields) => generation,
        (generation, _) => generation.unwrap_or(0) + 1,
    };
    let metadata = metadata_of(fields);
    let mut given = |field: &str| {
        let said = metadata.remove(field).filter(Value::is_string);
        of_old(field).or(said)
    };
    let uid = given("uid").unwrap_or_else(|| json!(new_uid()));
    let created = given("creationTimestamp").unwrap_or_else(|| json!(now()));
    metadata.remove("resourceVersion");
    metadata.insert("name".to_owned(), json!(key.name));
    if !key.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(key.namespace));
    }
    metadata.insert("uid".to_owned(), uid);
    metadata.insert("creationTimestamp".to_owned(), created);
    metadata.insert("generation".to_owned(), json!(generation));
}

/// Whether they differ only in metadata and status.
fn is_same_generation(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    let counts = |(field, _): &(&String, &Value)| *field != "metadata" && *field != "status";
    old.iter().filter(counts).eq(new.iter().filter(counts))
}

fn new_uid() -> String {
    let [a, b] = [fastrand::u64(..), fastrand::u64(..)];
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48) & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(port: u16) -> Map<String, Value> {
        Map::from_iter([("spec".to_owned(), json!({"ports": [{"port": port}]}))])
    }

    fn names(store: &Store, revision: u64) -> Vec<(String, u64)> {
        let objects = store.snapshot(Kind::Service, revision);
        objects
            .expect("it is known")
            .values()
            .map(|object| (object.key.name.clone(), object.revision))
            .collect()
    }

    #[test]
    fn an_object_keeps_server_assigned_fields() {
        let mut store = Store::at(100);
        let key = Key::new("default", "a");
        let first = store.put(Kind::Service, key.clone(), service(80)).to_json();
        assert_eq!(first["metadata"]["resourceVersion"], "101");
        assert_eq!(first["metadata"]["generation"], 1);
        let mut labelled = service(80);
        labelled.insert("metadata".to_owned(), json!({"labels": {"a": "b"}}));
        let second = store.put(Kind::Service, key.clone(), labelled).to_json();
        assert_eq!(second["metadata"]["generation"], 1);
        assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
        let third = store.put(Kind::Service, key, service(81)).to_json();
        assert_eq!(third["metadata"]["generation"], 2);
        assert_eq!(third["metadata"]["resourceVersion"], "103");
    }

    #[test]
    fn an_update_without_changes_makes_no_revision() {
        let mut store = Store::at(0);
        let key = Key::new("default", "a");
        let first = store.put(Kind::Service, key.clone(), service(80));
        let again = store.put(
            Kind::Service,
            key.clone(),
            first.to_json().as_object().cloned().unwrap_or_default(),
        );
        assert_eq!((again.revision, store.revision()), (1, 1));
        store.put(Kind::Service, key, service(80));
        assert_eq!(store.revision(), 1);
    }

    #[test]
    fn an_old_revision_is_refused() {
        let mut store = Store::at(0);
        let key = Key::new("default", "a");
        let old = store.put(Kind::Service, key.clone(), service(80));
        store.put(Kind::Service, key.clone(), service(81));
        let old = old.fields();
        let refused = store.replace(Kind::Service, key.clone(), old);
        assert_eq!(
            refused.map(|object| object.revision),
            Err(Refusal::conflict(Kind::Service, &key))
        );
    }

    #[test]
    fn history_is_available_until_it_is_compacted() {
        let mut store = Store::at(0);
        for name in ["a", "b"] {
            store.put(Kind::Service, Key::new("default", name), service(80));
        }
        store.put(Kind::Service, Key::new("default", "a"), service(81));
        let removed = store.remove(Kind::Service, &Key::new("default", "b"));
        assert!(removed.is_ok());
        let pair = |name: &str, revision| (name.to_owned(), revision);
        assert_eq!(names(&store, 2), [pair("a", 1), pair("b", 2)]);
        assert_eq!(names(&store, 3), [pair("a", 3), pair("b", 2)]);
        assert_eq!(names(&store, 4), [pair("a", 3)]);
        store.forget_history();
        assert!(store.snapshot(Kind::Service, 3).is_err());
        assert_eq!(names(&store, 4), [pair("a", 3)]);
    }
}
