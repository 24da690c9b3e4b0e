//! Files as users write, break and replace them.

mod as_kubectl;
mod encoding;
mod paths;
mod text;
mod tree;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

use super::parse;
use crate::catalog::{Change, Object, Problem};
use crate::source::ClientKinds;

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n"
    )
}

/// `+` set, `-` removed, `?` unread, `=` list of all.
fn changes_of(changes: &[Change]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Set(object) => format!("+{}", object.id()),
        Change::Remove(id) => format!("-{id}"),
        Change::Unread(id) => format!("?{id}"),
        Change::Only(kind, names) => format!("={} {kind}", names.len()),
    };
    changes.iter().map(line).collect()
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// The `clusterIP` of the resulting Service.
fn cluster_ip(changes: &[Change], name: &str) -> String {
    let services = changes.iter().filter_map(|change| match change {
        Change::Set(Object::Service(service)) => Some(service),
        _ => None,
    });
    let mut named = services.filter(|service| &*service.metadata.name == name);
    let service = named.next().expect("the Service");
    service
        .spec
        .cluster_ip
        .as_deref()
        .unwrap_or_default()
        .to_owned()
}

/// Returns the objects, then the problems, of a text with that file name.
fn parsed(name: &str, text: &str) -> (Vec<String>, Vec<String>) {
    let parsed = parse::text(
        Path::new(name),
        text,
        ClientKinds::default(),
        &BTreeMap::new(),
    );
    let objects = parsed.objects.keys().map(ToString::to_string).collect();
    (objects, lines(&parsed.problems))
}
