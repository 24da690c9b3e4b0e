//! Label and field selectors, in the syntax of queries.

use super::kind::Kind;
use super::object::Object;
use super::refusal::Refusal;

/// The objects of a kind that a client selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    /// None: all namespaces.
    pub(super) namespace: Option<String>,
    labels: Vec<LabelRule>,
    fields: Vec<FieldRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelRule {
    label: String,
    test: LabelTest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelTest {
    Exists,
    Absent,
    Equal(String),
    /// Also without the label.
    NotEqual(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldRule {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    ClusterIp,
    NodeName,
}

impl Selector {
    pub(super) fn parse(
        kind: Kind,
        namespace: Option<String>,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            namespace,
            labels: split(labels).map(label_rule).collect::<Result<_, _>>()?,
            fields: split(fields)
                .map(|text| field_rule(kind, text))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether it selects by labels or fields.
    pub(super) fn has_rules(&self) -> bool {
        !self.labels.is_empty() || !self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == object.key.namespace)
            && self.labels.iter().all(|rule| rule.matches(object))
            && self.fields.iter().all(|rule| rule.matches(object))
    }
}

impl LabelRule {
    fn matches(&self, object: &Object) -> bool {
        let value = object.labels.get(&self.label);
        match &self.test {
            LabelTest::Exists => value.is_some(),
            LabelTest::Absent => value.is_none(),
            LabelTest::Equal(wanted) => value == Some(wanted),
            LabelTest::NotEqual(unwanted) => value != Some(unwanted),
        }
    }
}

impl FieldRule {
    fn matches(&self, object: &Object) -> bool {
        let value = match self.field {
            Field::Name => &object.key.name,
            Field::Namespace => &object.key.namespace,
            Field::ClusterIp => &object.cluster_ip,
            Field::NodeName => &object.node_name,
        };
        (*value == self.value) == self.equal
    }
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}

/// Sets of values (`app in (a, b)`) are refused: no client here asks with them.
fn label_rule(text: &str) -> Result<LabelRule, Refusal> {
    let value = |value: &str| value.trim().to_owned();
    let (label, test) = if let Some(label) = text.strip_prefix('!') {
        (label, LabelTest::Absent)
    } else if let Some((label, unwanted)) = text.split_once("!=") {
        (label, LabelTest::NotEqual(value(unwanted)))
    } else if let Some((label, wanted)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (label, LabelTest::Equal(value(wanted)))
    } else {
        (text, LabelTest::Exists)
    };
    let label = label.trim();
    let is_label = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if label.is_empty() || !label.chars().all(is_label) {
        let message = format!("unable to parse requirement: {text:?}");
        return Err(Refusal::bad_request(message));
    }
    Ok(LabelRule {
        label: label.to_owned(),
        test,
    })
}

fn field_rule(kind: Kind, text: &str) -> Result<FieldRule, Refusal> {
    let (field, value, equal) = if let Some((field, value)) = text.split_once("!=") {
        (field, value, false)
    } else if let Some((field, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (field, value, true)
    } else {
        let message = format!("invalid field selector {text:?}: it needs =, == or !=");
        return Err(Refusal::bad_request(message));
    };
    let field = match (field, kind) {
        ("metadata.name", _) => Field::Name,
        ("metadata.namespace", _) if kind.facts().namespaced => Field::Namespace,
        ("spec.clusterIP", Kind::Service) => Field::ClusterIp,
        ("spec.nodeName", Kind::Pod) => Field::NodeName,
        _ => {
            let message = format!("field label not supported: {field}");
            return Err(Refusal::bad_request(message));
        }
    };
    Ok(FieldRule {
        field,
        value: value.to_owned(),
        equal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::api_server::object::Key;

    fn service(labels: Value, cluster_ip: &str) -> Object {
        let fields = Map::from_iter([
            ("metadata".to_owned(), json!({"labels": labels})),
            ("spec".to_owned(), json!({"clusterIP": cluster_ip})),
        ]);
        Object::new(Kind::Service, Key::new("default", "web"), 1, fields)
    }

    fn by_labels(labels: &str) -> Result<Selector, Refusal> {
        Selector::parse(Kind::Service, None, labels, "")
    }

    #[test]
    fn label_selectors_match() {
        let object = service(json!({"app": "web", "example.com/tier": "front"}), "");
        for (labels, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!other", true),
            ("app=web", true),
            ("app==web,example.com/tier=front", true),
            ("app=web,example.com/tier=back", false),
            ("app!=web", false),
            ("other!=web", true),
            ("example.com/tier!=back, app", true),
        ] {
            let selector = by_labels(labels).expect("it can be read");
            assert_eq!(selector.matches(&object), expected, "{labels}");
        }
    }

    #[test]
    fn pods_of_a_node_are_selected() {
        let fields = Map::from_iter([("spec".to_owned(), json!({"nodeName": "a"}))]);
        let pod = Object::new(Kind::Pod, Key::new("default", "web"), 1, fields);
        for (fields, expected) in [("spec.nodeName=a", true), ("spec.nodeName=b", false)] {
            let selector = Selector::parse(Kind::Pod, None, "", fields);
            assert_eq!(selector.expect("it can be read").matches(&pod), expected);
        }
    }

    #[test]
    fn unknown_selectors_are_refused() {
        for labels in ["=", "!", "app in (web)", "app notin (db,web)", "app>1"] {
            assert!(by_labels(labels).is_err(), "{labels}");
        }
        for (kind, fields) in [
            (Kind::Node, "spec.clusterIP!=None"),
            (Kind::Node, "metadata.namespace=x"),
            (Kind::Service, "spec.nodeName=a"),
            (Kind::Service, "metadata.name"),
            (Kind::Service, "spec.type=ClusterIP"),
        ] {
            let selector = Selector::parse(kind, None, "", fields);
            assert!(selector.is_err(), "{fields}");
        }
    }

    #[test]
    fn field_selectors_match_name_and_namespace() {
        let object = service(json!({}), "None");
        for (fields, expected) in [
            ("metadata.name=web", true),
            ("metadata.name==web,metadata.namespace=default", true),
            ("metadata.namespace!=default", false),
            ("spec.clusterIP=None", true),
            ("spec.clusterIP!=None", false),
            ("metadata.name=other", false),
        ] {
            let selector = Selector::parse(Kind::Service, None, "", fields);
            let matches = selector.expect("it can be read").matches(&object);
            assert_eq!(matches, expected, "{fields}");
        }
        let elsewhere = Selector::parse(Kind::Service, Some("other".to_owned()), "", "");
        assert!(!elsewhere.expect("it can be read").matches(&object));
    }
}
