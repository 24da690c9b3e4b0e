//! Runs a command inside a pod of the running playground: in its network namespace, and in its cgroup, so that the agent's hooks run
//! for it as for the pod. `lb-agent` is on its PATH, and asks the playground's agent.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, anyhow, bail};
use lb_testbed::Cgroup;
use nix::sched::{CloneFlags, setns};

use crate::state::{AgentState, PodState, State};

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
    let path = path_with(&state.agent)?;
    join(found).with_context(|| format!("cannot enter pod {pod}"))?;
    let (program, arguments) = command
        .split_first()
        .context("there is no command after `--`")?;
    // These the agent's commands know.
    let error = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("SOCKLB_SOCKET", &state.agent.socket)
        .env("SOCKLB_PIN_DIR", &state.agent.pin_dir)
        .exec();
    Err(run_error(program, error))
}

/// The PATH with the agent's folder before all others.
fn path_with(agent: &AgentState) -> Result<OsString> {
    let own = agent.program.parent().map(Path::to_owned);
    let others = env::var_os("PATH").unwrap_or_default();
    let folders = own.into_iter().chain(env::split_paths(&others));
    env::join_paths(folders).context("cannot add the agent's folder to PATH")
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
