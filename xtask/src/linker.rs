//! bpf-linker: built once for the compiler's LLVM, in a folder outside the clone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{apt, process};

/// Environment variable: the path of the linker to use.
pub(crate) const LINKER: &str = "SOCKLB_BPF_LINKER";

pub(crate) const VERSION: &str = "0.13.0";

/// The linker for a compiler with this major version of LLVM; it is built if there is none.
pub(crate) fn find_or_build(llvm: u32) -> Result<PathBuf> {
    if let Some(named) = env::var_os(LINKER) {
        let linker = PathBuf::from(named);
        if !works(&linker) {
            bail!("{LINKER}={}: the linker does not run", linker.display());
        }
        return Ok(linker);
    }
    let folder = tools()?.join(format!("bpf-linker-{VERSION}-llvm-{llvm}"));
    let linker = folder.join("bin/bpf-linker");
    if works(&linker) {
        return Ok(linker);
    }
    let prefix = llvm_prefix(llvm)?;
    println!(
        "setup: building bpf-linker {VERSION} for LLVM {llvm} into {} (about 40 s on 2 cores)",
        folder.display()
    );
    install(llvm, &prefix, &folder)?;
    if !works(&linker) {
        bail!("{} was built but does not run", linker.display());
    }
    Ok(linker)
}

/// Debian packages for building the linker.
pub(crate) fn packages(llvm: u32) -> Vec<String> {
    let ours = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    let others = ["zlib1g-dev", "libzstd-dev", "libxml2-dev"].map(str::to_owned);
    ours.into_iter().chain(others).collect()
}

/// A linker whose LLVM was uninstalled exists but does not start.
fn works(linker: &Path) -> bool {
    let run = Command::new(linker).arg("--version").output();
    run.is_ok_and(|output| output.status.success())
}

/// LLVM's folder; LLVM is installed if it is missing.
fn llvm_prefix(llvm: u32) -> Result<PathBuf> {
    if let Some(prefix) = env::var_os("LLVM_PREFIX") {
        return Ok(prefix.into());
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if !apt::is_available() && !prefix.join("bin/llvm-config").is_file() {
        bail!(
            "bpf-linker needs LLVM {llvm}'s development files: install them and set LLVM_PREFIX to their folder, \
             or set {LINKER} to a bpf-linker {VERSION} that was built for LLVM {llvm}"
        );
    }
    apt::install(&packages(llvm), "to build bpf-linker", "30 s")?;
    Ok(prefix)
}

fn install(llvm: u32, prefix: &Path, folder: &Path) -> Result<()> {
    // With the folder on PATH, cargo does not ask for it to be put there.
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::split_paths(&path).chain([folder.join("bin")]);
    let mut cargo = process::cargo();
    cargo
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .arg("--force")
        .arg("--root")
        .arg(folder)
        .env("LLVM_PREFIX", prefix)
        .env("PATH", env::join_paths(path)?)
        // The linker spends its time in LLVM, which is already compiled.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    process::run(&mut cargo)
}

/// `$XDG_CACHE_HOME/socklb/tools`.
pub(crate) fn tools() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .filter(|path| path.is_absolute())
        .or_else(|| Some(env::home_dir()?.join(".cache")))
        .context("no home folder to keep tools in: set XDG_CACHE_HOME")?;
    Ok(cache.join("socklb/tools"))
}
