//! Installs missing Debian packages, after a message.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Whether this machine has apt-get.
pub(crate) fn is_available() -> bool {
    process::find_program("apt-get").is_some()
}

/// Installs those of the packages that are missing.
///
/// `why` completes "installing …"; `time` says how long it takes.
///
/// # Errors
/// Without apt-get or root; the error contains the command to run.
pub(crate) fn install(packages: &[String], why: &str, time: &str) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("apt-get update && apt-get install {list}");
    if !process::can_be_root()? {
        bail!("Debian packages are missing {why}; run as root: {by_hand}");
    }
    println!("setup: installing Debian packages {why} (about {time}): {list}");
    update()?;
    // --no-remove: rustc-web conflicts with Debian's rustup, which belongs to the user.
    let mut command = apt_get()?;
    command.args(["install", "--yes", "--no-install-recommends", "--no-remove"]);
    process::run(command.args(&missing)).with_context(|| format!("by hand: {by_hand}"))
}

/// Updates apt's lists of packages.
pub(crate) fn update() -> Result<()> {
    process::run(apt_get()?.arg("update"))
}

fn apt_get() -> Result<Command> {
    let mut command = process::as_root("env")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command.args(["-o", "DPkg::Lock::Timeout=300"]);
    Ok(command)
}

/// Those of the packages that are not installed.
pub(crate) fn missing(packages: &[String]) -> Result<Vec<String>> {
    if !is_available() {
        bail!("there is no apt-get on this machine");
    }
    // It fails for an unknown package, and still lists the others.
    let known = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output()
        .context("cannot start dpkg-query")?;
    let known = String::from_utf8_lossy(&known.stdout);
    let is_missing = |package: &&String| {
        let line = format!("{package} installed");
        !known.lines().any(|known| known == line)
    };
    Ok(packages.iter().filter(is_missing).cloned().collect())
}
