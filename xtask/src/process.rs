//! Starting other programs: cargo, and what has to be root.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(cargo_path())
}

/// See [`cargo`].
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO")
        .unwrap_or_else(|| "cargo".into())
        .into()
}

/// Runs it to its end, with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", words(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", words(command));
    }
    Ok(())
}

/// Runs it and gives what it prints to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", words(command)))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed ({}): {}",
            words(command),
            output.status,
            told.trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{}: not UTF-8", words(command)))
}

/// Becomes the program: it gets the terminal's signals itself, and its exit status is ours.
pub(crate) fn become_program(command: &mut Command) -> Result<Infallible> {
    Err(command.exec()).with_context(|| format!("cannot start {}", words(command)))
}

/// A command that runs as root: itself when we are, else through sudo.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    if !can_be_root()? {
        bail!(
            "{} needs root, and there is no sudo here: run this as root",
            program.as_ref().display()
        );
    }
    let mut command = Command::new("sudo");
    command.arg("-E").arg(program);
    Ok(command)
}

/// Whether [`as_root`] has a way.
pub(crate) fn can_be_root() -> Result<bool> {
    Ok(is_root()? || find_program("sudo").is_some())
}

/// Whether our effective user is root.
pub(crate) fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("cannot read /proc/self: is /proc mounted?")?;
    Ok(own.uid() == 0)
}

/// Where a program is: on PATH, or in the folders of system programs that users often lack there.
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
/// When it is not there.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    find_program(name).with_context(|| format!("the program `{name}` is missing"))
}

/// The command as one would type it.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    [program]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
