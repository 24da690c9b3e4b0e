//! `lb-agent shadow`: which Services' connections went elsewhere than with this agent.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::output::{Output, write_json, write_yaml};
use super::runtime::block_on;
use super::table::{self, Table};
use crate::counted::counted;
use crate::serve::{self, FlowDifference, ShadowReport};

/// Exit status if a Service differs.
const DIFFERENT: u8 = 1;

/// Prints the comparison of the agent that listens on `socket`, and returns the exit code: 0, or 1 if a Service differs.
///
/// # Errors
/// No agent listens there, it does not run in shadow mode, or stdout cannot be written.
pub fn shadow(socket: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let report: Option<ShadowReport> =
        block_on(async { Ok(serve::fetch(socket, serve::SHADOW).await?) })?;
    let report = report.with_context(|| {
        format!(
            "cannot compare: the agent on {} does not run in shadow mode; start it with `lb-agent run --shadow`",
            socket.display()
        )
    })?;
    let stdout = io::stdout().lock();
    match output {
        Output::Json => write_json(stdout, &report)?,
        Output::Yaml => write_yaml(stdout, &report)?,
        Output::Table => write_table(stdout, &report)?,
    }
    if report.status.overruns > 0 {
        eprintln!(
            "warning: flows came faster than they could be read, {}: some were not compared",
            counted(report.status.overruns, "time")
        );
    }
    if let Some(trouble) = &report.status.trouble {
        eprintln!("warning: {trouble}");
    }
    Ok(match report.status.different {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DIFFERENT),
    })
}

fn write_table(to: impl io::Write, report: &ShadowReport) -> io::Result<()> {
    let rows: Vec<[String; 7]> = report
        .ports
        .iter()
        .map(|of| {
            [
                table::or_none(Some(&of.namespace)),
                table::or_none(Some(&of.name)),
                table::port_name(&of.port).to_owned(),
                of.protocol.clone(),
                of.flows.to_string(),
                of.different.to_string(),
                table::or_none(of.last_difference.as_ref().map(line).as_deref()),
            ]
        })
        .collect();
    let head = [
        "NAMESPACE",
        "NAME",
        "PORT",
        "PROTOCOL",
        "FLOWS",
        "DIFFERENT",
        "LAST DIFFERENCE",
    ];
    Table::new(head).write(to, rows.iter())
}

fn line(of: &FlowDifference) -> String {
    let FlowDifference {
        time,
        kind,
        client,
        frontend,
        endpoint,
        ..
    } = of;
    format!("{time:.0} {kind}: {client} > {frontend} > {endpoint}")
}
