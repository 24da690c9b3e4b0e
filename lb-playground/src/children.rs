//! The processes of the node's pods.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};
use lb_testbed::{Pod, die_with_parent};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::progress::Progress;
use crate::state::PodState;

/// A pod's process, killed when dropped.
#[derive(Debug)]
pub(crate) struct PodProcess {
    name: String,
    cgroup: PathBuf,
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl PodProcess {
    /// Starts this program in a role, inside the pod.
    pub(crate) fn start(pod: &Pod, role: impl FnOnce(&mut Command)) -> Result<Self> {
        let cgroup = pod.cgroup().context("a pod has no cgroup of its own")?;
        let mut command =
            pod.command(env::current_exe().context("cannot find the playground's own program")?);
        role(&mut command);
        // In a process group of its own it does not receive a terminal's Ctrl-C: the node ends its pods in the right order.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = die_with_parent(&mut command)
            .spawn()
            .with_context(|| format!("cannot start pod {}", pod.name()))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self {
            name: pod.name().to_owned(),
            cgroup: cgroup.to_owned(),
            child,
            output,
        })
    }

    pub(crate) fn wait_for_a_line(&mut self) -> Result<()> {
        let output = self
            .output
            .as_mut()
            .context("a pod's output was taken before")?;
        match output.read_line(&mut String::new())? {
            0 => bail!("pod {} exited before it was ready", self.name),
            _ => Ok(()),
        }
    }

    pub(crate) fn state(&self) -> (String, PodState) {
        (
            self.name.clone(),
            PodState {
                pid: self.child.id(),
                cgroup: self.cgroup.clone(),
            },
        )
    }
}

impl Drop for PodProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process of a client, and its last report.
#[derive(Debug)]
pub(crate) struct Client {
    process: PodProcess,
    progress: Arc<Mutex<Progress>>,
    reader: JoinHandle<()>,
}

impl Client {
    pub(crate) fn start(pod: &Pod, to: SocketAddr) -> Result<Self> {
        let mut process = PodProcess::start(pod, |command| {
            command.args(["client", "--to", &to.to_string()]);
        })?;
        let progress = Arc::new(Mutex::new(Progress::default()));
        let output = process
            .output
            .take()
            .context("the client's output was taken before")?;
        let reader = thread::spawn({
            let progress = progress.clone();
            move || follow(output, &progress)
        });
        Ok(Self {
            process,
            progress,
            reader,
        })
    }

    pub(crate) fn process(&self) -> &PodProcess {
        &self.process
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Stops the client and returns its last report.
    pub(crate) fn stop(self) -> Result<Progress> {
        let pid = Pid::from_raw(
            i32::try_from(self.process.child.id()).context("a process id is too large")?,
        );
        // It fails if the client has exited already.
        let _ = kill(pid, Signal::SIGTERM);
        self.reader
            .join()
            .map_err(|_| anyhow!("the thread that reads the client's reports panicked"))?;
        Ok(self
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone())
    }
}

fn follow(output: BufReader<ChildStdout>, progress: &Mutex<Progress>) {
    for line in output.lines().map_while(Result::ok) {
        if let Ok(newer) = serde_json::from_str(&line) {
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = newer;
        }
    }
}
