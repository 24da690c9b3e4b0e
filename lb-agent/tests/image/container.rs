//! A container run by crun.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_testbed::{Deadline, Event, Log, die_with_parent};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// A running container. Dropping it kills it.
#[derive(Debug)]
pub struct Container {
    id: String,
    state: PathBuf,
    child: Child,
    log_file: PathBuf,
}

impl Container {
    /// Starts the bundle in a folder, which contains `config.json` and the root file system.
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

    /// Runs another process in it, as the exec probes of its pod do.
    pub fn exec(&self, command: &[String]) -> Result<Output> {
        let mut exec = crun(&self.state);
        exec.arg("exec").arg(&self.id).args(command);
        exec.output().context("cannot start `crun exec`")
    }

    /// The events of an agent, and the output of other commands.
    pub fn log(&self) -> Log {
        Log::read(&self.log_file)
    }

    pub fn wait_for_event(&mut self, name: &str) -> Result<Event> {
        self.wait_for(name, |log| log.events(name).next().cloned())
    }

    /// Waits for the output of a command that has no events.
    pub fn wait_for_output(&mut self, part: &str) -> Result<()> {
        self.wait_for(part, |log| log.to_string().contains(part).then_some(()))
    }

    fn wait_for<T>(&mut self, what: &str, find: impl Fn(&Log) -> Option<T>) -> Result<T> {
        let deadline = Deadline::within(LIMIT);
        loop {
            let ended = self.child.try_wait()?;
            let log = self.log();
            if let Some(found) = find(&log) {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("ended ({status}) before it logged {what}: {log}");
            }
            ensure!(!deadline.is_over(), "no {what} within {deadline}: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM, and waits until it exits with status 0.
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
        // Fails if the container has exited.
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
