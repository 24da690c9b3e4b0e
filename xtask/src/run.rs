//! Runs the playground and the agent. Each function replaces this process, so that the program itself handles Ctrl-C.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{build, process, setup};

/// `cargo xtask run`: the playground.
pub(crate) fn playground(workspace: &Workspace, seconds: Option<u64>) -> Result<()> {
    setup::ip()?;
    build::quick(workspace)?;
    let mut command = process::as_root(workspace.debug("lb-playground"))?;
    command.arg("--agent").arg(workspace.debug("lb-agent"));
    command.arg("--examples").arg("examples");
    if let Some(seconds) = seconds {
        command.arg("--seconds").arg(seconds.to_string());
    }
    process::become_program(command.current_dir(&workspace.root))?;
    Ok(())
}

/// `cargo xtask run -- ARGS`: lb-agent, in the caller's working directory.
pub(crate) fn agent(workspace: &Workspace, args: &[OsString]) -> Result<()> {
    build::quick(workspace)?;
    let mut command = process::as_root(workspace.debug("lb-agent"))?;
    process::become_program(command.args(args))?;
    Ok(())
}

/// `cargo xtask exec POD -- CMD`: builds nothing, since a playground is running.
pub(crate) fn exec(workspace: &Workspace, pod: &str, words: &[OsString]) -> Result<()> {
    let playground = workspace.debug("lb-playground");
    if !playground.is_file() {
        bail!("no playground was built yet: start one with `cargo xtask run` in another terminal");
    }
    let mut command = process::as_root(playground)?;
    command.args(["exec", pod, "--"]).args(words);
    process::become_program(&mut command)?;
    Ok(())
}
