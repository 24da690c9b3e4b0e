//! One file for each subcommand, and what the subcommands share.

pub mod backends;
pub mod check;
pub mod client;
pub mod connections;
pub mod dump;
mod event_layer;
pub mod events;
pub mod explain;
pub mod frontends;
pub mod listing;
mod logging;
mod objects;
mod output;
pub mod plan;
pub mod probe;
mod rates;
mod round_trips;
pub mod run;
mod runtime;
pub mod services;
pub mod shadow;
mod source_settings;
pub mod status;
mod table;
pub mod top;
pub mod unload;
pub mod wait;

use std::io;
use std::process::ExitCode;

pub use self::logging::LogFormat;
pub use self::output::{ListOutput, Output};
pub use self::source_settings::SourceSettings;

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

/// The exit code of a command that answers with 0 or 1, so that 2 is an error, as of `diff`. Prints an error to stderr.
#[must_use]
pub fn exit_code_of(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
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
