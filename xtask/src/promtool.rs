//! Finds promtool, or unpacks it from Debian's package of Prometheus. The package itself would start a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::packages::Packages;
use crate::{apt, linker, process};

const PROGRAM: &str = "promtool";
const PACKAGE: &str = "prometheus";

/// Environment variable of the tests: the path of promtool.
pub(crate) const VARIABLE: &str = "SOCKLB_TEST_PROMTOOL";

/// A promtool that runs.
pub(crate) fn find_or_unpack() -> Result<PathBuf> {
    if let Some(found) = process::find_program(PROGRAM) {
        return Ok(found);
    }
    let folder = linker::tools()?.join(PACKAGE);
    let unpacked = folder.join("root/usr/bin").join(PROGRAM);
    if works(&unpacked) {
        return Ok(unpacked);
    }
    if !apt::is_available() {
        bail!("the program `{PROGRAM}` is missing: install Prometheus");
    }
    println!(
        "setup: unpacking Debian's package {PACKAGE} into {} (95 MB), for its {PROGRAM}; it is not installed",
        folder.display()
    );
    apt::update()?;
    let packages = Packages::of(Arch::host()?)?;
    packages
        .unpack(&[PACKAGE], &folder)
        .with_context(|| format!("by hand: apt-get update && apt-get install {PACKAGE}"))?;
    if !works(&unpacked) {
        bail!(
            "{} was unpacked but does not run: install Prometheus",
            unpacked.display()
        );
    }
    Ok(unpacked)
}

fn works(program: &Path) -> bool {
    let run = Command::new(program).arg("--version").output();
    run.is_ok_and(|output| output.status.success())
}
