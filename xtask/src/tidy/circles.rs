//! Files of a room must not import from each other in a circle, not even through other files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::imports::{imports, module_of};

/// The sources of a crate, and those of its rooms that are checked.
const CHECKED: &[(&str, &[&str])] = &[(
    "lb-agent/src",
    &[
        "agent",
        "catalog",
        "cli",
        "commands",
        "kernel",
        "policy",
        "privileges",
        "serve",
        "sockets",
        "source",
        "tables",
    ],
)];

/// The modules of a crate or room that are files, and which of these each imports from. A module counts as importing from the
/// modules that it declares, so these must not import from it.
type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Returns one complaint for each circle.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (sources, rooms) in CHECKED {
        for room in *rooms {
            let folder = root.join(sources);
            let mut texts = Vec::new();
            for file in files {
                if let Ok(inside) = file.strip_prefix(&folder)
                    && inside.starts_with(room)
                    && inside
                        .extension()
                        .is_some_and(|extension| extension == "rs")
                {
                    let text = fs::read_to_string(file)
                        .with_context(|| format!("cannot read {}", file.display()))?;
                    texts.push((module_of(inside), text));
                }
            }
            let circles = circles(&graph(&texts)).into_iter();
            complaints.extend(circles.map(|circle| format!("{sources}: a circle: {circle}")));
        }
    }
    Ok(complaints)
}

/// Leaves out tests and their tools, which may import anything that they test.
fn graph(files: &[(Vec<String>, String)]) -> Graph {
    let is_test = |module: &[String]| {
        let is_test_module = |name: &String| name == "tests" || name == "testing";
        module.iter().any(is_test_module)
    };
    let files = files.iter().filter(|(module, _)| !is_test(module));
    let mut graph: Graph = files
        .clone()
        .map(|(module, _)| (module.clone(), BTreeSet::new()))
        .collect();
    let modules: BTreeSet<Vec<String>> = graph.keys().cloned().collect();
    for (module, text) in files {
        let mut others: BTreeSet<Vec<String>> = imports(text, module)
            .into_iter()
            .filter(|import| !import.is_in_test)
            .filter_map(|import| file_of(&import.path, &modules))
            .collect();
        others.extend(
            modules
                .iter()
                .filter(|other| {
                    other
                        .split_last()
                        .is_some_and(|(_, parent)| parent == module)
                })
                .cloned(),
        );
        others.remove(module);
        graph.insert(module.clone(), others);
    }
    graph
}

/// Returns the file that contains a module or an item.
fn file_of(path: &[String], modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    (1..=path.len())
        .rev()
        .map(|length| path[..length].to_vec())
        .find(|module| modules.contains(module))
}

/// Returns a shortest circle for each module that is in a circle, except modules of circles already found.
fn circles(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    for start in graph.keys() {
        if known.contains(start) {
            continue;
        }
        if let Some(circle) = circle_from(start, graph) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            found.push(names.join(" → "));
            known.extend(circle);
        }
    }
    found
}

/// Returns a shortest path from a module back to it.
fn circle_from(start: &Vec<String>, graph: &Graph) -> Option<Vec<Vec<String>>> {
    let mut reached_from: BTreeMap<&Vec<String>, &Vec<String>> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for other in graph.get(module).into_iter().flatten() {
            if reached_from.contains_key(other) {
                continue;
            }
            reached_from.insert(other, module);
            queue.push_back(other);
        }
    }
    let mut circle = vec![start.clone()];
    let mut at = *reached_from.get(start)?;
    while at != start {
        circle.push(at.clone());
        at = reached_from.get(at)?;
    }
    circle.push(start.clone());
    circle.reverse();
    Some(circle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(file, text)| (module_of(Path::new(file)), (*text).to_owned()))
            .collect();
        circles(&graph(&files))
    }

    #[test]
    fn imports_downwards_and_beside_form_no_circle() {
        let files = [
            ("r/mod.rs", "pub use self::a::A;"),
            ("r/a.rs", "use super::b::B;\nuse crate::r::c::C;"),
            ("r/b.rs", "use super::c::C;\nuse crate::other::D;"),
            (
                "r/c.rs",
                "#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}\n",
            ),
            ("r/tests/t.rs", "use crate::r::A;"),
        ];
        assert!(found(&files).is_empty());
    }

    #[test]
    fn indirect_circles_are_found() {
        let files = [
            ("r/a.rs", "use super::b::B;"),
            ("r/b.rs", "use super::c;"),
            ("r/c.rs", "fn c() { super::a::f(); }"),
        ];
        assert_eq!(found(&files), ["r::a → r::b → r::c → r::a"]);
    }

    #[test]
    fn a_child_that_imports_from_its_parent_forms_a_circle() {
        let files = [("r/mod.rs", "mod a;"), ("r/a.rs", "use super::A;")];
        assert_eq!(found(&files), ["r → r::a → r"]);
    }
}
