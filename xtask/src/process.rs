//! Starts other programs: cargo, and programs that need root.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

/// The cargo that runs us.
///
/// Without the variables that describe this package: build scripts watch some of them (ring's does), so what cargo has built from a shell
/// would be built again from here, and the other way round.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(cargo_path());
    let is_of_package = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

/// See [`cargo`].
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO")
        .unwrap_or_else(|| "cargo".into())
        .into()
}

/// Runs the command to its end, with our standard output and error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", words(command)))?;
    succeeded(status, || words(command))
}

/// # Errors
/// If the command with these words failed.
pub(crate) fn succeeded(status: ExitStatus, words: impl FnOnce() -> String) -> Result<()> {
    if !status.success() {
        bail!("{} failed ({status})", words());
    }
    Ok(())
}

/// Runs the command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", words(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            words(command),
            output.status,
            errors.trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{}: not UTF-8", words(command)))
}

/// Replaces this process with the program, which then receives the terminal's signals itself.
pub(crate) fn become_program(command: &mut Command) -> Result<Infallible> {
    Err(command.exec()).with_context(|| format!("cannot start {}", words(command)))
}

/// A command that runs as root: directly if we are root, otherwise through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    if !can_be_root()? {
        bail!(
            "{} needs root, and sudo is not installed: run this as root",
            program.as_ref().display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg(program);
    Ok(command)
}

/// Whether [`as_root`] works.
pub(crate) fn can_be_root() -> Result<bool> {
    Ok(is_root()? || find_program("sudo").is_some())
}

/// Whether our effective user is root.
pub(crate) fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("cannot read /proc/self: is /proc mounted?")?;
    Ok(own.uid() == 0)
}

/// A program's path: on PATH, or in a folder for system programs, which a user's PATH often does not have.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// As [`find_program`].
///
/// # Errors
/// If it is not installed.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("the program `{name}` is missing"))
}

/// The command as typed in a shell.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    [program]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
