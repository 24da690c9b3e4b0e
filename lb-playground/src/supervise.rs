//! The process that the user started. It runs outside the node and cleans up after it in any case.

use std::env;
use std::io::IsTerminal as _;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, bail};
use lb_testbed::{Supervised, wait_in_foreground};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use crate::Options;
use crate::state::State;

/// The node's cgroup is called `socklb-playground-PID`.
pub(crate) const PREFIX: &str = "socklb-playground";

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    check(options)?;
    let program = env::current_exe().context("cannot find the playground's own program")?;
    let terminal = terminal_settings();
    let mut node = Supervised::start(PREFIX, false, |config| {
        let mut command = Command::new(program);
        command.arg("node").arg("--dir").arg(&config.dir);
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
    let ended = wait_in_foreground(&mut node);
    State::remove_of(node.id());
    drop(node);
    if let Some(settings) = terminal {
        // A node that was killed has not restored the terminal.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &settings);
    }
    Ok(exit_code(ended?))
}

fn check(options: &Options) -> Result<()> {
    lb_testbed::require_root()?;
    if !options.agent.is_file() {
        bail!(
            "there is no agent at {}: start the playground with `cargo xtask run`, which builds it",
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
