//! One file for each subcommand; here what they share.

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

/// Where Services come from, and for which node.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    pub source: Source,
    pub policy: Options,
}

impl SourceSettings {
    /// Refuses what no Service has: in these networks, or, if there are none, where the cluster's ServiceCIDRs say.
    pub fn refuse_unknown(&mut self, cidrs: Vec<IpNet>) {
        if let Source::Kubernetes(settings) = &mut self.source {
            // Their addresses must not be refused.
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

/// How a command shows what it has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// Tells an error on stderr.
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

/// The host's name in small letters: the node's name where nobody says otherwise, as with the kubelet.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().trim().to_lowercase()
}

/// Whoever read our output has seen enough.
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
