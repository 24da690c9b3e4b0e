//! From a file's text to objects: kinds that we read, lists of them, and what is wrong with the others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{self, Document, SyntaxError};
use super::shown;
use super::strict::Strict;
use super::what::What;
use crate::catalog::{Kind, Object, ObjectId, ObjectName, Problem};
use crate::source::words::{plain, well_named};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) problems: Vec<Problem>,
    /// Something could not be read, so an object may be missing.
    pub(super) is_broken: bool,
    /// Objects that are there and cannot be read.
    pub(super) unread: BTreeSet<ObjectId>,
    /// Objects of other kinds.
    pub(super) passed_over: usize,
}

/// Reads a file's text: JSON when it is called so or looks so, else YAML.
///
/// `known`: what the file last said, which stays where it cannot be read now.
pub(super) fn text(path: &Path, text: &str, known: &BTreeMap<ObjectId, Object>) -> Parsed {
    let mut parser = Parser {
        path,
        known,
        line: 0,
        endpoints: Vec::new(),
        parsed: Parsed::default(),
    };
    for (line, document) in documents(path, text) {
        parser.line = line;
        match document {
            Ok(value) => parser.add(value),
            Err(error) => parser.cannot_read(&error),
        }
    }
    parser.tell_of_endpoints();
    parser.parsed
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

/// A file on its way to objects.
struct Parser<'a> {
    path: &'a Path,
    known: &'a BTreeMap<ObjectId, Object>,
    /// Of the document at hand.
    line: u64,
    /// The names of Endpoints.
    endpoints: Vec<String>,
    parsed: Parsed,
}

impl Parser<'_> {
    fn add(&mut self, mut value: Value) {
        match What::is(&value) {
            What::One(kind) => self.add_object(kind, value),
            What::ListOf(kind) => {
                for item in self.items(&mut value) {
                    self.add_object(kind, item);
                }
            }
            What::List => {
                for item in self.items(&mut value) {
                    self.add(item);
                }
            }
            What::Endpoints => {
                self.parsed.passed_over += 1;
                let name = name(&value).map(|name| format!(" {name}"));
                self.endpoints.push(name.unwrap_or_default());
            }
            What::Other => {
                tracing::debug!("{}: another kind passed over", self.place());
                self.parsed.passed_over += 1;
            }
            What::Nothing => {}
            What::Wrong { kind, message } => self.broken(kind, name(&value), &message),
        }
    }

    fn add_object(&mut self, kind: Kind, value: Value) {
        let name = name(&value);
        let object = match kind {
            Kind::Service => typed(value).map(|service| Object::Service(Arc::new(service))),
            Kind::EndpointSlice => typed(value).map(|slice| Object::EndpointSlice(Arc::new(slice))),
            Kind::Node => typed(value).map(|node| Object::Node(Arc::new(node))),
            Kind::ServiceCidr => typed(value).map(|cidr| Object::ServiceCidr(Arc::new(cidr))),
        };
        let object = object.and_then(|object| well_named(&object.id().name).map(|()| object));
        match object {
            Ok(object) => self.insert(object),
            Err(message) => self.broken(Some(kind), name, &message),
        }
    }

    fn insert(&mut self, object: Object) {
        let place = self.place();
        match self.parsed.objects.entry(object.id()) {
            Entry::Vacant(entry) => {
                entry.insert(object);
            }
            Entry::Occupied(entry) => {
                let message = format!("is there twice in {place}: the first counts; remove one");
                self.parsed.problems.push(Problem::of(entry.key(), message));
            }
        }
    }

    fn items(&mut self, list: &mut Value) -> Vec<Value> {
        let message = match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => return items,
            // An empty list, as Go may write it.
            Some(Value::Null) => return Vec::new(),
            Some(_) => "items is not a sequence: write one, with an object in each item",
            None => "items is missing: write the list's objects there",
        };
        self.broken(None, None, message);
        Vec::new()
    }

    /// Tells of something that is meant for us and cannot be read, and what becomes of it.
    fn broken(&mut self, kind: Option<Kind>, name: Option<ObjectName>, message: &str) {
        self.parsed.is_broken = true;
        let file = shown(self.path);
        let id = kind.zip(name).map(|(kind, name)| ObjectId::new(kind, name));
        let object = match (&id, kind) {
            (Some(id), _) => id.to_string(),
            (None, Some(kind)) => format!("{kind} in {file}"),
            (None, None) => file,
        };
        let fate = match (&id, kind) {
            (Some(id), _) if self.known.contains_key(id) => "; it stays as it was last read",
            (_, Some(_)) => "; it is left out",
            _ => "",
        };
        self.parsed.problems.push(Problem {
            object,
            message: format!("{message}{fate} ({})", self.place()),
        });
        self.parsed.unread.extend(id);
    }

    fn cannot_read(&mut self, error: &SyntaxError) {
        self.parsed.is_broken = true;
        let at = match (error.line, error.column) {
            (line, 0) => format!("line {line}"),
            (line, column) => format!("line {line}, column {column}"),
        };
        self.parsed.problems.push(Problem {
            object: shown(self.path),
            message: format!("{at}: {}: correct it", error.message),
        });
    }

    /// One line about all of them: a dump of a cluster has one for each Service.
    fn tell_of_endpoints(&mut self) {
        let Some(first) = self.endpoints.first() else {
            return;
        };
        let more = match self.endpoints.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        self.parsed.problems.push(Problem {
            object: shown(self.path),
            message: format!(
                "Endpoints{first}{more}: Endpoints are not read: write an EndpointSlice"
            ),
        });
    }

    fn place(&self) -> String {
        format!("{}, document at line {}", self.path.display(), self.line)
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

/// The namespace and name that a value gives itself.
fn name(value: &Value) -> Option<ObjectName> {
    let metadata = value.get("metadata")?;
    let text = |key| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    Some(ObjectName::new(
        text("namespace").unwrap_or("default"),
        text("name")?,
    ))
}
