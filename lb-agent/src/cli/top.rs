//! Flags of `lb-agent top`.

use std::time::Duration;

use clap::Args;

use super::listing::{SocketArgs, namespace, service_name};
use super::values::duration;
use crate::commands::top::{self, TopSettings};
use crate::serve::{Selection, ServiceName};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Sorted by new connections per second at first. Enter shows the backends of a Service; ? shows all keys.
Wider terminals show more columns. NO_COLOR turns colors off.

Example:
  kubectl exec -it -n socklb-system POD -- /lb-agent top")]
pub struct TopArgs {
    /// Only these Services, as NAME or NAMESPACE/NAME [default: all].
    #[arg(value_name = "SERVICE", value_parser = service_name)]
    pub services: Vec<ServiceName>,

    /// Only Services in this namespace [default: all namespaces].
    #[arg(short, long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,

    /// Services in all namespaces, also with --namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

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
            selection: Selection {
                namespace: self.namespace.filter(|_| !self.all_namespaces),
                services: self.services,
            },
            interval: self.interval,
        })
    }
}
