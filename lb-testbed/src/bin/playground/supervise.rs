//! The process that the user started: it lives outside the node and cleans up behind it, whatever happens there.

use std::{
    env,
    io::IsTerminal as _,
    process::{Command, ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lb_testbed::Supervised;
use nix::sys::{
    signal::Signal,
    termios::{SetArg, Termios, tcgetattr, tcsetattr},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Options, state::State};

/// The node's cgroup is called `socklb-playground-PID`.
pub(crate) const PREFIX: &str = "socklb-playground";

/// How long the node may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    check(options)?;
    let program = env::current_exe().context("cannot find the playground's own program")?;
    let terminal = terminal_settings();
    let mut node = Supervised::start(PREFIX, false, |setting| {
        let mut command = Command::new(program);
        command.arg("node").arg("--dir").arg(&setting.dir);
        command
            .arg("--agent")
            .arg(&options.agent)
            .arg("--examples")
            .arg(&options.examples);
        if let Some(seconds) = options.seconds {
            command.arg("--seconds").arg(seconds.to_string());
        }
        command
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(wait(&mut node));
    State::remove_of(node.id());
    drop(node);
    if let Some(settings) = terminal {
        // After a node that was killed, the terminal would stay as the screen had it.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &settings);
    }
    Ok(exit_code(ended?))
}

fn check(options: &Options) -> Result<()> {
    lb_testbed::require_root()?;
    if !options.agent.is_file() {
        bail!(
            "there is no agent at {}: build it with `cargo xtask build`",
            options.agent.display()
        );
    }
    if !options.examples.is_dir() {
        bail!(
            "{} is not a folder of manifests",
            options.examples.display()
        );
    }
    Ok(())
}

/// Waits for the node; passes on the wish to end.
async fn wait(node: &mut Supervised) -> Result<ExitStatus> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut deadline = None;
    loop {
        if let Some(status) = node.try_wait()? {
            return Ok(status);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!("the node has not ended within {PATIENCE:?} and was killed");
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(20)) => continue,
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
            _ = hung_up.recv() => {}
        }
        deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
        node.signal(Signal::SIGTERM)?;
    }
}

fn terminal_settings() -> Option<Termios> {
    std::io::stdin()
        .is_terminal()
        .then(|| tcgetattr(std::io::stdin()).ok())
        .flatten()
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
