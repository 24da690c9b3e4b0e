//! Runs a command inside a pod of the running playground: in its network namespace, and in its cgroup, so that the agent's hooks run
//! for it as for the pod.

use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail};
use lb_testbed::Cgroup;
use nix::sched::{CloneFlags, setns};

use crate::state::{PodState, State};

/// Returns only if the command cannot be run. Call it while the process has one thread.
pub(crate) fn run(pod: &str, command: &[String]) -> Result<ExitCode> {
    lb_testbed::require_root()?;
    let state = State::read().context(
        "no playground is running: start one with `cargo xtask run` in another terminal",
    )?;
    let Some(found) = state.pods.get(pod) else {
        let names: Vec<&str> = state.pods.keys().map(String::as_str).collect();
        bail!("there is no pod {pod}: the pods are {}", names.join(", "));
    };
    join(found).with_context(|| format!("cannot enter pod {pod}"))?;
    let (program, arguments) = command
        .split_first()
        .context("there is no command after `--`")?;
    let error = Command::new(program).args(arguments).exec();
    Err(run_error(program, error))
}

fn join(pod: &PodState) -> Result<()> {
    let open = |kind: &str| File::open(format!("/proc/{}/ns/{kind}", pod.pid));
    let (mounts, network) = (open("mnt")?, open("net")?);
    let folder = env::current_dir().context("cannot find the current folder")?;
    setns(mounts, CloneFlags::CLONE_NEWNS).context("cannot join its mount namespace")?;
    setns(network, CloneFlags::CLONE_NEWNET).context("cannot join its network namespace")?;
    // Joining a mount namespace moves to its root.
    env::set_current_dir(&folder)
        .with_context(|| format!("cannot go back to {}", folder.display()))?;
    Cgroup::at(&pod.cgroup).join()
}

fn run_error(program: &str, error: io::Error) -> anyhow::Error {
    if error.kind() != ErrorKind::NotFound {
        return anyhow!(error).context(format!("cannot run {program}"));
    }
    // A package often has the program's name.
    if program.contains('/') {
        return anyhow!("there is no {program}");
    }
    anyhow!(
        "{program} is not installed: `apt-get install {program}` (Debian, Ubuntu) or `dnf install {program}`"
    )
}
