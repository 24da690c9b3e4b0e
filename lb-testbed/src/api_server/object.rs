//! An object at one revision: its JSON as sent to clients, and the fields that selectors use.

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Bytes;
use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::refusal::Refusal;

/// An object's key, in the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// Empty for objects without a namespace.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An object as its revision left it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) key: Key,
    pub(super) revision: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) cluster_ip: String,
    pub(super) node_name: String,
    /// The JSON without the opening brace, `apiVersion` and `kind`: in lists, objects come without the two.
    json: Bytes,
}

impl Object {
    /// From the object's fields, with complete metadata except the `resourceVersion`.
    pub(super) fn new(kind: Kind, key: Key, revision: u64, mut fields: Map<String, Value>) -> Self {
        fields.remove("apiVersion");
        fields.remove("kind");
        metadata_of(&mut fields).insert("resourceVersion".to_owned(), json!(revision.to_string()));
        let json = Value::Object(fields);
        let labels = json["metadata"]["labels"].as_object();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            kind,
            key,
            revision,
            labels: labels
                .into_iter()
                .flatten()
                .map(|(label, value)| (label.clone(), text(value)))
                .collect(),
            cluster_ip: text(&json["spec"]["clusterIP"]),
            node_name: text(&json["spec"]["nodeName"]),
            json: Bytes::from(json.to_string()).slice(1..),
        }
    }

    /// The same at another revision, as in the event of its deletion.
    pub(super) fn at(&self, revision: u64) -> Self {
        Self::new(self.kind, self.key.clone(), revision, self.fields())
    }

    /// Without `apiVersion` and `kind`.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut json = vec![b'{'];
        json.extend_from_slice(&self.json);
        serde_json::from_slice(&json).unwrap_or_default()
    }

    pub(super) fn to_json(&self) -> Value {
        let facts = self.kind.facts();
        let mut fields = self.fields();
        fields.insert("apiVersion".to_owned(), json!(facts.api_version));
        fields.insert("kind".to_owned(), json!(facts.name));
        Value::Object(fields)
    }

    /// As an element of a list.
    pub(super) fn write_item(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.json);
    }

    /// As the body of an answer, or in an event.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let facts = self.kind.facts();
        let head = format!(
            r#"{{"apiVersion":"{}","kind":"{}","#,
            facts.api_version, facts.name
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(&self.json);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size() + 128);
        self.write(&mut out);
        out
    }

    pub(super) fn size(&self) -> usize {
        self.json.len()
    }
}

/// The key of a received object. A namespace in the path and one in the object must be the same.
pub(super) fn key_of(
    kind: Kind,
    fields: &mut Map<String, Value>,
    namespace: Option<&str>,
) -> Result<Key, Refusal> {
    let metadata = metadata_of(fields);
    let text = |field: &str| metadata.get(field).and_then(Value::as_str);
    let name = text("name").filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Refusal::invalid("metadata.name: Required value"))?;
    let said = text("namespace").filter(|said| !said.is_empty());
    let namespace = match (kind.facts().namespaced, namespace, said) {
        (false, _, _) => "",
        (true, Some(path), Some(said)) if path != said => {
            return Err(Refusal::bad_request(format!(
                "the namespace of the provided object does not match the namespace sent on the request: {said} and {path}"
            )));
        }
        (true, path, said) => path.or(said).unwrap_or("default"),
    };
    Ok(Key::new(namespace, name))
}

/// The metadata; an empty one is added if it is missing or not an object.
pub(super) fn metadata_of(fields: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let metadata = fields
        .entry("metadata")
        .and_modify(|metadata| {
            if !metadata.is_object() {
                *metadata = json!({});
            }
        })
        .or_insert_with(|| json!({}));
    match metadata {
        Value::Object(metadata) => metadata,
        _ => unreachable!("it was made an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(fields: Value) -> Object {
        let Value::Object(mut fields) = fields else {
            unreachable!("tests write objects");
        };
        let key = key_of(Kind::Service, &mut fields, None).expect("it has a name");
        Object::new(Kind::Service, key, 7, fields)
    }

    #[test]
    fn an_object_is_returned_unchanged_with_its_revision() {
        let it = object(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": {"l": "1"}}, "spec": "odd"}),
        );
        let mut whole = Vec::new();
        it.write(&mut whole);
        let whole: Value = serde_json::from_slice(&whole).expect("it is JSON");
        let metadata = json!({"name": "a", "labels": {"l": "1"}, "resourceVersion": "7"});
        assert_eq!(
            whole,
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": "odd"})
        );
        assert_eq!(whole, it.to_json());
        let mut item = Vec::new();
        it.write_item(&mut item);
        let item: Value = serde_json::from_slice(&item).expect("it is JSON");
        assert_eq!(item, json!({"metadata": metadata, "spec": "odd"}));
        assert_eq!(it.at(8).to_json()["metadata"]["resourceVersion"], "8");
    }

    #[test]
    fn a_key_takes_the_namespace_of_path_or_object_if_they_agree() {
        let key = |path, said: Value| {
            let mut fields = Map::from_iter([("metadata".to_owned(), said)]);
            key_of(Kind::Service, &mut fields, path).map(|key| key.to_string())
        };
        assert_eq!(key(None, json!({"name": "a"})), Ok("default/a".to_owned()));
        assert_eq!(key(Some("x"), json!({"name": "a"})), Ok("x/a".to_owned()));
        assert_eq!(
            key(None, json!({"name": "a", "namespace": "y"})),
            Ok("y/a".to_owned())
        );
        assert!(key(Some("x"), json!({"name": "a", "namespace": "y"})).is_err());
        assert!(key(Some("x"), json!("no object")).is_err());
    }
}
