//! Measures socklb on a small node of its own, with the real agent, real sockets and the real kernel, next to other load
//! balancers in the same run: figures of different machines cannot be compared.

mod connect;
mod connections;
mod control;
mod hooks;
mod least_conn;
mod observe;
mod outliers;
mod packets;
mod stale;
mod top;

mod agent_contender;
mod contender;
mod pod;
mod reference;
mod rules;
mod server;
mod services;
mod statistics;
mod status;
mod usage;
mod verdict;

mod client;
mod limits;
mod machine;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{env, fs};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use lb_testbed::{Sandbox, SandboxConfig, Supervised, wait_in_foreground};
use serde::Serialize;

/// The node's cgroup is called `socklb-bench-PID`.
const PREFIX: &str = "socklb-bench";

/// Measures socklb next to other load balancers, in one run on one machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// The agent's binary
    #[arg(long, global = true, default_value = "lb-agent")]
    agent: PathBuf,
    /// The object with the programs to compare with
    #[arg(long, global = true, default_value = "reference")]
    reference: PathBuf,
    /// Fewer sizes and rounds
    #[arg(long, global = true)]
    quick: bool,
    /// Also write the figures to FILE
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The node's folder; the bench starts that process itself
    #[arg(long, global = true, hide = true)]
    dir: Option<PathBuf>,
}

impl Options {
    fn write_json(&self, figures: &impl Serialize) -> Result<()> {
        let Some(path) = &self.json else {
            return Ok(());
        };
        let mut text = serde_json::to_string_pretty(figures)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Bench {
    /// Nanoseconds for each run of each hook
    Hooks,
    /// Time for connect() and a short exchange, with each load balancer
    Connect,
    /// Packets from a machine outside to NodePorts, with each load balancer
    Packets,
    /// Time for a request when some servers are slower than others
    LeastConn,
    /// Time until a cluster, and then each change, is in effect
    Control,
    /// What events and round-trip times cost a hook
    Observe,
    /// Connects that fail while one of three backends does, with and without outlier detection
    Outliers,
    /// Time until connected UDP sockets of a removed backend are closed
    Stale,
    /// CPU time of `lb-agent top`, and of the agent that answers it
    Top,
    /// Time and memory of `lb-agent connections` with up to 100,000 connections
    Connections,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.options.dir.clone() {
        None => supervise(),
        Some(dir) => measure(&cli, dir).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts the process that becomes the node, and cleans up after it.
fn supervise() -> Result<ExitCode> {
    let program = env::current_exe().context("cannot find the bench's own program")?;
    let mut node = Supervised::start(PREFIX, true, |config| {
        let mut command = Command::new(program);
        command.args(env::args_os().skip(1));
        command.arg("--dir").arg(&config.dir);
        command
    })?;
    let status = wait_in_foreground(&mut node)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(cli: &Cli, dir: PathBuf) -> Result<()> {
    limits::raise_open_files()?;
    let sandbox = Sandbox::enter(&SandboxConfig {
        prefix: PREFIX.to_owned(),
        dir,
    })?;
    println!("{}", machine::describe());
    let options = &cli.options;
    match cli.bench {
        Bench::Hooks => hooks::run(options, &sandbox),
        Bench::Connect => connect::run(options, &sandbox),
        Bench::Packets => packets::run(options, &sandbox),
        Bench::LeastConn => least_conn::run(options, &sandbox),
        Bench::Control => control::run(options, &sandbox),
        Bench::Observe => observe::run(options, &sandbox),
        Bench::Outliers => outliers::run(options, &sandbox),
        Bench::Stale => stale::run(options, &sandbox),
        Bench::Top => top::run(options, &sandbox),
        Bench::Connections => connections::run(options, &sandbox),
    }
}
