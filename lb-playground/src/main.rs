//! A Service to try out: one node with three server pods, clients on it and outside of it in network namespaces of their own, the
//! real agent, real HTTP requests, and a live view of the pods that answer.

mod client;
mod node;
mod pod;
mod supervise;

mod children;
mod hook_cost;
mod progress;
mod screen;
mod view;

mod exec;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Runs a small node with the agent on it and shows which pod answers.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    options: Option<Options>,
    #[command(subcommand)]
    command: Option<Role>,
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// The agent's binary
    #[arg(long)]
    agent: PathBuf,
    /// The agent's folder of manifests; you can edit them while it runs
    #[arg(long)]
    examples: PathBuf,
    /// End after this many seconds, with status 1 if a request failed
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Run a command inside a pod of the running playground
    Exec {
        /// client, vm, outside, web-1, web-2 or web-3
        pod: String,
        /// The command and its arguments, after `--`
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// The node's process; the playground starts it itself
    #[command(hide = true)]
    Node {
        #[command(flatten)]
        options: Options,
        #[arg(long)]
        dir: PathBuf,
    },
    /// A server pod's process
    #[command(hide = true)]
    Pod {
        name: String,
        #[arg(long)]
        port: u16,
    },
    /// A client's process
    #[command(hide = true)]
    Client {
        #[arg(long)]
        to: SocketAddr,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.options) {
        (None, Some(options)) => supervise::run(&options),
        (Some(Role::Exec { pod, command }), _) => exec::run(&pod, &command),
        (Some(Role::Node { options, dir }), _) => node::run(&options, dir),
        (Some(Role::Pod { name, port }), _) => pod::run(&name, port),
        (Some(Role::Client { to }), _) => client::run(to),
        (None, None) => Err(anyhow::anyhow!(
            "--agent and --examples are needed; see --help"
        )),
    };
    result.unwrap_or_else(|error| {
        eprintln!("playground: {error:#}");
        ExitCode::FAILURE
    })
}
