//! One file for each subcommand; here what they share, and which is called.

mod logging;
mod plan;
mod run;
mod table;
mod unload;

use std::io;
use std::process::ExitCode;

use crate::catalog::{Catalog, Problem};
use crate::cli::{BpfLog, Cli, Command, RunArgs, SourceArgs};
use crate::kernel::{self, LogLevel};
use crate::policy::Options;
use crate::source::Manifests;

/// Runs the command; an error is told on stderr.
#[must_use]
pub fn main(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => run(args),
        Command::Unload(args) => unload::unload(&args.pins.pin_dir),
        Command::Status(_) | Command::Backends(_) => Err(anyhow::anyhow!("not there yet")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: RunArgs) -> anyhow::Result<()> {
    logging::start(&args.log, args.log_format)?;
    run::run(run::Settings {
        policy: policy_options(&args.source),
        manifests: args.source.manifests,
        kernel: kernel::Settings {
            cgroup: args.cgroup,
            pin_dir: args.pins.pin_dir,
            program_log: match args.bpf_log {
                BpfLog::Off => LogLevel::Off,
                BpfLog::Info => LogLevel::Info,
                BpfLog::Debug => LogLevel::Debug,
            },
        },
        socket: args.socket.socket,
    })
}

/// The policy's options, as the command line has them.
///
/// The node's name is the host's when nothing else is said, in small letters as the kubelet has it.
fn policy_options(args: &SourceArgs) -> Options {
    let given = args.node_name.as_deref().map(str::trim);
    let node_name = match given.filter(|name| !name.is_empty()) {
        Some(name) => name.to_owned(),
        None => rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .trim()
            .to_lowercase(),
    };
    Options {
        node_name,
        service_proxy_name: args.service_proxy_name.clone(),
    }
}

/// All that the source has now, and what is wrong with it.
fn source_catalog(args: &SourceArgs) -> anyhow::Result<(Catalog, Options, Vec<Problem>)> {
    let options = policy_options(args);
    let (_, listing) = Manifests::open(args.manifests.clone())?;
    let mut catalog = Catalog::new(&options.node_name);
    for change in listing.changes {
        catalog.apply(change);
    }
    Ok((catalog, options, listing.problems))
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes
        .into_iter()
        .any(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe)
}
