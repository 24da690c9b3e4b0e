//! `cargo xtask bench`: builds what is measured and what it is compared with, and runs the bench as root.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;

use crate::workspace::Workspace;
use crate::{build, process, setup};

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Nanoseconds for a run of each hook, beside a classic design's, at 1 to 50,000 services
    Hooks {
        #[command(flatten)]
        options: Options,
    },
    /// How long connect() and a short exchange take: direct, ours, a classic design, kube-proxy's nftables and iptables rules
    Connect {
        #[command(flatten)]
        options: Options,
    },
    /// How long requests take when some servers are slower than others, with each algorithm
    LeastConn {
        #[command(flatten)]
        options: Options,
    },
    /// How long a cluster of 100 to 10,000 services, and then each change, takes to come into effect; CPU time and memory
    Control {
        #[command(flatten)]
        options: Options,
    },
    /// How long UDP sockets in 300 pods that are connected through a Service outlive their backend
    Stale {
        #[command(flatten)]
        options: Options,
    },
}

/// What all benches take.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fewer sizes and rounds: about a minute
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    fn name(&self) -> &'static str {
        match self {
            Self::Hooks { .. } => "hooks",
            Self::Connect { .. } => "connect",
            Self::LeastConn { .. } => "least-conn",
            Self::Control { .. } => "control",
            Self::Stale { .. } => "stale",
        }
    }

    fn options(&self) -> &Options {
        match self {
            Self::Hooks { options }
            | Self::Connect { options }
            | Self::LeastConn { options }
            | Self::Control { options }
            | Self::Stale { options } => options,
        }
    }
}

/// Runs a bench, from the folder we were called in.
pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    setup::ip()?;
    if matches!(bench, Bench::Connect { .. }) {
        setup::netfilter_programs()?;
    }
    build::release(workspace)?;
    let reference = build::reference(workspace)?;
    let mut command = process::as_root(workspace.release("lb-bench"))?;
    command.arg(bench.name());
    command.arg("--agent").arg(workspace.release("lb-agent"));
    command.arg("--reference").arg(reference);
    let options = bench.options();
    if options.quick {
        command.arg("--quick");
    }
    if let Some(file) = &options.json {
        command.arg("--json").arg(file);
    }
    process::become_program(&mut command)?;
    Ok(())
}
