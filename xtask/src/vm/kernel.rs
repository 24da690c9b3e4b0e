//! Debian's linux-image packages, downloaded and unpacked below the target folder, never installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::{fmt, fs};

use anyhow::{Context as _, Result, anyhow};

use crate::arch::Arch;
use crate::packages::Packages;
use crate::process;

/// A kernel version with two numbers, such as 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split_once('.').and_then(|(major, minor)| {
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        });
        numbers.ok_or_else(|| anyhow!("expected two numbers with a dot between them, such as 6.1"))
    }
}

/// An unpacked package.
#[derive(Debug)]
pub(crate) struct KernelPackage {
    /// The output of `uname -r` on this kernel.
    pub(crate) release: String,
    root: PathBuf,
}

impl KernelPackage {
    /// The bootable file.
    pub(crate) fn boot(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// The folder of modules, with their index.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The newest package of this version that apt lists; downloaded unless it was before.
pub(crate) fn find_or_download(
    folder: &Path,
    arch: Arch,
    version: Version,
) -> Result<KernelPackage> {
    let packages = Packages::of(arch)?;
    let package = match newest(&packages, arch, version)? {
        Some(package) => package,
        None => {
            packages.update()?;
            newest(&packages, arch, version)?.with_context(|| missing(version))?
        }
    };
    let image = KernelPackage {
        release: package.trim_start_matches("linux-image-").to_owned(),
        root: folder.join(&package),
    };
    if !image.root.is_dir() {
        download(&packages, folder, &package, &image)?;
    }
    Ok(image)
}

fn missing(version: Version) -> String {
    format!(
        "apt lists no package of kernel {version}: \
         add a release that has it to apt's sources (6.1 is Debian 12's, 6.12 is Debian 13's and in Debian 12's backports) and run apt-get update"
    )
}

fn download(
    packages: &Packages,
    folder: &Path,
    package: &str,
    image: &KernelPackage,
) -> Result<()> {
    println!("vm: downloading {package} (not installed, only unpacked below the target folder)");
    let scratch = folder.join(format!("{package}.{}", std::process::id()));
    packages.unpack(&[package], &scratch)?;
    let root = scratch.join("root");
    let mut depmod = Command::new(process::program("depmod")?);
    process::run(depmod.arg("--basedir").arg(&root).arg(&image.release))?;
    // The folder gets its name last, so that a folder with this name is complete.
    fs::rename(&root, &image.root).with_context(|| {
        format!(
            "cannot move the unpacked package to {}",
            image.root.display()
        )
    })?;
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))
}

/// The newest package of Debian's smaller kernel for virtual machines.
fn newest(packages: &Packages, arch: Arch, version: Version) -> Result<Option<String>> {
    let Version { major, minor } = version;
    let arch = arch.debian();
    let pattern = format!(r"^linux-image-{major}\.{minor}\.[^-]+(-[0-9]+)?-cloud-{arch}$");
    let names = packages.search(&pattern)?;
    Ok(names.into_iter().max_by_key(|name| numbers(name)))
}

/// All numbers in a package's name, for comparing.
fn numbers(name: &str) -> Vec<u32> {
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_two_numbers() {
        let version: Version = "6.12".parse().expect("a version");
        assert_eq!(
            version,
            Version {
                major: 6,
                minor: 12
            }
        );
        for wrong in ["6", "6.x", "6.1.3", ""] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_higher_number_is_newer() {
        let older = "linux-image-6.1.0-9-cloud-amd64";
        let newer = "linux-image-6.1.0-56-cloud-amd64";
        assert!(numbers(older) < numbers(newer));
    }
}
