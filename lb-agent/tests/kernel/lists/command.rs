//! Runs a command that lists objects, once or as they change.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use lb_testbed::Agent;
use serde_json::Value;

/// `lb-agent ARGS...` with the agent's socket.
pub(super) fn command<A: AsRef<OsStr>>(
    agent: &Agent,
    args: impl IntoIterator<Item = A>,
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb-agent"));
    command.args(args).arg("--socket").arg(agent.socket());
    command
}

/// What a command prints to stdout and to stderr.
pub(super) fn output(agent: &Agent, args: &[&str]) -> Result<(String, String)> {
    let output = command(agent, args).output()?;
    let error = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{args:?}: {error}");
    Ok((String::from_utf8(output.stdout)?, error))
}

/// The objects that a command lists with `-o json`.
pub(super) fn objects(agent: &Agent, args: &[&str]) -> Result<Vec<Value>> {
    let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let (text, _) = output(agent, &args)?;
    Ok(serde_json::from_str(&text)?)
}

/// A command with `--watch`, ended on drop.
pub(super) struct Watched {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watched {
    pub(super) fn start(agent: &Agent, args: &[&str]) -> Result<Self> {
        let mut child = command(agent, args)
            .arg("--watch")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("stdout is a pipe")?;
        Ok(Self {
            child,
            lines: BufReader::new(stdout),
        })
    }

    /// Waits for the next line.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "the command ended");
        Ok(line)
    }

    /// Waits for the next line, as JSON.
    pub(super) fn value(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
