//! The flags of `check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::listing::{OutputArgs, PinArgs, SocketArgs};
use super::packets::Switch;
use super::sizes::SizeArgs;
use crate::check::{self, CheckSettings};
use crate::commands;

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Give it the flags of `lb-agent run`. It changes nothing on the node: what it loads and attaches for a trial has no name,
and ends with it. With --self-test it makes a cgroup for a moment.

Exit status: 0, also with warnings; 1 with a failure; 2 for errors.

Examples:
  lb-agent check
  lb-agent check --packet-path on --self-test
  kubectl exec -n socklb-system POD -- /lb-agent check -o json")]
pub struct CheckArgs {
    /// Also connect through a ClusterIP that only the check knows, with programs and tables of its own, in a cgroup and a network
    /// namespace of its own. Works beside a running agent.
    #[arg(long)]
    pub self_test: bool,

    /// Whether the agent is to balance packets too: without, what only that needs is a warning.
    #[arg(long, value_enum, value_name = "on|off", default_value_t = Switch::Off)]
    pub packet_path: Switch,

    #[command(flatten)]
    pub sizes: SizeArgs,

    /// The cgroup2 folder of the processes to serve [default: the root, so all processes].
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    #[command(flatten)]
    pub pins: PinArgs,

    #[command(flatten)]
    pub socket: SocketArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

/// The process that `check --self-test` starts.
#[derive(Clone, Debug, Args)]
pub struct SelfTestArgs {
    /// An empty cgroup.
    pub cgroup: PathBuf,

    /// The process that starts this one.
    pub parent: u32,
}

impl CheckArgs {
    pub(super) fn run(self) -> ExitCode {
        let settings = CheckSettings {
            cgroup: self.cgroup,
            pin_dir: self.pins.pin_dir,
            socket: self.socket.socket,
            sizes: self.sizes.sizes(),
            has_packets: self.packet_path == Switch::On,
            has_self_test: self.self_test,
        };
        commands::exit_code_of(commands::check::check(&settings, self.output.output))
    }
}

impl SelfTestArgs {
    pub(super) fn run(&self) -> ExitCode {
        check::self_test_inside(&self.cgroup, self.parent);
        ExitCode::SUCCESS
    }
}
