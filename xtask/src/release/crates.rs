//! The crates that a binary is built from, and what is known of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// A crate in one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
}

/// From each crate to those that it depends on.
pub(super) type Graph = BTreeMap<Crate, BTreeSet<Crate>>;

/// The crates of a package of this workspace, with the features that it selects. `edges` as in `cargo tree --edges`.
pub(super) fn graph(
    workspace: &Workspace,
    package: &str,
    target: &str,
    edges: &str,
) -> Result<Graph> {
    let mut cargo = process::cargo();
    cargo.args(["tree", "--locked", "--package", package, "--target", target]);
    cargo.args(["--edges", edges, "--prefix", "depth", "--format", "{p}"]);
    let text = process::output(cargo.current_dir(&workspace.root))?;
    parse(&text)
}

/// Lines like `2axum-core v0.5.6 (*)`: the depth, a crate, and whether its dependencies were listed before.
fn parse(text: &str) -> Result<Graph> {
    let mut graph = Graph::new();
    let mut path: Vec<Crate> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (depth, found) = parse_line(line)
            .with_context(|| format!("cargo tree: not a depth and a crate: {line}"))?;
        path.truncate(depth);
        if let Some(parent) = path.last() {
            graph
                .entry(parent.clone())
                .or_default()
                .insert(found.clone());
        }
        graph.entry(found.clone()).or_default();
        path.push(found);
    }
    Ok(graph)
}

fn parse_line(line: &str) -> Option<(usize, Crate)> {
    let digits = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at(digits);
    let mut words = rest.split(' ');
    let found = Crate {
        name: words.next()?.to_owned(),
        version: words.next()?.strip_prefix('v')?.to_owned(),
    };
    Some((depth.parse().ok()?, found))
}

/// What `cargo metadata` and Cargo.lock know of a crate.
#[derive(Clone, Debug, Default)]
pub(super) struct Details {
    pub(super) description: Option<String>,
    /// An SPDX expression.
    pub(super) license: Option<String>,
    pub(super) repository: Option<String>,
    /// SHA-256 of the archive on crates.io; none for a crate of this workspace.
    pub(super) checksum: Option<String>,
}

/// Of all crates in Cargo.lock.
pub(super) fn details(workspace: &Workspace) -> Result<BTreeMap<Crate, Details>> {
    let mut cargo = process::cargo();
    cargo.args(["metadata", "--locked", "--format-version=1"]);
    let text = process::output(cargo.current_dir(&workspace.root))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let lock = workspace.root.join("Cargo.lock");
    let lock =
        fs::read_to_string(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let mut checksums = checksums(&lock);
    let packages = metadata["packages"].as_array();
    let packages = packages.context("cargo metadata: no packages")?;
    let known = packages.iter().map(|package| {
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let named = Crate {
            name: text("name").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
        };
        let details = Details {
            description: text("description").map(|text| text.trim().to_owned()),
            // Old crates separate alternatives by a slash.
            license: text("license").map(|text| text.replace('/', " OR ")),
            repository: text("repository"),
            checksum: checksums.remove(&named),
        };
        (named, details)
    });
    Ok(known.collect())
}

fn checksums(lock: &str) -> BTreeMap<Crate, String> {
    let packages = lock.split("[[package]]\n").skip(1);
    let with_checksum = packages.filter_map(|package| {
        let field = |name: &str| {
            let mut lines = package.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
            Some(value.trim_matches('"').to_owned())
        };
        let named = Crate {
            name: field("name")?,
            version: field("version")?,
        };
        Some((named, field("checksum")?))
    });
    with_checksum.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Crate {
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
        }
    }

    #[test]
    fn a_tree_becomes_a_graph() {
        let text = "0a v1.0.0 (/somewhere/a)\n1b v1.0.0\n2c v1.0.0 (proc-macro)\n3d v1.0.0\n1d v1.0.0 (*)\n";
        let graph = parse(text).expect("well-formed");
        let edges = |name: &str| graph[&named(name)].iter().cloned().collect::<Vec<_>>();
        assert_eq!(edges("a"), [named("b"), named("d")]);
        assert_eq!(edges("b"), [named("c")]);
        assert_eq!(edges("c"), [named("d")]);
        assert_eq!(edges("d"), []);
        parse("a v1.0.0").expect_err("no depth");
    }

    #[test]
    fn checksums_are_read() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
            [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"registry\"\nchecksum = \"abc\"\n";
        let found = checksums(lock);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [(named("b"), "abc".to_owned())]
        );
    }
}
