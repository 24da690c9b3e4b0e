//! A running lb-agent, which a test can terminate or kill.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};

use crate::log::{Event, Log};
use crate::patience::Deadline;
use crate::supervisor::{pid_of, wait_until};

/// Longest time until an expected log line: generous, since tests run in parallel.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest time for an agent to exit. A thread that waits for a grace period delays the exit until the grace period is over, and the
/// kernel itself reports a stall only after a minute (CONFIG_RCU_CPU_STALL_TIMEOUT).
const PATIENCE_AT_ITS_END: Duration = Duration::from_secs(75);

/// A running agent. Dropping it kills it; if that is because the test fails, its log is printed.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    log_file: PathBuf,
}

impl AgentProcess {
    pub(crate) const fn new(child: Child, log_file: PathBuf) -> Self {
        Self { child, log_file }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Standard output and standard error.
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// Its log so far.
    pub fn log(&self) -> Log {
        Log::read(&self.log_file)
    }

    /// Waits until it logs that it is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_for_log("agent.ready", |log| (log.times_ready() > 0).then_some(()))
    }

    /// Whether it has logged that it is ready.
    pub fn is_ready(&self) -> bool {
        self.log().times_ready() > 0
    }

    /// Waits for an event. Fails, with the log, when the agent ends instead or takes too long.
    pub fn wait_for_event(&mut self, name: &str) -> Result<Event> {
        self.wait_for_event_with(name, |_| true)
    }

    /// As [`Self::wait_for_event`], for an event with certain fields.
    pub fn wait_for_event_with(
        &mut self,
        name: &str,
        is_it: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        self.wait_for_log(name, |log| {
            log.events(name).find(|event| is_it(event)).cloned()
        })
    }

    /// Waits until `find` finds something in the log. Fails, with the log, when the agent ends instead or takes too long.
    ///
    /// `what`: names it in the error.
    pub fn wait_for_log<T>(&mut self, what: &str, find: impl Fn(&Log) -> Option<T>) -> Result<T> {
        let deadline = Deadline::within(PATIENCE);
        loop {
            // Asked first, so that the log of one that has ended is whole.
            let ended = self.ended()?;
            let log = self.log();
            if let Some(found) = find(&log) {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("the agent ended ({status}) before it logged {what}; its log:\n{log}");
            }
            if deadline.is_over() {
                bail!("the agent has not logged {what} within {deadline}; its log:\n{log}");
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The kernel function and the system call in which each of its threads waits (proc_pid_wchan(5), proc_pid_syscall(5)).
    fn threads(&self) -> String {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(folder).into_iter().flatten().flatten();
        let describe = |thread: fs::DirEntry| {
            let [name, waits, call] = ["comm", "wchan", "syscall"].map(|file| {
                let text = fs::read_to_string(thread.path().join(file)).unwrap_or_default();
                text.trim().to_owned()
            });
            format!("{name}: in {waits}, system call {call}\n")
        };
        threads.map(describe).collect()
    }

    /// Its exit status, if it has exited.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for the agent")
    }

    /// Waits until it exits by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Deadline::within(PATIENCE_AT_ITS_END);
        match wait_until(&mut self.child, || deadline.is_over())? {
            Some(status) => Ok(status),
            None => bail!(
                "the agent has not ended within {deadline}; its threads:\n{}its log:\n{}",
                self.threads(),
                self.log()
            ),
        }
    }

    /// Sends SIGKILL and waits until it has exited.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("cannot kill the agent")?;
        self.child.wait().context("cannot wait for the agent")?;
        Ok(())
    }

    /// Sends SIGTERM and waits until it has exited.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        kill(pid_of(&self.child), Signal::SIGTERM).context("cannot send SIGTERM to the agent")?;
        self.wait()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!(
                "the agent's log, {}:\n{}",
                self.log_file.display(),
                self.log()
            );
        }
    }
}
