//! The output formats of commands.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// The output format of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

/// The output format of a command that lists objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    Table,
    /// A table with more columns
    Wide,
    Json,
    Yaml,
}

/// Writes a value as JSON over several lines.
///
/// # Errors
/// The writer fails.
pub fn write_json(mut to: impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut to, value)?;
    writeln!(to)
}

/// Writes a value as YAML, quoted so that readers of YAML 1.1 and 1.2 get the same value.
///
/// # Errors
/// The writer fails.
pub fn write_yaml(mut to: impl Write, value: &impl Serialize) -> io::Result<()> {
    let text = serde_saphyr::to_string(value).map_err(io::Error::other)?;
    to.write_all(text.as_bytes())
}
