//! `cargo xtask bench`: builds socklb and the programs to compare with, and runs the bench as root.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::workspace::Workspace;
use crate::{build, process, setup};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Bench {
    /// Nanoseconds for a run of each hook, next to a classic design, at 1 to 50,000 services
    Hooks,
    /// Time for connect() and a short exchange: direct, socklb, a classic design, kube-proxy's nftables and iptables rules
    Connect,
    /// Connections and datagrams from outside to NodePorts: plain forwarding, socklb, kube-proxy's nftables and iptables rules
    Packets,
    /// Time for a request when some servers are slower than others, with each algorithm
    LeastConn,
    /// Time until a cluster of 100 to 10,000 services, and then each change, is in effect; CPU time and memory
    Control,
    /// What it costs a hook that `lb-agent events` follows, that --latency measures, and that outlier detection watches
    Observe,
    /// Connects that fail while one of three backends is silent, refuses or is overloaded, with and without outlier detection
    Outliers,
    /// Time until UDP sockets in 300 pods that are connected through a Service are closed after their backend was removed
    Stale,
    /// CPU time of `lb-agent top` at 10,000 Services, and of the agent that answers it
    Top,
    /// Time and memory of `lb-agent connections` with 1,000 to 100,000 open connections in up to 80 pods
    Connections,
}

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// Fewer sizes and rounds: about a minute
    #[arg(long, global = true)]
    quick: bool,
    /// Also write the figures to FILE
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Self::Hooks => "hooks",
            Self::Connect => "connect",
            Self::Packets => "packets",
            Self::LeastConn => "least-conn",
            Self::Control => "control",
            Self::Observe => "observe",
            Self::Outliers => "outliers",
            Self::Stale => "stale",
            Self::Top => "top",
            Self::Connections => "connections",
        }
    }
}

/// Runs a bench in the caller's working directory.
pub(crate) fn run(workspace: &Workspace, bench: Bench, options: &BenchOptions) -> Result<()> {
    setup::ip()?;
    if matches!(bench, Bench::Connect | Bench::Packets) {
        setup::netfilter_programs()?;
    }
    build::release(workspace)?;
    let reference = build::reference(workspace)?;
    let mut command = process::as_root(workspace.release("lb-bench"))?;
    command.arg(bench.name());
    command.arg("--agent").arg(workspace.release("lb-agent"));
    command.arg("--reference").arg(reference);
    if options.quick {
        command.arg("--quick");
    }
    if let Some(file) = &options.json {
        command.arg("--json").arg(file);
    }
    process::become_program(&mut command)?;
    Ok(())
}
