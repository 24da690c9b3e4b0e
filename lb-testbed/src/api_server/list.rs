//! Lists, whole or in pages. All pages show one revision, which the continue token contains.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use serde_json::{Value, json};

use super::kind::Kind;
use super::object::{Key, Object};
use super::query::{ListFrom, ListQuery};
use super::refusal::Refusal;
use super::store::Store;

#[derive(Debug)]
pub(super) struct Page {
    kind: Kind,
    pub(super) revision: u64,
    pub(super) objects: Vec<Arc<Object>>,
    next: Option<String>,
    /// The number of objects on later pages, if it is known.
    remaining: Option<usize>,
}

pub(super) fn page(store: &Store, kind: Kind, query: &ListQuery) -> Result<Page, Refusal> {
    let current = store.revision();
    let (revision, after) = match &query.from {
        ListFrom::NotOlderThan(asked) | ListFrom::Exactly(asked) if current < *asked => {
            return Err(Refusal::too_large_revision(*asked, current));
        }
        ListFrom::NotOlderThan(_) => (current, None),
        ListFrom::Exactly(revision) => (*revision, None),
        ListFrom::Continue(token) => {
            let (revision, after) = read_token(token)?;
            if current < revision {
                return Err(token_expired());
            }
            (revision, Some(after))
        }
    };
    let objects = store
        .snapshot(kind, revision)
        .map_err(|refusal| match after {
            Some(_) => token_expired(),
            None => refusal,
        })?;
    let start = after.map_or(Unbounded, Excluded);
    let mut matching = objects
        .range((start, Unbounded))
        .map(|(_, object)| object)
        .filter(|object| query.selector.matches(object));
    let objects: Vec<_> = matching
        .by_ref()
        .take(query.limit.unwrap_or(usize::MAX))
        .cloned()
        .collect();
    let remaining = matching.count();
    let last = objects.last().filter(|_| remaining != 0);
    Ok(Page {
        kind,
        revision,
        next: last.map(|object| format!("{revision}/{}", object.key)),
        remaining: Some(remaining).filter(|_| last.is_some() && !query.selector.has_rules()),
        objects,
    })
}

impl Page {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let size: usize = self.objects.iter().map(|object| object.size() + 2).sum();
        let mut out = Vec::with_capacity(size + 256);
        let facts = self.kind.facts();
        let head = format!(
            r#"{{"kind":"{}List","apiVersion":"{}","metadata":{},"items":["#,
            facts.name,
            facts.api_version,
            self.metadata()
        );
        out.extend_from_slice(head.as_bytes());
        for (place, object) in self.objects.iter().enumerate() {
            if place != 0 {
                out.push(b',');
            }
            object.write_item(&mut out);
        }
        out.extend_from_slice(b"]}\n");
        out
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            metadata["continue"] = json!(next);
        }
        if let Some(remaining) = self.remaining {
            metadata["remainingItemCount"] = json!(remaining);
        }
        metadata
    }
}

/// The revision of the list, and the last key of the page before.
fn read_token(token: &str) -> Result<(u64, Key), Refusal> {
    let mut parts = token.splitn(3, '/');
    let mut part = || parts.next();
    let read = part()
        .and_then(|revision| revision.parse().ok())
        .zip(part().zip(part()));
    let (revision, (namespace, name)) =
        read.ok_or_else(|| Refusal::bad_request("continue key is not valid"))?;
    Ok((revision, Key::new(namespace, name)))
}

fn token_expired() -> Refusal {
    Refusal::expired(
        "The provided continue parameter is too old to display a consistent list result. \
         You can start a new list without the continue parameter.",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::api_server::query::Query;

    fn store(count: usize) -> Store {
        let mut store = Store::at(0);
        for number in 0..count {
            let key = Key::new("", &format!("node-{number:03}"));
            store.put(Kind::Node, key, Map::new());
        }
        store
    }

    fn ask(store: &Store, pairs: &[(&str, &str)]) -> Result<Page, Refusal> {
        let query: Query = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        page(
            store,
            Kind::Node,
            &ListQuery::parse(Kind::Node, None, &query)?,
        )
    }

    #[test]
    fn pages_show_one_revision_despite_changes() {
        let mut store = store(5);
        let mut names = Vec::new();
        let mut next = None;
        let mut sizes = Vec::new();
        loop {
            let token: String = next.take().unwrap_or_default();
            let page = ask(&store, &[("limit", "2"), ("continue", &token)]).expect("a page");
            assert_eq!(page.revision, 5);
            sizes.push((page.objects.len(), page.remaining));
            names.extend(page.objects.iter().map(|object| object.key.name.clone()));
            let key = Key::new("", "node-003");
            let _ = store.remove(Kind::Node, &key);
            store.put(Kind::Node, Key::new("", "node-00x"), Map::new());
            match page.next {
                Some(token) => next = Some(token),
                None => break,
            }
        }
        assert_eq!(sizes, [(2, Some(3)), (2, Some(1)), (1, None)]);
        assert_eq!(
            names,
            ["node-000", "node-001", "node-002", "node-003", "node-004"]
        );
    }

    #[test]
    fn a_forgotten_revision_expires_its_tokens() {
        let mut store = store(3);
        let first = ask(&store, &[("limit", "1")]).expect("a page");
        let token = first.next.expect("there is more");
        store.put(Kind::Node, Key::new("", "late"), Map::new());
        store.forget_history();
        let refused = ask(&store, &[("continue", &token)]).map(|page| page.objects.len());
        assert_eq!(refused, Err(token_expired()));
    }

    #[test]
    fn a_future_revision_is_refused() {
        let refused = ask(&store(3), &[("resourceVersion", "4")]).map(|page| page.revision);
        assert_eq!(refused, Err(Refusal::too_large_revision(4, 3)));
    }
}
