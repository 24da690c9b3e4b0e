//! Writes the version and the changelog's section of a release.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use semver::Version;

use super::changelog;
use crate::workspace::Workspace;
use crate::{process, versions};

const CHANGELOG: &str = "CHANGELOG.md";

/// Whether the sources are those of this version.
///
/// # Errors
/// If they are of a later one, or if no image can have the version in its name.
pub(super) fn is_prepared(workspace: &Workspace, version: &Version) -> Result<bool> {
    let present = Version::parse(versions::OURS).context("the version in Cargo.toml")?;
    if *version < present {
        bail!("cannot release {version}: the version in Cargo.toml is {present}, which is later");
    }
    if !version.build.is_empty() {
        bail!(
            "cannot release {version}: a version has no +{} here",
            version.build
        );
    }
    let changelog = read_changelog(workspace)?;
    Ok(*version == present && changelog::section(&changelog, version).is_some())
}

/// Returns the names of the changed files. If one cannot be changed, none is.
pub(super) fn prepare(workspace: &Workspace, version: &Version) -> Result<Vec<String>> {
    let mut files = versions::changed(&workspace.root, &version.to_string())?;
    let today = process::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let changelog = changelog::release(&read_changelog(workspace)?, version, today.trim())?;
    files.insert(workspace.root.join(CHANGELOG), changelog);
    for (path, text) in &files {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut names = Vec::new();
    for path in files.keys() {
        names.push(path.strip_prefix(&workspace.root)?.display().to_string());
    }
    if version.to_string() != versions::OURS {
        let mut cargo = process::cargo();
        cargo.args(["update", "--workspace", "--offline", "--quiet"]);
        process::run(cargo.current_dir(&workspace.root))?;
        names.push("Cargo.lock".to_owned());
    }
    Ok(names)
}

/// The changelog's section of the present version, for the release's page; empty if it has none yet.
pub(super) fn notes(workspace: &Workspace) -> Result<String> {
    let present = Version::parse(versions::OURS).context("the version in Cargo.toml")?;
    let changelog = read_changelog(workspace)?;
    Ok(changelog::section(&changelog, &present)
        .map(|section| format!("{section}\n"))
        .unwrap_or_default())
}

fn read_changelog(workspace: &Workspace) -> Result<String> {
    let path = workspace.root.join(CHANGELOG);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_versions_can_be_prepared() {
        let workspace = Workspace::find().expect("this workspace");
        let asked = |version: &str| {
            let version = Version::parse(version).expect("well-formed");
            is_prepared(&workspace, &version).ok()
        };
        assert_eq!(asked("98.7.6"), Some(false));
        assert_eq!(asked("98.7.6-rc.1"), Some(false));
        assert_eq!(asked("98.7.6+build"), None);
        assert_eq!(asked("0.0.1"), None);
    }
}
