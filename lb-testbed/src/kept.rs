//! Sockets that another process keeps open: one process may have fewer than a test needs.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::pod::Pod;
use crate::supervisor::die_with_parent;

/// A process in a pod, `sleep`, that has sockets open until this value is dropped.
#[derive(Debug)]
pub struct KeptSockets {
    process: Child,
}

impl KeptSockets {
    /// Starts the process. The caller has the sockets no longer.
    pub fn in_pod(pod: &Pod, sockets: Vec<OwnedFd>) -> Result<Self> {
        let mut command = pod.command(OsStr::new("sleep"));
        command.arg("infinity").stdin(Stdio::null());
        let keep = move || {
            for socket in &sockets {
                fcntl(socket, FcntlArg::F_SETFD(FdFlag::empty())).map_err(io::Error::from)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe and allocates nothing.
        unsafe { command.pre_exec(keep) };
        let process = die_with_parent(&mut command)
            .spawn()
            .context("cannot start `sleep`")?;
        Ok(Self { process })
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for KeptSockets {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
