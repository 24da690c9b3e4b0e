//! Installs missing Debian packages, or unpacks them, after a message.

use std::fs;
use std::path::Path;
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

/// Downloads packages and unpacks their files into `folder`/root. Nothing is installed, and no script of a package runs.
pub(crate) fn unpack(packages: &[&str], folder: &Path) -> Result<()> {
    let archives = folder.join("archives");
    fs::create_dir_all(&archives).with_context(|| format!("cannot make {}", archives.display()))?;
    let mut download = Command::new("apt-get");
    // As the current user: apt's own user may not write there.
    download.args(["-o", "APT::Sandbox::User=", "--quiet", "download"]);
    process::run(download.args(packages).current_dir(&archives))?;
    let root = folder.join("root");
    for archive in fs::read_dir(&archives)? {
        let mut unpack = Command::new("dpkg-deb");
        process::run(unpack.arg("--extract").arg(archive?.path()).arg(&root))?;
    }
    fs::remove_dir_all(&archives)?;
    Ok(())
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

fn missing(packages: &[String]) -> Result<Vec<String>> {
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
