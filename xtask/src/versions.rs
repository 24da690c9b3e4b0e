//! The version of socklb, and the oldest Rust that builds it. Cargo.toml has both; some other files repeat them, for people and for programs
//! that do not read it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// `version` in Cargo.toml.
pub(crate) const OURS: &str = env!("CARGO_PKG_VERSION");

/// `rust-version` in Cargo.toml.
pub(crate) const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Files, and what they contain; `{ours}` and `{rust}` stand for the versions.
const PLACES: [(&str, &str); 7] = [
    ("Cargo.toml", "[workspace.package]\nversion = \"{ours}\"\n"),
    (
        "deploy/helm/socklb/Chart.yaml",
        "\nversion: {ours}\nappVersion: {ours}\n",
    ),
    (
        "deploy/kustomize/base/kustomization.yaml",
        "\n    newTag: {ours}\n",
    ),
    ("docs/install.md", "lb-agent:{ours}"),
    ("README.md", "stable Rust {rust} or later"),
    ("CONTRIBUTING.md", "stable Rust {rust} or later"),
    (".github/workflows/ci.yml", "image: rust:{rust}-bookworm\n"),
];

/// The places that name another version, or none.
pub(crate) fn complaints(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (name, pattern) in PLACES {
        let text = read(&root.join(name))?;
        let wanted = with(pattern, OURS);
        if !text.contains(&wanted) {
            let wanted = wanted.trim().replace('\n', " / ");
            found.push(format!(
                "{name}: does not say `{wanted}`, as Cargo.toml does"
            ));
        }
    }
    Ok(found)
}

fn with(pattern: &str, ours: &str) -> String {
    pattern.replace("{ours}", ours).replace("{rust}", RUST)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
