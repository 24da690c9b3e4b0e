//! lb-agent as one static file, which needs no file of the system that it runs on: for the image, and for releases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use object::LittleEndian;
use object::elf::PT_INTERP;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};

use crate::arch::Arch;
use crate::cross::Compiler;
use crate::workspace::Workspace;
use crate::{build, process, remap, setup};

/// How the agent is built.
#[derive(Clone, Copy, Debug)]
enum Profile {
    Release,
    /// For tests: built within a minute.
    Dev,
}

/// A binary whose debug information is in a file of its own.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) binary: PathBuf,
    /// For debuggers, which find it by its name in the binary's folder, or by the build id. The binary keeps the names of functions.
    pub(crate) symbols: PathBuf,
}

/// Builds for this machine, with the profile of the tests.
pub(crate) fn dev(workspace: &Workspace) -> Result<PathBuf> {
    let compiler = Compiler::find_or_install(workspace, Arch::host()?)?;
    compile(workspace, &compiler, Profile::Dev)
}

/// Builds a release: `folder`/`name` and `folder`/`name`.debug. The same sources give the same bytes, in whatever folder they are.
pub(crate) fn release(
    workspace: &Workspace,
    arch: Arch,
    folder: &Path,
    name: &str,
) -> Result<Split> {
    setup::binutils()?;
    let compiler = Compiler::find_or_install(workspace, arch)?;
    let built = compile(workspace, &compiler, Profile::Release)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let split = Split {
        binary: folder.join(name),
        symbols: folder.join(format!("{name}.debug")),
    };
    let mut keep = Command::new(compiler.tool("objcopy"));
    keep.args(["--only-keep-debug", "--compress-debug-sections"]);
    process::run(keep.arg(&built).arg(&split.symbols))?;
    // Otherwise it is as executable as the binary.
    let mut permissions = fs::metadata(&split.symbols)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    fs::set_permissions(&split.symbols, permissions)?;
    let mut strip = Command::new(compiler.tool("objcopy"));
    strip.arg("--strip-debug");
    strip
        .arg("--add-gnu-debuglink")
        .arg(format!("{name}.debug"))
        .current_dir(folder);
    process::run(strip.arg(&built).arg(&split.binary))?;
    Ok(split)
}

/// With `--target`, the flags do not apply to build scripts and macros.
fn compile(workspace: &Workspace, compiler: &Compiler, profile: Profile) -> Result<PathBuf> {
    let target = compiler.arch.triple();
    let mut flags = compiler.rustflags();
    flags.push("-Ctarget-feature=+crt-static".to_owned());
    let mut cargo = process::cargo();
    cargo
        .args(["build", "-p", "lb-agent", "--bin", "lb-agent", "--locked"])
        .args(["--target", target])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env_remove("RUSTFLAGS");
    compiler.configure(&mut cargo);
    let folder = match profile {
        Profile::Release => {
            flags.extend(remap::rustc(workspace)?);
            let variable = format!("CFLAGS_{}", target.replace('-', "_"));
            cargo
                .arg("--release")
                .env(variable, remap::c(workspace)?)
                .env("SOCKLB_BPF_OBJECT", build::release_bpf(workspace)?);
            "release"
        }
        Profile::Dev => "debug",
    };
    // It separates flags by a character that no path contains.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    process::run(&mut cargo)
        .context("building a static lb-agent needs the C library's static files")?;
    let binary = workspace.target.join(target).join(folder).join("lb-agent");
    check_static(&binary, compiler.arch)?;
    Ok(binary)
}

/// An image without a base image has no dynamic linker.
fn check_static(binary: &Path, arch: Arch) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let file = ElfFile64::<LittleEndian>::parse(bytes.as_slice())
        .with_context(|| format!("{}: not an ELF file", binary.display()))?;
    let (endian, data) = (file.endian(), file.data());
    let machine = file.elf_header().e_machine(endian);
    if machine != arch.machine() {
        bail!(
            "{} is for another machine ({machine:?}) than {arch}",
            binary.display()
        );
    }
    let headers = file.elf_header().program_headers(endian, data)?;
    if headers
        .iter()
        .any(|header| header.p_type(endian) == PT_INTERP)
    {
        bail!(
            "{} is not static: it names a dynamic linker",
            binary.display()
        );
    }
    Ok(())
}
