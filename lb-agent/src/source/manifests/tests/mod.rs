//! Files as people write them, break them, and replace them.

mod paths;
mod text;
mod watch;

use crate::catalog::{Change, Problem};

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n"
    )
}

/// `+` set, `-` removed, `?` unread, `=` all there are.
fn told(changes: &[Change]) -> Vec<String> {
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
