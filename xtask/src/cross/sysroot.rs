//! Debian's standard library of another architecture, for Debian's compiler, which also builds the kernel programs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::packages::Packages;
use crate::{linker, process};

/// A folder for `--sysroot`, with the libraries of this machine and of the other architecture.
///
/// # Errors
/// If `rustc` is not Debian's, or the archive has no library of its version: the compiler refuses any other one.
pub(super) fn find_or_unpack(rustc: &Path, arch: Arch) -> Result<PathBuf> {
    let (compiler, version) = package_of(rustc)?;
    let library = library_of(&compiler);
    let name = format!("{library}-{version}-{}", arch.debian());
    let folder = linker::tools()?.join(&name);
    let (root, sysroot) = (folder.join("root"), folder.join("sysroot"));
    if !root.is_dir() {
        println!(
            "setup: unpacking Debian's {library} for {arch} into {} (160 MB); it is not installed",
            folder.display()
        );
        Packages::of(arch)?.unpack(&[format!("{library}={version}")], &folder)?;
    }
    let host = Arch::host()?;
    let libraries = sysroot.join("lib/rustlib");
    fs::create_dir_all(&libraries)
        .with_context(|| format!("cannot make {}", libraries.display()))?;
    for (arch, root) in [(arch, root.as_path()), (host, Path::new("/"))] {
        let link = libraries.join(arch.triple());
        if !link.is_symlink() {
            symlink(root.join("usr/lib/rustlib").join(arch.triple()), &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
        }
    }
    Ok(sysroot)
}

/// The package that a compiler is from, and its version.
fn package_of(rustc: &Path) -> Result<(String, String)> {
    let owner = process::output(Command::new("dpkg-query").arg("--search").arg(rustc))
        .with_context(|| format!("{} is not of a Debian package", rustc.display()))?;
    let package = owner.split([':', ',']).next().unwrap_or_default().trim();
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Version}", package]);
    Ok((package.to_owned(), process::output(&mut query)?))
}

/// `rustc` and `rustc-web` have `libstd-rust-dev` and `libstd-rust-web-dev`.
fn library_of(compiler: &str) -> String {
    let variant = compiler.strip_prefix("rustc").unwrap_or_default();
    format!("libstd-rust{variant}-dev")
}

#[cfg(test)]
mod tests {
    use super::library_of;

    #[test]
    fn each_compiler_has_its_library() {
        assert_eq!(library_of("rustc"), "libstd-rust-dev");
        assert_eq!(library_of("rustc-web"), "libstd-rust-web-dev");
    }
}
