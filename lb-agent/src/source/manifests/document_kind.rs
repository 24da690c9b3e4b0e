//! The kind of a document: a kind that the agent reads, a misspelt one, or one that the agent ignores.

use serde_json::Value;

use crate::catalog::Kind;
use crate::source::client_kinds::ClientKinds;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DocumentKind {
    One(Kind),
    /// The items of this list need not repeat their kind.
    ListOf(Kind),
    List,
    /// The predecessor of EndpointSlices.
    Endpoints,
    /// Any other kind. Such objects are normal in the folder of an application.
    Other,
    Nothing,
    /// Certainly meant for the agent, but misspelt.
    Wrong {
        kind: Option<Kind>,
        message: String,
    },
}

const SLICES: &str = "discovery.k8s.io/v1";

const CIDRS: &str = "networking.k8s.io/v1";

/// The kinds that the agent reads: `kind`, `apiVersion`.
const READ: [(&str, &str, DocumentKind); 13] = [
    ("Service", "v1", DocumentKind::One(Kind::Service)),
    (
        "EndpointSlice",
        SLICES,
        DocumentKind::One(Kind::EndpointSlice),
    ),
    ("Node", "v1", DocumentKind::One(Kind::Node)),
    ("ServiceCIDR", CIDRS, DocumentKind::One(Kind::ServiceCidr)),
    ("List", "v1", DocumentKind::List),
    ("ServiceList", "v1", DocumentKind::ListOf(Kind::Service)),
    (
        "EndpointSliceList",
        SLICES,
        DocumentKind::ListOf(Kind::EndpointSlice),
    ),
    ("NodeList", "v1", DocumentKind::ListOf(Kind::Node)),
    (
        "ServiceCIDRList",
        CIDRS,
        DocumentKind::ListOf(Kind::ServiceCidr),
    ),
    ("Pod", "v1", DocumentKind::One(Kind::Pod)),
    ("Namespace", "v1", DocumentKind::One(Kind::Namespace)),
    ("PodList", "v1", DocumentKind::ListOf(Kind::Pod)),
    ("NamespaceList", "v1", DocumentKind::ListOf(Kind::Namespace)),
];

impl DocumentKind {
    /// `clients`: the kinds of clients that are read.
    pub(super) fn is(value: &Value, clients: ClientKinds) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Object(_) => Self::of(word(value, "apiVersion"), word(value, "kind"), clients),
            Value::Array(_) => Self::wrong(
                "this is a sequence: separate its objects with lines of ---, or make them the items of a kind: List",
            ),
            _ => {
                Self::wrong("this is not a Kubernetes object: write apiVersion, kind and metadata")
            }
        }
    }

    fn of(version: &str, kind: &str, clients: ClientKinds) -> Self {
        if kind.is_empty() && !version.is_empty() {
            return Self::wrong("kind is missing: write it");
        }
        if (version, kind) == ("v1", "Endpoints") {
            return Self::Endpoints;
        }
        let alike = READ
            .iter()
            .find(|(name, ..)| name.eq_ignore_ascii_case(kind));
        let Some((name, wanted, what)) = alike else {
            return Self::Other;
        };
        if let Self::One(kind) | Self::ListOf(kind) = what
            && !clients.includes(*kind)
        {
            return Self::Other;
        }
        if (kind, version) == (name, wanted) {
            return what.clone();
        }
        if is_foreign(version) {
            return Self::Other;
        }
        let mut mistakes = Vec::new();
        if version.is_empty() {
            mistakes.push(format!("apiVersion is missing: write {wanted}"));
        } else if version != *wanted {
            mistakes.push(format!(
                "apiVersion {version:?} is not supported: write {wanted}"
            ));
        }
        if kind != *name {
            mistakes.push(format!("kind {kind:?} is unknown: write {name}"));
        }
        Self::Wrong {
            kind: match what {
                Self::One(kind) => Some(*kind),
                _ => None,
            },
            message: mistakes.join("; "),
        }
    }

    fn wrong(message: &str) -> Self {
        Self::Wrong {
            kind: None,
            message: message.to_owned(),
        }
    }
}

/// Whether the group is a third party's, which may have a Service of its own (Knative has).
fn is_foreign(version: &str) -> bool {
    let group = version.split_once('/').map(|(group, _)| group);
    group.is_some_and(|group| group.contains('.') && group != "discovery.k8s.io")
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
