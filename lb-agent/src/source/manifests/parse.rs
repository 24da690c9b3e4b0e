//! Converts a file's text to objects: the kinds that the agent reads, lists of them, and the problems of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document;
use super::document_kind::DocumentKind;
use super::paths::display;
use super::strict::Strict;
use super::syntax_error::SyntaxError;
use super::tree::{self, Tree};
use crate::catalog::{Kind, Object, ObjectId, ObjectName, Problem};
use crate::source::client_kinds::ClientKinds;
use crate::source::object_errors::{check_name, plain};

/// The contents of a file.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) objects: BTreeMap<ObjectId, Object>,
    pub(super) problems: Vec<Problem>,
    /// A part was unreadable, so an object may be missing.
    pub(super) is_broken: bool,
    /// Objects that exist but are unreadable.
    pub(super) unread: BTreeSet<ObjectId>,
    /// The number of objects of other kinds.
    pub(super) skipped: usize,
}

/// Parses a file's text, JSON or YAML.
///
/// `clients`: the kinds of clients that are read. `known`: the file's previous objects. An object that is unreadable now keeps its
/// previous version.
pub(super) fn text(
    path: &Path,
    text: &str,
    clients: ClientKinds,
    known: &BTreeMap<ObjectId, Object>,
) -> Parsed {
    let mut parser = Parser {
        path,
        clients,
        known,
        line: 0,
        endpoints: Vec::new(),
        parsed: Parsed::default(),
    };
    for (line, document) in document::all(text) {
        parser.line = line;
        match document {
            Ok(tree) => parser.add(tree),
            Err(error) => parser.report_syntax_error(&error),
        }
    }
    parser.report_endpoints();
    parser.parsed
}

/// The state of parsing a file.
struct Parser<'a> {
    path: &'a Path,
    clients: ClientKinds,
    known: &'a BTreeMap<ObjectId, Object>,
    /// The line of the current document.
    line: u64,
    /// The names of Endpoints.
    endpoints: Vec<String>,
    parsed: Parsed,
}

impl Parser<'_> {
    fn add(&mut self, tree: Tree) {
        match DocumentKind::is(&tree.value, self.clients) {
            DocumentKind::One(kind) => self.add_object(kind, tree),
            DocumentKind::ListOf(kind) => {
                for item in self.items(tree) {
                    self.add_object(kind, item);
                }
            }
            DocumentKind::List => {
                for item in self.items(tree) {
                    self.add(item);
                }
            }
            DocumentKind::Endpoints => {
                self.parsed.skipped += 1;
                let name = name(&tree.value).map(|name| format!(" {name}"));
                self.endpoints.push(name.unwrap_or_default());
            }
            DocumentKind::Other => {
                tracing::debug!(
                    event = "source.object_skipped",
                    path = %self.path.display(),
                    line = self.line,
                    "skipped an object of a kind that is not used",
                );
                self.parsed.skipped += 1;
            }
            DocumentKind::Nothing => {}
            DocumentKind::Wrong { kind, message } => {
                self.report_unreadable(kind, name(&tree.value), &message)
            }
        }
    }

    fn add_object(&mut self, kind: Kind, tree: Tree) {
        let name = name(&tree.value);
        let object = self.shown(Some(kind), name.as_ref());
        self.report_repeated_keys(&object, &tree.repeated);
        let value = tree.value;
        let refused = refused_texts(&value);
        let object = match kind {
            Kind::Service => typed(value).map(|service| Object::Service(Arc::new(service))),
            Kind::EndpointSlice => typed(value).map(|slice| Object::EndpointSlice(Arc::new(slice))),
            Kind::Node => typed(value).map(|node| Object::Node(Arc::new(node))),
            Kind::ServiceCidr => typed(value).map(|cidr| Object::ServiceCidr(Arc::new(cidr))),
            Kind::Pod => typed(value).map(|pod| Object::Pod(Arc::new(pod))),
            Kind::Namespace => typed(value).map(|of| Object::Namespace(Arc::new(of))),
        };
        let object = object.and_then(|object| check_name(&object.id().name).map(|()| object));
        match object {
            Ok(object) => {
                self.report_refused_texts(&object.id(), &refused);
                self.insert(object);
            }
            Err(message) => self.report_unreadable(Some(kind), name, &message),
        }
    }

    /// Adds an object. If two have the same name, the later one counts, as if they were applied one after the other.
    fn insert(&mut self, object: Object) {
        let id = object.id();
        if self.parsed.objects.insert(id.clone(), object).is_some() {
            let message = format!(
                "occurs twice in {}: the last one counts; remove one ({})",
                display(self.path),
                self.position()
            );
            self.parsed.problems.push(Problem::of(&id, message));
        }
    }

    fn items(&mut self, mut list: Tree) -> Vec<Tree> {
        let items = list.take_items();
        let object = display(self.path);
        self.report_repeated_keys(&object, &list.repeated);
        let message = match items {
            Some(Ok(items)) => return items,
            // An empty list: Go may write it as null.
            Some(Err(Value::Null)) => return Vec::new(),
            Some(Err(_)) => "items is not a sequence: write one, with an object in each item",
            None => "items is missing: write the list's objects there",
        };
        self.report_unreadable(None, None, message);
        Vec::new()
    }

    /// Adds one line for each object. Nothing is missing because of it.
    fn report_repeated_keys(&mut self, object: &str, keys: &BTreeSet<tree::Path>) {
        let Some(first) = keys.first() else {
            return;
        };
        let more = and_more(keys.len());
        let message = format!(
            "{first}{more}: the key occurs more than once, and its last value counts: remove the others ({})",
            self.position()
        );
        self.parsed.problems.push(Problem {
            object: object.to_owned(),
            message,
        });
    }

    /// Reports values for which an API server would refuse the object, though the agent does not need them.
    fn report_refused_texts(&mut self, id: &ObjectId, fields: &[String]) {
        let Some(first) = fields.first() else {
            return;
        };
        let more = and_more(fields.len());
        let message = format!(
            "{first}{more}: not a string, so an API server would refuse the object: write the value in quotes ({})",
            self.position()
        );
        self.parsed.problems.push(Problem::of(id, message));
    }

    /// Reports an unreadable object of a kind that the agent reads, and the consequence.
    fn report_unreadable(&mut self, kind: Option<Kind>, name: Option<ObjectName>, message: &str) {
        self.parsed.is_broken = true;
        let object = self.shown(kind, name.as_ref());
        let id = kind.zip(name).map(|(kind, name)| ObjectId::new(kind, name));
        let fate = match (&id, kind) {
            (Some(id), _) if self.parsed.objects.contains_key(id) => {
                "; an earlier definition in the file counts"
            }
            (Some(id), _) if self.known.contains_key(id) => "; it stays as it was last read",
            (_, Some(_)) => "; it is skipped",
            _ => "",
        };
        self.parsed.problems.push(Problem {
            object,
            message: format!("{message}{fate} ({})", self.position()),
        });
        self.parsed.unread.extend(id);
    }

    fn report_syntax_error(&mut self, error: &SyntaxError) {
        self.parsed.is_broken = true;
        let at = match (error.line, error.column) {
            (line, 0) => format!("line {line}"),
            (line, column) => format!("line {line}, column {column}"),
        };
        self.parsed.problems.push(Problem {
            object: display(self.path),
            message: format!("{at}: {}: correct it", error.message),
        });
    }

    /// Adds one line for all of them, because a dump of a cluster has one for each Service.
    fn report_endpoints(&mut self) {
        let Some(first) = self.endpoints.first() else {
            return;
        };
        let more = and_more(self.endpoints.len());
        self.parsed.problems.push(Problem {
            object: display(self.path),
            message: format!(
                "Endpoints{first}{more}: Endpoints are not read: write an EndpointSlice"
            ),
        });
    }

    /// The name of an object in a problem: its own name if it has one, else its file.
    fn shown(&self, kind: Option<Kind>, name: Option<&ObjectName>) -> String {
        let file = display(self.path);
        match (kind, name) {
            (Some(kind), Some(name)) => ObjectId::new(kind, name.clone()).to_string(),
            (Some(kind), None) => format!("{kind} in {file}"),
            (None, _) => file,
        }
    }

    fn position(&self) -> String {
        format!("{}, document at line {}", self.path.display(), self.line)
    }
}

/// Decodes an object. `Err` names the field and what was expected.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let mut message = plain(&error.inner().to_string());
        if message.ends_with("expected a string") {
            message.push_str(": write it in quotes");
        }
        match error.path().to_string().as_str() {
            "." => message,
            path => format!("{path}: {message}"),
        }
    })
}

/// Returns the labels and annotations that are not strings. Null counts as an empty string (Go's `encoding/json`).
fn refused_texts(value: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    for field in ["labels", "annotations"] {
        let texts = value
            .get("metadata")
            .and_then(|metadata| metadata.get(field));
        let texts = texts.and_then(Value::as_object).into_iter().flatten();
        let others = texts.filter(|(_, value)| !value.is_string() && !value.is_null());
        refused.extend(others.map(|(key, _)| format!("metadata.{field}.{key}")));
    }
    refused
}

/// The end of a text that names only the first of `count` items.
fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// The namespace and name in a value.
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
