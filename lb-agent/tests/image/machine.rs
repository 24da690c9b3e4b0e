//! A first process that sees the sandbox's mounts, so that a container takes the sandbox for its host.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_testbed::{Deadline, die_with_parent};

/// A process namespace of the sandbox's own. It ends when this value is dropped.
#[derive(Debug)]
pub struct Machine {
    unshare: Child,
}

impl Machine {
    pub fn start() -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "sleep", "infinity"]);
        let unshare = die_with_parent(&mut command)
            .spawn()
            .context("cannot start `unshare` (util-linux)")?;
        let machine = Self { unshare };
        let deadline = Deadline::within(Duration::from_secs(10));
        // The link is dangling until the first process exists.
        while fs::metadata(machine.processes()).is_err() {
            ensure!(!deadline.is_over(), "no first process within {deadline}");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(machine)
    }

    /// Its process namespace.
    pub fn processes(&self) -> PathBuf {
        format!("/proc/{}/ns/pid_for_children", self.unshare.id()).into()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}
