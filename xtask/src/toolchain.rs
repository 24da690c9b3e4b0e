//! The compiler for BPF: any rustc with the standard library's source, since `core` is not distributed for BPF.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt};

use anyhow::{Context as _, Result, bail};

use crate::{process, versions};

/// Environment variable: the path of the compiler to use.
pub(crate) const RUSTC: &str = "SOCKLB_BPF_RUSTC";

/// The LLVM versions that bpf-linker supports.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) rustc: PathBuf,
    /// The cargo of the same toolchain.
    pub(crate) cargo: PathBuf,
    /// Major version of the LLVM inside `rustc`.
    pub(crate) llvm: u32,
    release: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rustc,
            llvm,
            release,
            ..
        } = self;
        write!(f, "{} ({release}, LLVM {llvm})", rustc.display())
    }
}

/// A compiler, or the reasons why none of the installed ones is suitable.
pub(crate) type Search = std::result::Result<Toolchain, Vec<String>>;

/// The compiler in the environment variable, otherwise rustup's nightly, the one in use, or the distribution's.
///
/// # Errors
/// If the one in the environment variable is not suitable.
pub(crate) fn find() -> Result<Search> {
    if let Some(named) = env::var_os(RUSTC) {
        let rustc = PathBuf::from(named);
        return match inspect(&rustc) {
            Ok(toolchain) => Ok(Ok(toolchain)),
            Err(error) => bail!("{RUSTC}={}: {error:#}", rustc.display()),
        };
    }
    let mut refused = Vec::new();
    for rustc in candidates() {
        match inspect(&rustc) {
            Ok(toolchain) => return Ok(Ok(toolchain)),
            Err(error) => refused.push(format!("{}: {error:#}", rustc.display())),
        }
    }
    Ok(Err(refused))
}

fn candidates() -> Vec<PathBuf> {
    let mut rustup = Command::new("rustup");
    rustup.args(["which", "--toolchain", "nightly", "rustc"]);
    let nightly = process::output(&mut rustup).ok();
    let in_use = process::cargo_path().with_file_name("rustc");
    let mut found: Vec<PathBuf> = nightly
        .map(|path| path.trim().into())
        .into_iter()
        .chain([in_use, "/usr/bin/rustc".into()])
        .filter(|rustc| rustc.is_file())
        .collect();
    found.dedup();
    found
}

fn inspect(rustc: &Path) -> Result<Toolchain> {
    let sysroot = process::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let sysroot = Path::new(sysroot.trim());
    if !sysroot.join("lib/rustlib/src/rust/library").exists() {
        bail!("has no rust-src (the standard library's source)");
    }
    let version = process::output(Command::new(rustc).arg("-vV"))?;
    let release = field(&version, "release")?;
    let llvm = major(field(&version, "LLVM version")?)?;
    if !is_new_enough(release) {
        bail!("is version {release}, older than {}", versions::RUST);
    }
    if !LLVM.contains(&llvm) {
        bail!(
            "has LLVM {llvm}; bpf-linker supports {} to {}",
            LLVM.start(),
            LLVM.end()
        );
    }
    let own_cargo = sysroot.join("bin/cargo");
    Ok(Toolchain {
        rustc: rustc.to_owned(),
        cargo: if own_cargo.is_file() {
            own_cargo
        } else {
            process::cargo_path()
        },
        llvm,
        release: release.to_owned(),
    })
}

/// A line of `rustc -vV`.
fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("rustc -vV has no line \"{name}\""))
}

fn major(version: &str) -> Result<u32> {
    let first = version.split('.').next().unwrap_or_default();
    first
        .parse()
        .with_context(|| format!("not a version: {version}"))
}

fn is_new_enough(release: &str) -> bool {
    let numbers = |version: &str| -> Option<(u32, u32)> {
        let mut parts = version.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let oldest = numbers(versions::RUST);
    numbers(release).is_some_and(|release| oldest.is_some_and(|oldest| oldest <= release))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_rustc_is_read() {
        let version = "rustc 1.96.0\nbinary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(field(version, "release").expect("there"), "1.96.0");
        let llvm = field(version, "LLVM version").expect("there");
        assert_eq!(major(llvm).expect("a number"), 22);
        assert!(field(version, "host").is_err());
    }

    #[test]
    fn an_old_compiler_is_detected() {
        assert!(!is_new_enough("1.63.0"));
        assert!(is_new_enough("1.95.0"));
        assert!(is_new_enough("1.97.0-nightly"));
    }
}
