//! The version of socklb, and the oldest Rust that builds it. Cargo.toml has both; some other files repeat them, for people and for programs
//! that do not read it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// `version` in Cargo.toml.
pub(crate) const OURS: &str = env!("CARGO_PKG_VERSION");

/// `rust-version` in Cargo.toml.
pub(crate) const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Files, and what they contain; `{ours}` and `{rust}` stand for the versions.
const PLACES: [(&str, &str); 11] = [
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
    ("docs/install.md", "lb-agent-{ours}.oci.tar"),
    ("docs/install.md", "socklb-deploy-{ours}"),
    ("docs/install.md", "\n    newTag: {ours}\n"),
    ("README.md", "stable Rust {rust} or later"),
    ("CONTRIBUTING.md", "stable Rust {rust} or later"),
    (".github/workflows/ci.yml", "image: rust:{rust}-bookworm\n"),
    (
        ".github/workflows/release.yml",
        "image: rust:{rust}-bookworm\n",
    ),
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

/// The files as they are after a change of our version.
///
/// # Errors
/// If one of them does not name the present version.
pub(crate) fn changed(root: &Path, version: &str) -> Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    for (name, pattern) in PLACES {
        let (now, then) = (with(pattern, OURS), with(pattern, version));
        if now == then {
            continue;
        }
        let path = root.join(name);
        let text = match files.remove(&path) {
            Some(text) => text,
            None => read(&path)?,
        };
        if !text.contains(&now) {
            bail!("{name} does not say {:?}: correct it first", now.trim());
        }
        files.insert(path, text.replace(&now, &then));
    }
    Ok(files)
}

fn with(pattern: &str, ours: &str) -> String {
    pattern.replace("{ours}", ours).replace("{rust}", RUST)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_is_written_wherever_the_present_one_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("the workspace");
        assert_eq!(complaints(root).expect("readable"), Vec::<String>::new());
        let files = changed(root, "98.7.6").expect("all name the present version");
        let ours = PLACES.iter().filter(|(_, text)| text.contains("{ours}"));
        let mut names: Vec<&str> = ours.map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let changed: Vec<_> = files.keys().map(|path| path.strip_prefix(root)).collect();
        assert_eq!(
            changed,
            names
                .iter()
                .map(|name| Ok(Path::new(name)))
                .collect::<Vec<_>>()
        );
        let install = &files[&root.join("docs/install.md")];
        assert!(install.contains("lb-agent:98.7.6"));
        assert!(!install.contains(&format!("lb-agent:{OURS}")));
    }
}
