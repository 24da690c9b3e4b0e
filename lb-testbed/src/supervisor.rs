//! Runs a process that becomes a sandbox, and cleans up after it in any case: a killed process cannot remove its own cgroup.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, Uid};
use tempfile::TempDir;

use crate::cgroup::{self, Cgroup};
use crate::sandbox::SandboxConfig;

/// How often to check whether a process has exited; short compared with the start of a sandbox.
const CHECK_EVERY: Duration = Duration::from_millis(2);

/// How a supervised process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    With(ExitStatus),
    /// It was killed at its time limit.
    TimedOut,
}

/// A child process that becomes a sandbox, with the folder that it gets. Dropping it kills the child and what is
/// left in its cgroup, and removes cgroup and folder.
#[derive(Debug)]
pub struct Supervised {
    child: Child,
    own_group: bool,
    config: SandboxConfig,
    // Removed when this is dropped, hence after the cgroup.
    _dir: TempDir,
}

impl Supervised {
    /// Starts the command that `make` gives for the new sandbox's setting; it has to call
    /// [`crate::Sandbox::enter`] with the same setting. The child ends with the calling thread. With `own_group` it is
    /// not reached by a terminal's Ctrl-C, and what it starts is killed along with it.
    pub fn start(
        prefix: &str,
        own_group: bool,
        make: impl FnOnce(&SandboxConfig) -> Command,
    ) -> Result<Self> {
        require_root()?;
        remove_stale_folders(prefix);
        let dir = tempfile::Builder::new()
            .prefix(&format!("{prefix}-{}-", std::process::id()))
            .tempdir()
            .context("cannot make a temporary folder")?;
        let config = SandboxConfig {
            prefix: prefix.to_owned(),
            dir: dir.path().to_owned(),
        };
        cgroup::with_cgroup2(&config.spare_cgroup2(), |root| {
            cgroup::remove_stale(root, prefix)
        })?;
        let mut command = make(&config);
        if own_group {
            command.process_group(0);
        }
        let child = die_with_parent(&mut command)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            own_group,
            config,
            _dir: dir,
        })
    }

    pub fn config(&self) -> &SandboxConfig {
        &self.config
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, if it has exited.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        kill(self.pid(), signal).map_err(Into::into)
    }

    /// Waits until it exits; kills it after `limit`, even on a busy machine.
    pub fn wait_within(&mut self, limit: Duration) -> Result<Ended> {
        let deadline = Instant::now() + limit;
        match wait_until(&mut self.child, || Instant::now() > deadline)? {
            Some(status) => Ok(Ended::With(status)),
            None => {
                self.kill();
                Ok(Ended::TimedOut)
            }
        }
    }

    fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    fn kill(&mut self) {
        if self.own_group {
            // The rest of its group, even if the child itself has exited.
            let _ = killpg(self.pid(), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn remove_cgroup(&self) -> Result<()> {
        let name = self.config.cgroup_name(self.child.id());
        cgroup::with_cgroup2(&self.config.spare_cgroup2(), |root| {
            Cgroup::at(root.join(name)).remove()
        })?
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The id of a reaped child may belong to another process by now: kill its group only if it still runs.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
        if let Err(error) = self.remove_cgroup() {
            eprintln!("cannot clean up: {error:#}");
        }
    }
}

/// Removes the folders `PREFIX-PID-…` whose process was killed before it could.
fn remove_stale_folders(prefix: &str) {
    for entry in fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('-')?;
            rest.split_once('-')?.0.parse::<u32>().ok()
        });
        if owner.is_some_and(cgroup::is_gone) {
            // Another process may be removing the same folder.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the kernel kill the process that `command` starts when the starting thread ends.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec only prctl and getppid are called, which are async-signal-safe and allocate
    // nothing.
    unsafe {
        command.pre_exec(move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above.
            if nix::unistd::getppid() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Ok(())
        })
    }
}

/// Waits for a child until `is_over`; `None` when it still runs then.
pub(crate) fn wait_until(
    child: &mut Child,
    is_over: impl Fn() -> bool,
) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child
            .try_wait()
            .context("cannot wait for a child process")?
        {
            return Ok(Some(status));
        }
        if is_over() {
            return Ok(None);
        }
        thread::sleep(CHECK_EVERY);
    }
}

pub(crate) fn pid_of(child: &Child) -> Pid {
    #[expect(
        clippy::cast_possible_wrap,
        reason = "a pid fits: the kernel's limit is 2^22"
    )]
    Pid::from_raw(child.id() as i32)
}

/// Fails with one line unless this process is root.
pub fn require_root() -> Result<()> {
    match Uid::effective().is_root() {
        true => Ok(()),
        false => {
            bail!("network namespaces, cgroups and BPF need root: run this as root or through sudo")
        }
    }
}
