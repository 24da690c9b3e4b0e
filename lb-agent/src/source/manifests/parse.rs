//! From a file's text to objects: kinds that we read, lists of them, and what is wrong with the others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{self, Document};
use super::shown;
use super::strict::Strict;
use crate::catalog::{Kind, Object, ObjectId, Problem};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) problems: Vec<Problem>,
    /// Something could not be read, so an object may be missing.
    pub(super) is_broken: bool,
    /// Objects of other kinds.
    pub(super) passed_over: usize,
}

/// Where an object stands, to be told.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    path: &'a Path,
    line: u64,
}

/// Reads a file's text: JSON when it is called so or looks so, else YAML.
pub(super) fn text(path: &Path, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (line, document) in documents(path, text) {
        let place = Place { path, line };
        match document {
            Ok(value) => parsed.add(place, value),
            Err(error) => {
                parsed.is_broken = true;
                let at = match (error.line, error.column) {
                    (line, 0) => format!("line {line}"),
                    (line, column) => format!("line {line}, column {column}"),
                };
                parsed.problems.push(Problem {
                    object: shown(path),
                    message: format!("{at}: {}: correct it", error.message),
                });
            }
        }
    }
    parsed
}

fn documents(path: &Path, text: &str) -> Vec<Document> {
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    if !is_json && !text.trim_start().starts_with('{') {
        return document::yaml(text);
    }
    let documents = document::json(text);
    if !is_json && documents.iter().any(|(_, value)| value.is_err()) {
        return document::yaml(text);
    }
    documents
}

impl Parsed {
    fn add(&mut self, place: Place<'_>, mut value: Value) {
        let kind = word(&value, "kind").to_owned();
        let version = word(&value, "apiVersion").to_owned();
        match (&*version, &*kind) {
            ("v1", "Service") => self.add_object(place, Kind::Service, value),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                self.add_object(place, Kind::EndpointSlice, value);
            }
            ("v1", "Node") => self.add_object(place, Kind::Node, value),
            ("v1", "List") => {
                for item in items(&mut value) {
                    self.add(place, item);
                }
            }
            ("v1", "ServiceList") => self.add_list(place, Kind::Service, value),
            ("discovery.k8s.io/v1", "EndpointSliceList") => {
                self.add_list(place, Kind::EndpointSlice, value);
            }
            ("v1", "NodeList") => self.add_list(place, Kind::Node, value),
            _ => self.add_other(place, &version, &kind, &value),
        }
    }

    /// A list of one kind, whose items need not say their kind again.
    fn add_list(&mut self, place: Place<'_>, kind: Kind, mut value: Value) {
        for item in items(&mut value) {
            self.add_object(place, kind, item);
        }
    }

    fn add_object(&mut self, place: Place<'_>, kind: Kind, value: Value) {
        let named = title(place, kind, &value);
        let object = match kind {
            Kind::Service => typed(value).map(|service| Object::Service(Arc::new(service))),
            Kind::EndpointSlice => typed(value).map(|slice| Object::EndpointSlice(Arc::new(slice))),
            Kind::Node => typed(value).map(|node| Object::Node(Arc::new(node))),
        };
        let object = object.and_then(|object| {
            if object.id().name.name.is_empty() {
                return Err("metadata.name is empty: write one".to_owned());
            }
            Ok(object)
        });
        match object {
            Ok(object) => self.insert(place, object),
            Err(message) => self.broken(named, message, place),
        }
    }

    fn insert(&mut self, place: Place<'_>, object: Object) {
        match self.objects.entry(object.id()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(entry) => {
                let message = format!("is there twice in {place}: the first counts; remove one");
                self.problems.push(Problem::of(entry.key(), message));
            }
        }
    }

    /// Something else, or one of ours that does not say so properly.
    fn add_other(&mut self, place: Place<'_>, version: &str, kind: &str, value: &Value) {
        let group = version.split('/').next().unwrap_or_default();
        let is_ours = ["Service", "EndpointSlice", "Node"].contains(&kind);
        let wanted = match kind {
            "EndpointSlice" => "discovery.k8s.io/v1",
            _ => "v1",
        };
        let named = || match named(value) {
            Some(name) if is_ours => format!("{kind} {name}"),
            _ => shown(place.path),
        };
        match value {
            Value::Null | Value::Array(_) => {}
            Value::Object(_) if is_ours && version.is_empty() => self.broken(
                named(),
                format!("apiVersion is missing: write {wanted}"),
                place,
            ),
            Value::Object(_) if kind == "EndpointSlice" && group == "discovery.k8s.io" => self
                .broken(
                    named(),
                    format!("apiVersion {version} is not read: convert it to {wanted}"),
                    place,
                ),
            Value::Object(_) if kind.is_empty() && !version.is_empty() => {
                self.broken(named(), "kind is missing: write it".to_owned(), place);
            }
            Value::Object(_) => {
                tracing::debug!("{place}: {version} {kind:?} passed over");
                self.passed_over += 1;
            }
            _ => self.broken(
                shown(place.path),
                "this is not a Kubernetes object: write apiVersion, kind and metadata".to_owned(),
                place,
            ),
        }
    }

    fn broken(&mut self, object: String, message: String, place: Place<'_>) {
        self.is_broken = true;
        self.problems.push(Problem {
            object,
            message: format!("{message} ({place})"),
        });
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, document at line {}", self.path.display(), self.line)
    }
}

/// An object of ours. `Err` names the field and what was expected.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let message = plain(&error.inner().to_string());
        match error.path().to_string().as_str() {
            "." => message,
            path => format!("{path}: {message}"),
        }
    })
}

/// serde's words, for people who write YAML and not Rust.
fn plain(message: &str) -> String {
    let message = message.replace("expected i32", "expected a whole number");
    let Some((before, after)) = message.split_once("expected struct ") else {
        return message;
    };
    let rest = after.split_once(' ').map(|(_, rest)| rest);
    let rest = rest.map(|rest| format!(" {rest}")).unwrap_or_default();
    format!("{before}expected a mapping{rest}")
}

/// `Service default/web`, or the file when it has no name.
fn title(place: Place<'_>, kind: Kind, value: &Value) -> String {
    match (kind, named(value)) {
        (Kind::Node, Some(_)) => format!(
            "{kind} {}",
            value["metadata"]["name"].as_str().unwrap_or("")
        ),
        (_, Some(name)) => format!("{kind} {name}"),
        (_, None) => format!("{kind} in {}", shown(place.path)),
    }
}

/// The namespace and name that a value gives itself.
fn named(value: &Value) -> Option<String> {
    let metadata = value.get("metadata")?;
    let name = metadata.get("name")?.as_str().filter(|n| !n.is_empty())?;
    let namespace = metadata.get("namespace").and_then(Value::as_str);
    Some(format!("{}/{name}", namespace.unwrap_or("default")))
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items(value: &mut Value) -> Vec<Value> {
    match value.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}
