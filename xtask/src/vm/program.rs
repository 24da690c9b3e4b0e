//! Finds qemu, or installs Debian's package. If that is impossible beside installed packages (as with a qemu-utils of another version), or would
//! remove some, unpacks the package's files next to the other tools instead.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::arch::Arch;
use crate::packages::Packages;
use crate::{apt, linker, process};

/// A qemu that runs and emulates this architecture.
pub(crate) fn find_or_install(arch: Arch) -> Result<PathBuf> {
    let program = format!("qemu-system-{arch}");
    if let Some(found) = process::find_program(&program) {
        return Ok(found);
    }
    let package = match arch {
        Arch::X86_64 => "qemu-system-x86",
        Arch::Aarch64 => "qemu-system-arm",
    };
    let folder = linker::tools()?.join(package);
    let unpacked = folder.join("run");
    if works(&unpacked) {
        return Ok(unpacked);
    }
    if !apt::is_available() {
        bail!("the program `{program}` is missing: install qemu");
    }
    apt::update()?;
    if can_install(package)? {
        apt::install(&[package.to_owned()], "for virtual machines", "a minute")?;
        return process::program(&program);
    }
    println!(
        "setup: Debian's {package} conflicts with installed packages: unpacking it into {} instead of installing it",
        folder.display()
    );
    unpack(&folder, package, &program)?;
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

/// Whether apt has a plan for it that removes nothing.
fn can_install(package: &str) -> Result<bool> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--simulate", "--no-install-recommends", package]);
    let plan = process::output(apt.env("LC_ALL", "C"));
    Ok(plan.is_ok_and(|plan| !plan.lines().any(|line| line.starts_with("Remv "))))
}

/// With what it depends on, except for what is installed.
fn unpack(folder: &Path, package: &str, program: &str) -> Result<()> {
    let host = Arch::host()?;
    let packages = Packages::of(host)?;
    let needed = apt::missing(&packages.with_dependencies(&[package])?)?;
    packages.unpack(&needed, folder)?;
    let run = folder.join("run");
    fs::write(&run, script(&folder.join("root"), host, program))?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A script that starts qemu with its own libraries and firmware.
fn script(root: &Path, host: Arch, program: &str) -> String {
    let root = root.display();
    let libraries = host.multiarch();
    format!(
        "#!/bin/sh\n\
         export LD_LIBRARY_PATH='{root}/usr/lib/{libraries}:{root}/lib/{libraries}'\n\
         exec '{root}/usr/bin/{program}' -L '{root}/usr/share/qemu' -L '{root}/usr/share/seabios' \"$@\"\n"
    )
}
