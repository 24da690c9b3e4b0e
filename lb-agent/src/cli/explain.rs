//! The flags of `explain`.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;

use super::listing::{OutputArgs, SocketArgs};
use super::source::SourceArgs;
use crate::commands::explain::{From, explain};
use crate::commands::{self, client};
use crate::serve::{ExplainRequest, Target};

#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Asks the running agent. With --manifests, --kubeconfig or --api-server it reads the objects itself, and knows neither
the node's addresses nor the tables.

Exit status: 0; 1 if a connect would be refused; 2 if there is no such Service or port, and for errors.

Examples:
  lb-agent explain 10.96.0.10:80                 which backends, and why
  lb-agent explain shop/web:http                 every frontend of a port
  lb-agent explain 10.96.0.10:53/udp --from 10.244.1.7   as that pod: with its session affinity
  lb-agent explain shop/web --manifests all.yaml --node-name worker-1")]
pub struct ExplainArgs {
    /// ADDRESS:PORT[/tcp|/udp], or [NAMESPACE/]NAME[:PORT] of a Service with a port's name or number. Without a protocol: tcp;
    /// without a namespace: default.
    #[arg(value_name = "TARGET")]
    pub target: Target,

    /// The address of the client, such as a pod's; for session affinity, and for what only the host reaches [default: any pod]. As
    /// root, a pod of this node is found by it.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,

    /// A process of the client; for session affinity, and for what only the host reaches.
    #[arg(long, value_name = "PID", conflicts_with = "from")]
    pub pid: Option<u32>,

    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub socket: SocketArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

impl ExplainArgs {
    pub(super) fn run(&self) -> ExitCode {
        commands::exit_code_of(self.explain())
    }

    fn explain(&self) -> anyhow::Result<ExitCode> {
        let facts = self.facts();
        let network = match (&facts, self.pid, self.from) {
            (From::Agent(_), Some(pid), _) => Some(client::network_of_process(pid)?),
            (From::Agent(_), None, Some(address)) => client::network_of_address(address),
            _ => None,
        };
        let request = ExplainRequest {
            target: self.target.clone(),
            from: self.from,
            network,
        };
        explain(&facts, &request, self.output.output)
    }

    fn facts(&self) -> From {
        let access = &self.source.access;
        let has_source = !self.source.manifests.is_empty()
            || access.kubeconfig.is_some()
            || access.api_server.is_some();
        match has_source {
            true => From::Objects(Box::new(self.source.settings())),
            false => From::Agent(self.socket.socket.clone()),
        }
    }
}
