//! The compiler for an architecture: this machine's own, or a cross compiler, which is installed if it is missing.

mod sysroot;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::workspace::Workspace;
use crate::{apt, process, setup};

/// A compiler with a standard library for an architecture, and a linker.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) arch: Arch,
    /// Another one than cargo's own, and the folder with its standard libraries.
    rustc: Option<(PathBuf, PathBuf)>,
    is_cross: bool,
}

impl Compiler {
    pub(crate) fn find_or_install(workspace: &Workspace, arch: Arch) -> Result<Self> {
        let is_cross = arch != Arch::host()?;
        let mut compiler = Self {
            arch,
            rustc: None,
            is_cross,
        };
        if is_cross {
            linker(arch)?;
            compiler.rustc = standard_library(workspace, arch)?;
        }
        Ok(compiler)
    }

    /// Arguments of rustc that it needs, to be added to the caller's.
    pub(crate) fn rustflags(&self) -> Vec<String> {
        let sysroot = self.rustc.iter().map(|(_, sysroot)| sysroot);
        sysroot
            .map(|sysroot| format!("--sysroot={}", sysroot.display()))
            .collect()
    }

    /// Sets the environment for a build with `--target`.
    pub(crate) fn configure(&self, cargo: &mut Command) {
        if !self.is_cross {
            return;
        }
        let triple = self.arch.triple().replace('-', "_");
        let tool = |name: &str| self.tool(name);
        cargo.env(
            format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase()),
            tool("gcc"),
        );
        // For build scripts with C and assembler.
        cargo.env(format!("CC_{triple}"), tool("gcc"));
        cargo.env(format!("AR_{triple}"), tool("ar"));
        if let Some((rustc, _)) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
    }

    /// A program of binutils or gcc for this architecture's files.
    pub(crate) fn tool(&self, name: &str) -> OsString {
        if self.is_cross {
            format!("{}-{name}", self.arch.multiarch()).into()
        } else {
            name.into()
        }
    }

    /// For builds of what also the machine's own tests use: with `--target` only for another architecture, so that nothing is built twice.
    pub(crate) fn configure_tests(&self, cargo: &mut Command) {
        if !self.is_cross {
            return;
        }
        cargo.args(["--target", self.arch.triple()]);
        self.configure(cargo);
        let flags = self.rustflags();
        if !flags.is_empty() {
            cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        }
    }

    /// The folder in which [`Self::configure_tests`] has cargo build: `debug` is in it.
    pub(crate) fn folder(&self, workspace: &Workspace) -> PathBuf {
        if self.is_cross {
            workspace.target.join(self.arch.triple())
        } else {
            workspace.target.clone()
        }
    }
}

/// Debian's gcc and C library for the architecture.
fn linker(arch: Arch) -> Result<()> {
    let gcc = format!("{}-gcc", arch.multiarch());
    if process::find_program(&gcc).is_some() {
        return Ok(());
    }
    let packages = [
        format!("gcc-{}", arch.multiarch().replace('_', "-")),
        format!("libc6-dev-{}-cross", arch.debian()),
    ];
    apt::install(&packages, &format!("to build for {arch}"), "a minute")
        .with_context(|| format!("the cross compiler {gcc} is missing"))
}

/// Another compiler and its sysroot, if the one in use has no standard library for the architecture and rustup cannot add it.
fn standard_library(workspace: &Workspace, arch: Arch) -> Result<Option<(PathBuf, PathBuf)>> {
    if has_library(&workspace.root, arch)? {
        return Ok(None);
    }
    let triple = arch.triple();
    if process::find_program("rustup").is_some() {
        println!("setup: adding the standard library for {arch} (rustup target add {triple})");
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", triple]);
        let added = process::run(rustup.current_dir(&workspace.root));
        if added.is_ok() && has_library(&workspace.root, arch)? {
            return Ok(None);
        }
        println!("setup: rustup cannot add it; looking for Debian's");
    }
    let rustc = setup::bpf()?.0.rustc;
    let sysroot = sysroot::find_or_unpack(&rustc, arch)
        .with_context(|| format!("no standard library for {arch}: rustup target add {triple}"))?;
    Ok(Some((rustc, sysroot)))
}

/// Whether the compiler that cargo uses in this folder has it.
fn has_library(folder: &Path, arch: Arch) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", arch.triple()]);
    let libraries = process::output(rustc.current_dir(folder))?;
    Ok(Path::new(libraries.trim()).is_dir())
}
