//! What socklb costs, measured: in a node in miniature, with the real agent, real sockets and the real kernel, and beside
//! others in the same run, since one machine's nanoseconds say nothing to another.

mod connect;
mod control;
mod hooks;
mod least_conn;
mod stale;

mod contender;
mod ours;
mod pod;
mod process;
mod reference;
mod services;
mod verdict;

mod limits;
mod machine;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use lb_testbed::{Sandbox, Setting, Supervised, wait_in_foreground};

/// The node's cgroup is called `socklb-bench-PID`.
const PREFIX: &str = "socklb-bench";

/// Measures socklb.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// The agent's binary
    #[arg(long, global = true, default_value = "lb-agent")]
    agent: PathBuf,
    /// The object with the programs to compare with
    #[arg(long, global = true, default_value = "reference")]
    reference: PathBuf,
    /// The node's folder; the bench starts that process itself
    #[arg(long, global = true, hide = true)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// What each hook costs
    Hooks(hooks::Options),
    /// What connect() and a short exchange take, beside others' ways to balance
    Connect(connect::Options),
    /// How long requests take when some servers are slower than others
    LeastConn(least_conn::Options),
    /// How long a cluster, and then each change, takes to come into effect
    Control(control::Options),
    /// How long connected UDP sockets outlive their backend
    Stale(stale::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.common.dir.clone() {
        None => supervise(),
        Some(dir) => measure(&cli, dir).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bench: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts the process that becomes the node, and cleans up behind it.
fn supervise() -> Result<ExitCode> {
    let program = env::current_exe().context("cannot find the bench's own program")?;
    let mut node = Supervised::start(PREFIX, true, |setting| {
        let mut command = Command::new(program);
        command.args(env::args_os().skip(1));
        command.arg("--dir").arg(&setting.dir);
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
    let sandbox = Sandbox::enter(&Setting {
        prefix: PREFIX.to_owned(),
        dir,
    })?;
    println!("{}", machine::describe());
    match &cli.bench {
        Bench::Hooks(options) => hooks::run(options, &cli.common, &sandbox),
        Bench::Connect(options) => connect::run(options, &cli.common, &sandbox),
        Bench::LeastConn(options) => least_conn::run(options, &cli.common, &sandbox),
        Bench::Control(options) => control::run(options, &cli.common, &sandbox),
        Bench::Stale(options) => stale::run(options, &cli.common, &sandbox),
    }
}
