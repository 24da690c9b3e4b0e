//! The guest's programs: this machine's own, or those of Debian's packages for another architecture.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::libraries;
use crate::arch::Arch;
use crate::packages::Packages;
use crate::process;

/// Programs that the tests and the guest's init run, with Debian's packages of them.
const PROGRAMS: [(&str, &str); 15] = [
    ("sh", "dash"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("mkdir", "coreutils"),
    ("ln", "coreutils"),
    ("sleep", "coreutils"),
    ("cat", "coreutils"),
    ("modprobe", "kmod"),
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("getent", "libc-bin"),
    ("dnsmasq", "dnsmasq-base"),
    ("adnshost", "adns-tools"),
    ("nft", "nftables"),
];

/// A library of the test binaries that no package of a program needs.
const LIBRARY: &str = "libgcc-s1";

/// Where the packages have programs.
const FOLDERS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];

/// Programs and libraries of the guest's architecture.
#[derive(Debug)]
pub(crate) enum Programs {
    /// Those of this machine.
    Host,
    /// Unpacked packages.
    Unpacked { root: PathBuf, arch: Arch },
}

impl Programs {
    pub(super) fn find_or_unpack(folder: &Path, arch: Arch) -> Result<Self> {
        if arch == Arch::host()? {
            return Ok(Self::Host);
        }
        let folder = folder.join(format!("programs-{}", arch.debian()));
        let root = folder.join("root");
        if !root.is_dir() {
            println!(
                "vm: downloading the guest's programs (not installed, only unpacked below the target folder)"
            );
            let mut names: Vec<&str> = PROGRAMS.iter().map(|(_, package)| *package).collect();
            names.push(LIBRARY);
            names.dedup();
            let packages = Packages::of(arch)?;
            packages.unpack(&packages.with_dependencies(&names)?, &folder)?;
        }
        Ok(Self::Unpacked { root, arch })
    }

    /// The guest's programs: names and files of this machine.
    pub(super) fn files(&self) -> Result<Vec<(&'static str, PathBuf)>> {
        let files = PROGRAMS.iter().map(|(name, package)| {
            let file = match self {
                Self::Host => process::program(name)?,
                Self::Unpacked { root, .. } => find(root, name)
                    .with_context(|| format!("Debian's package {package} has no {name}"))?,
            };
            Ok((*name, file))
        });
        files.collect()
    }

    /// The shared libraries of a program, and its dynamic linker: paths in the guest and files of this machine.
    pub(super) fn libraries(&self, program: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
        match self {
            Self::Host => libraries::of_host(program),
            Self::Unpacked { root, arch } => libraries::of_other(program, root, *arch),
        }
    }
}

fn find(root: &Path, name: &str) -> Option<PathBuf> {
    let mut files = FOLDERS
        .iter()
        .map(|folder| libraries::follow(root, &Path::new("/").join(folder).join(name)));
    files.find(|file| file.is_file())
}
