//! Builds the kernel programs' object for BPF, checks it, and copies it to where lb-agent's build script finds it.

use std::env::consts::ARCH;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::cross::Compiler;
use crate::workspace::Workspace;
use crate::{object, process, remap, setup};

const TARGET: &str = "bpfel-unknown-none";

/// The feature of lb-common, lb-ebpf and lb-agent with other layouts.
const NEXT_LAYOUT: &str = "next-layout";

/// The paths of source files in the programs' BTF, which has the text of lines too. The verifier shows both when it refuses a program.
#[derive(Clone, Copy, Debug)]
enum Paths {
    /// Those of this machine.
    Kept,
    /// See [`remap`]. Without the text of some lines: those of other crates that are inlined.
    Replaced,
}

/// The release binaries, and [`bpf`] before them.
pub(crate) fn release(workspace: &Workspace) -> Result<String> {
    let table = bpf(workspace)?;
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "-p", "lb-agent", "-p", "lb-bench"]);
    process::run(cargo.current_dir(&workspace.root))?;
    Ok(table)
}

/// The playground and its agent, and [`bpf`] before them: with the profile of the tests, which compiles in a fraction of the
/// time. The kernel programs are the same as in a release.
pub(crate) fn quick(workspace: &Workspace) -> Result<()> {
    bpf(workspace)?;
    let mut cargo = workspace_build(workspace);
    process::run(cargo.args(["--bin", "lb-agent", "--bin", "lb-playground"]))
}

/// `cargo build` with the tests' profile, for all packages: with the features of [`crate::test::cargo_test`], so that each dependency is
/// built once for both.
fn workspace_build(workspace: &Workspace) -> Command {
    let mut cargo = process::cargo();
    cargo.args(["build", "--workspace", "--exclude", "lb-ebpf"]);
    cargo.current_dir(&workspace.root);
    cargo
}

/// Builds the kernel programs; returns a table of their instruction counts.
pub(crate) fn bpf(workspace: &Workspace) -> Result<String> {
    programs(workspace, None, Paths::Kept, &workspace.bpf_object())
}

/// Builds them for a release: the same from every folder. Returns the object's path.
pub(crate) fn release_bpf(workspace: &Workspace) -> Result<PathBuf> {
    let object = workspace.release_bpf_object();
    programs(workspace, None, Paths::Replaced, &object)?;
    Ok(object)
}

/// Builds them with other table layouts, for [`next_agent`].
pub(crate) fn next_bpf(workspace: &Workspace) -> Result<()> {
    let object = workspace.next_bpf_object();
    programs(workspace, Some(NEXT_LAYOUT), Paths::Kept, &object).map(drop)
}

fn programs(
    workspace: &Workspace,
    feature: Option<&str>,
    paths: Paths,
    to: &Path,
) -> Result<String> {
    let built = compile(workspace, "lb-ebpf", feature, paths)?;
    let bytes = read(&built)?;
    let table = object::check(&bytes).context("lb-ebpf")?;
    publish(workspace, to, &object::without_dwarf(&bytes)?)?;
    Ok(table)
}

/// Builds an lb-agent with other table layouts and another version of them, with which tests rehearse an upgrade. Needs
/// [`next_bpf`] first. Only crates that depend on lb-common are built a second time. Returns its path, at which the tests for this
/// compiler's architecture expect it.
pub(crate) fn next_agent(workspace: &Workspace, compiler: &Compiler) -> Result<PathBuf> {
    let mut cargo = workspace_build(workspace);
    compiler.configure_tests(&mut cargo);
    cargo.args(["--bin", "lb-agent"]);
    process::run(cargo.args(["--features", &format!("lb-agent/{NEXT_LAYOUT}")]))?;
    let folder = compiler.folder(workspace);
    let agent = folder.join("next-layout/lb-agent");
    copy(&folder.join("debug/lb-agent"), &agent)?;
    Ok(agent)
}

/// Copies next to the destination first, since that may be running.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("it is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let beside = to.with_extension("new");
    fs::copy(from, &beside)
        .and_then(|_| fs::rename(&beside, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Builds the programs that the benches compare with; returns the object's path.
pub(crate) fn reference(workspace: &Workspace) -> Result<PathBuf> {
    let built = compile(workspace, "reference", None, Paths::Kept)?;
    object::check_any(&read(&built)?).context("lb-ebpf's reference")?;
    Ok(built)
}

fn read(built: &Path) -> Result<Vec<u8>> {
    fs::read(built).with_context(|| format!("cannot read {}", built.display()))
}

/// Builds one of lb-ebpf's objects; returns its path.
fn compile(
    workspace: &Workspace,
    object: &str,
    feature: Option<&str>,
    paths: Paths,
) -> Result<PathBuf> {
    let (toolchain, linker) = setup::bpf()?;
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--cfg=bpf_target_arch=\"{ARCH}\""),
    ];
    if let Paths::Replaced = paths {
        // LLVM cannot read the source from a path that is replaced.
        flags.extend(["-Zembed-source=yes", "-Cdwarf-version=5"].map(str::to_owned));
        flags.extend(remap::rustc(workspace)?);
    }
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .args(["build", "--release", "-p", "lb-ebpf", "--bin", object])
        .args(["-Z", "build-std=core", "--target", TARGET])
        .current_dir(&workspace.root)
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        // It separates flags by a character that no path contains.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1");
    if let Some(feature) = feature {
        cargo.args(["--features", feature]);
    }
    // It is for another compiler.
    cargo.env_remove("RUSTC_WORKSPACE_WRAPPER");
    process::run(&mut cargo).with_context(|| format!("lb-ebpf, with {toolchain}"))?;
    Ok(workspace.target.join(TARGET).join("release").join(object))
}

/// Does not write an unchanged object, so that the crates that embed it are not built again.
fn publish(workspace: &Workspace, object: &Path, bytes: &[u8]) -> Result<()> {
    if is_current(workspace, object, bytes)? {
        return Ok(());
    }
    let folder = object.parent().context("the object is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(object, bytes).with_context(|| format!("cannot write {}", object.display()))
}

/// lb-agent's build script warns of an object older than the sources, even if it is unchanged.
fn is_current(workspace: &Workspace, object: &Path, bytes: &[u8]) -> Result<bool> {
    let there = match fs::read(object) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", object.display()));
        }
    };
    let made = fs::metadata(object)?.modified()?;
    let mut changed = SystemTime::UNIX_EPOCH;
    for sources in ["lb-ebpf/src", "lb-common/src"] {
        changed = changed.max(newest(&workspace.root.join(sources))?);
    }
    Ok(there == bytes && changed <= made)
}

fn newest(path: &Path) -> Result<SystemTime> {
    let of_path = fs::metadata(path)?;
    if !of_path.is_dir() {
        return Ok(of_path.modified()?);
    }
    let mut newest_inside = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        newest_inside = newest_inside.max(newest(&entry?.path())?);
    }
    Ok(newest_inside)
}
