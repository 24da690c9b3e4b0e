//! One file for each subcommand, and what the subcommands share.

pub mod backends;
pub mod dump;
mod logging;
pub mod plan;
pub mod probe;
pub mod run;
pub mod status;
mod table;
pub mod unload;
pub mod wait;

use std::io;
use std::process::ExitCode;

use clap::ValueEnum;
use ipnet::IpNet;

pub use self::logging::LogFormat;
use crate::policy::{Options, RefuseUnknown};
use crate::source::Source;

/// The source of Services, and the node to select for.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub source: Source,
    pub policy: Options,
}

impl SourceSettings {
    /// Refuses addresses that no Service has: in these networks, or in those of the cluster's ServiceCIDRs if there are
    /// none.
    pub fn refuse_unknown(&mut self, cidrs: Vec<IpNet>) {
        if let Source::Kubernetes(settings) = &mut self.source {
            // These addresses must not be refused.
            settings.wants_foreign = true;
            settings.wants_service_cidrs = cidrs.is_empty();
        }
        self.policy.refuse_unknown = if cidrs.is_empty() {
            RefuseUnknown::InServiceCidrs
        } else {
            RefuseUnknown::In(cidrs)
        };
    }
}

/// The output format of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Prints an error to stderr, and returns the exit code.
#[must_use]
pub fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The host's name in lower case: the default node name, as for the kubelet.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().trim().to_lowercase()
}

/// The reader of stdout has closed the pipe.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// Runs asynchronous work to its end.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
