//! Flags of the subcommands that only the manifests in deploy/ use.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::source::AccessArgs;
use super::values::duration;
use crate::commands::probe::Probe;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exits with 0 if the answer is yes. Otherwise the reason is on stderr.

Example:
  lb-agent probe ready --probe-socket /run/probe/agent.sock")]
pub struct ProbeArgs {
    /// What to ask.
    #[arg(value_enum)]
    pub what: Probe,

    /// Unix socket of the process: its --probe-socket.
    #[arg(long, value_name = "PATH")]
    pub probe_socket: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Name of the DaemonSet, in the namespace of the service account or of the kubeconfig's context.
    pub name: String,

    #[command(flatten)]
    pub access: AccessArgs,

    /// Longest time to wait, such as 5m or 90s.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}
