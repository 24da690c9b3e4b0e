//! The lines of a watch: events as a client sees them, bookmarks, errors.

use std::sync::Arc;

use serde_json::{Value, json};

use super::history::HistoryEvent;
use super::kind::Kind;
use super::object::Object;
use super::refusal::Refusal;
use super::selector::Selector;

/// An event for a client with a selector.
pub(super) fn selected_event<'e>(
    selector: &Selector,
    event: &'e HistoryEvent,
) -> Option<(&'static str, &'e Object)> {
    let seen = |object: &'e Option<Arc<Object>>| {
        object.as_deref().filter(|object| selector.matches(object))
    };
    match (seen(&event.before), seen(&event.after)) {
        (None, None) => None,
        (None, Some(after)) => Some(("ADDED", after)),
        (Some(_), Some(after)) => Some(("MODIFIED", after)),
        (Some(_), None) => Some(("DELETED", event.as_deleted()?)),
    }
}

/// An object, and what happened to it.
pub(super) fn event(what: &str, object: &Object, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(r#"{{"type":"{what}","object":"#).as_bytes());
    object.write(out);
    out.extend_from_slice(b"}\n");
}

/// Tells a client up to which revision it has received everything.
pub(super) fn bookmark(kind: Kind, revision: u64, annotations: Value) -> Vec<u8> {
    let facts = kind.facts();
    let metadata = json!({
        "resourceVersion": revision.to_string(),
        "creationTimestamp": null,
        "annotations": annotations,
    });
    line(&json!({
        "type": "BOOKMARK",
        "object": {"kind": facts.name, "apiVersion": facts.api_version, "metadata": metadata},
    }))
}

pub(super) fn error(refusal: &Refusal) -> Vec<u8> {
    line(&json!({"type": "ERROR", "object": refusal.to_json()}))
}

fn line(event: &Value) -> Vec<u8> {
    format!("{event}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::api_server::object::Key;

    fn node(name: &str, label: &str) -> Option<Arc<Object>> {
        let fields = Map::from_iter([("metadata".to_owned(), json!({"labels": {"l": label}}))]);
        Some(Arc::new(Object::new(
            Kind::Node,
            Key::new("", name),
            1,
            fields,
        )))
    }

    #[test]
    fn objects_leaving_a_selection_are_deleted_and_entering_ones_added() {
        let selector = Selector::parse(Kind::Node, None, "l=yes", "").expect("it can be read");
        let look = |before, after| {
            let event = HistoryEvent::new(9, Kind::Node, before, after);
            selected_event(&selector, &event).map(|(what, object)| (what, object.revision))
        };
        let [yes, no] = ["yes", "no"].map(|label| node("a", label));
        assert_eq!(look(None, yes.clone()), Some(("ADDED", 1)));
        assert_eq!(look(None, no.clone()), None);
        assert_eq!(look(yes.clone(), yes.clone()), Some(("MODIFIED", 1)));
        assert_eq!(look(no.clone(), yes.clone()), Some(("ADDED", 1)));
        assert_eq!(look(yes.clone(), no.clone()), Some(("DELETED", 9)));
        assert_eq!(look(yes, None), Some(("DELETED", 9)));
        assert_eq!(look(no, None), None);
    }
}
