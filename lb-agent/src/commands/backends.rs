//! `lb-agent backends`: the connections of each backend, by the kernel's own counters.

use std::io::{self, Write as _};
use std::path::Path;

use super::output::Output;
use super::runtime::block_on;
use super::table;
use crate::serve::{self, BackendStatus};

/// Asks the agent that listens on `socket`.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn backends(socket: &Path, output: Output) -> anyhow::Result<()> {
    let backends: Vec<BackendStatus> =
        block_on(async { Ok(serve::fetch(socket, serve::BACKENDS).await?) })?;
    let mut stdout = io::stdout().lock();
    if output == Output::Json {
        serde_json::to_writer_pretty(&mut stdout, &backends)?;
        writeln!(stdout)?;
        return Ok(());
    }
    if backends.is_empty() {
        writeln!(io::stderr(), "No backends.")?;
        return Ok(());
    }
    let head = [
        "NAMESPACE",
        "NAME",
        "PORT",
        "PROTOCOL",
        "BACKEND",
        "USED",
        "CONNECTIONS",
        "ACTIVE",
    ];
    let rows: Vec<_> = backends.into_iter().map(row).collect();
    table::write(stdout, &head, &rows)?;
    Ok(())
}

fn row(backend: BackendStatus) -> [String; 8] {
    let used = match (backend.internal, backend.external) {
        (true, true) => "yes",
        (true, false) => "internal",
        (false, true) => "external",
        (false, false) => "no",
    };
    [
        backend.namespace,
        backend.name,
        table::port_name(&backend.port).to_owned(),
        backend.protocol,
        backend.address,
        used.to_owned(),
        backend.connections.to_string(),
        backend.active.to_string(),
    ]
}
