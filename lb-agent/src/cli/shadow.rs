//! The flags of shadow mode.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::listing::{OutputArgs, SocketArgs};
use super::values::duration;
use crate::commands;
use crate::commands::shadow::shadow;

/// Whether the agent only looks on.
#[derive(Clone, Copy, Debug, Args)]
pub struct ShadowRunArgs {
    /// Choose and count, and change nothing: every call passes as it came, and the packet path stays off. `lb-agent shadow` compares
    /// where kube-proxy sends connections with where they would have gone.
    #[arg(long)]
    pub shadow: bool,

    /// With --shadow: how much later a change of endpoints may take effect with kube-proxy than with this agent, or earlier, such as
    /// 10s or 1m.
    #[arg(long, requires = "shadow", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub shadow_tolerance: Duration,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Works with an agent that runs with --shadow. JSON and YAML contain the first and the last difference of each port.

Exit status: 0; 1 if a Service differs; 2 for errors.

Examples:
  lb-agent shadow                                which Services would behave otherwise
  lb-agent shadow -o json | jq '.ports[] | select(.different > 0)'")]
pub struct ShadowArgs {
    #[command(flatten)]
    pub socket: SocketArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

impl ShadowRunArgs {
    pub(super) fn tolerance(self) -> Option<Duration> {
        self.shadow.then_some(self.shadow_tolerance)
    }
}

impl ShadowArgs {
    pub(super) fn run(&self) -> ExitCode {
        commands::exit_code_of(shadow(&self.socket.socket, self.output.output))
    }
}
