//! Flags of `lb-agent top`.

use std::time::Duration;

use clap::Args;

use super::listing::{NamespaceArgs, ServicesArgs, SocketArgs};
use super::values::duration;
use crate::commands::top::{self, TopSettings};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Sorted by new connections per second at first. Enter shows the backends of a Service; ? shows all keys.
Wider terminals show more columns. NO_COLOR turns colors off.

Example:
  kubectl exec -it -n socklb-system POD -- /lb-agent top")]
pub struct TopArgs {
    #[command(flatten)]
    pub services: ServicesArgs,

    #[command(flatten)]
    pub namespace: NamespaceArgs,

    /// How often to ask the agent, such as 2s.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub interval: Duration,

    #[command(flatten)]
    pub socket: SocketArgs,
}

impl TopArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        top::top(TopSettings {
            socket: self.socket.socket,
            selection: self.namespace.select(self.services.services),
            interval: self.interval,
        })
    }
}
