//! Finds qemu, or installs Debian's package. If that would remove other packages (as with a qemu-utils of another version), unpacks
//! the package's files next to the other tools instead.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{apt, linker, process};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// A qemu that runs.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    if let Some(found) = process::find_program(PROGRAM) {
        return Ok(found);
    }
    let folder = linker::tools()?.join(PACKAGE);
    let unpacked = folder.join("run");
    if works(&unpacked) {
        return Ok(unpacked);
    }
    if !apt::is_available() {
        bail!("the program `{PROGRAM}` is missing: install qemu");
    }
    apt::update()?;
    let plan = plan()?;
    if !plan.lines().any(|line| line.starts_with("Remv ")) {
        apt::install(&[PACKAGE.to_owned()], "for virtual machines", "a minute")?;
        return process::program(PROGRAM);
    }
    println!(
        "setup: Debian's {PACKAGE} conflicts with installed packages: unpacking it into {} instead of installing it",
        folder.display()
    );
    unpack(&folder, &packages(&plan))?;
    if !works(&unpacked) {
        bail!(
            "{} was unpacked but does not run: install qemu",
            unpacked.display()
        );
    }
    Ok(unpacked)
}

fn works(program: &Path) -> bool {
    let run = Command::new(program).arg("--version").output();
    run.is_ok_and(|output| output.status.success())
}

/// apt's plan for the installation.
fn plan() -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--simulate", "--no-install-recommends", PACKAGE]);
    process::output(apt.env("LC_ALL", "C"))
}

/// The names in its lines `Inst NAME (VERSION …)`.
fn packages(plan: &str) -> Vec<&str> {
    let names = plan.lines().filter_map(|line| line.strip_prefix("Inst "));
    names.filter_map(|rest| rest.split(' ').next()).collect()
}

fn unpack(folder: &Path, packages: &[&str]) -> Result<()> {
    apt::unpack(packages, folder)?;
    let root = folder.join("root");
    let run = folder.join("run");
    fs::write(&run, script(&root))?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A script that starts qemu with its own libraries and firmware.
fn script(root: &Path) -> String {
    let root = root.display();
    format!(
        "#!/bin/sh\n\
         export LD_LIBRARY_PATH='{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu'\n\
         exec '{root}/usr/bin/{PROGRAM}' -L '{root}/usr/share/qemu' -L '{root}/usr/share/seabios' \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::packages;

    #[test]
    fn a_plan_names_the_packages_to_install() {
        let plan = "Reading package lists...\n\
            Remv qemu-utils [1:10.0] [qemu-block-extra:amd64 ]\n\
            Inst libfdt1 (1.6.1-4 Debian:12/oldstable [amd64])\n\
            Inst qemu-system-x86 (1:7.2 Debian:12/oldstable [amd64])\n\
            Conf libfdt1 (1.6.1-4 Debian:12/oldstable [amd64])\n";
        assert_eq!(packages(plan), ["libfdt1", "qemu-system-x86"]);
    }
}
