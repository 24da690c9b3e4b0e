//! A container as crun runs it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{Deadline, die_with_parent};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A container that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Container {
    id: String,
    state: PathBuf,
    child: Child,
    log_file: PathBuf,
}

impl Container {
    /// Starts the bundle in a folder: `config.json` and the root file system.
    pub fn start(bundle: &Path) -> Result<Self> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let id = format!("socklb-test-{}-{number}", process::id());
        let log_file = bundle.join(format!("{id}.log"));
        let log = File::create(&log_file)?;
        let state = bundle.join("state");
        let mut command = crun(&state);
        command.arg("run").arg("--bundle").arg(bundle).arg(&id);
        command
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let child = die_with_parent(&mut command)
            .spawn()
            .context("cannot start `crun`")?;
        Ok(Self {
            id,
            state,
            child,
            log_file,
        })
    }

    /// The status of its process (proc_pid_status(5)).
    pub fn status(&self) -> Result<String> {
        let output = crun(&self.state).args(["state", &self.id]).output()?;
        let state: Value = serde_json::from_slice(&output.stdout).context("crun state")?;
        Ok(fs::read_to_string(format!(
            "/proc/{}/status",
            state["pid"]
        ))?)
    }

    /// Runs one more process in it, as the exec probes of its pod do.
    pub fn exec(&self, command: &[String]) -> Result<Output> {
        let mut exec = crun(&self.state);
        exec.arg("exec").arg(&self.id).args(command);
        exec.output().context("cannot start `crun exec`")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log_file).unwrap_or_default()).into_owned()
    }

    pub fn wait_for_log(&mut self, part: &str) -> Result<()> {
        let deadline = Deadline::within(LIMIT);
        while !self.log().contains(part) {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended ({status}) before it logged {part:?}: {}", self.log());
            }
            ensure!(
                !deadline.is_over(),
                "no {part:?} within {deadline}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Sends SIGTERM and waits until it has exited with status 0.
    pub fn terminate(&mut self) -> Result<()> {
        let killed = crun(&self.state)
            .args(["kill", &self.id, "TERM"])
            .status()?;
        ensure!(killed.success(), "crun kill: {killed}");
        let status = self.wait()?;
        ensure!(status.success(), "{status}: {}", self.log());
        Ok(())
    }

    /// Waits until it exits by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Deadline::within(LIMIT);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                !deadline.is_over(),
                "it has not ended within {deadline}: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let mut delete = crun(&self.state);
        delete.args(["delete", "--force", &self.id]);
        // It fails if the container has exited.
        let _ = delete.stderr(Stdio::null()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn crun(state: &Path) -> Command {
    let mut command = Command::new("crun");
    // The container stays in the sandbox's cgroup.
    command.arg("--cgroup-manager=disabled");
    command.arg("--root").arg(state);
    command
}
