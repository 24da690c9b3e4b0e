//! Flags of `lb-agent connections`.

use clap::Args;

use super::listing::{PinArgs, ScopeArgs};
use crate::commands::connections;
use crate::connections::{BackendFilter, Filter, ServiceFilter};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Reads the pinned tables and the kernel's lists of sockets in all network namespaces, and changes nothing.
Without a running agent, Services have no names. In a pod, it needs the agent's capabilities and PID
namespace: use `kubectl exec` in the agent's pod.

With --watch, a connection is printed when it begins, ends, or has another state, backend or process; the
figures of `-o wide` alone do not count as a change. The kernel does not say how old a socket is.

Examples:
  lb-agent connections shop/web:http -o wide     of one port of a Service
  lb-agent connections --backend 10.244.1.7      to one endpoint
  lb-agent connections --pid 1234 -o json        of one process")]
pub struct ConnectionArgs {
    /// Only these Services, as NAME or NAMESPACE/NAME, with :PORT (its name or number) for one port [default: all].
    #[arg(value_name = "SERVICE")]
    pub services: Vec<ServiceFilter>,

    /// Only connections to this endpoint.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub backend: Option<BackendFilter>,

    /// Only sockets that this process has open.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,

    #[command(flatten)]
    pub scope: ScopeArgs,

    #[command(flatten)]
    pub pins: PinArgs,
}

impl ConnectionArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let listing = self.scope.listing(Vec::new());
        let filter = Filter {
            namespace: listing.selection.namespace.clone(),
            services: self.services,
            backend: self.backend,
            process: self.pid,
        };
        connections::connections(&listing, &self.pins.pin_dir, &filter)
    }
}
