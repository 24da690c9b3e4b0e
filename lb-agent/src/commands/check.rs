//! `lb-agent check`: whether this node is fit to run an agent.

use std::io::{self, Write};
use std::process::ExitCode;

use super::output::{Output, write_json, write_yaml};
use super::runtime::block_on;
use super::table::Table;
use crate::check::{self, CheckSettings, Finding, Outcome};

/// Exit status with a failure.
const UNFIT: u8 = 1;

/// Prints the findings, and returns the exit code: 0, or 1 with a failure.
///
/// # Errors
/// A signal ended the self-test, or stdout cannot be written.
pub fn check(settings: &CheckSettings, output: Output) -> anyhow::Result<ExitCode> {
    let findings = block_on(check::check(settings))?;
    let stdout = io::stdout().lock();
    match output {
        Output::Json => write_json(stdout, &findings)?,
        Output::Yaml => write_yaml(stdout, &findings)?,
        Output::Table => write_table(stdout, &findings)?,
    }
    let is_unfit = findings
        .iter()
        .any(|finding| finding.outcome == Outcome::Failure);
    Ok(match is_unfit {
        true => ExitCode::from(UNFIT),
        false => ExitCode::SUCCESS,
    })
}

/// A row for each finding, and below it what to do.
fn write_table(mut to: impl Write, findings: &[Finding]) -> io::Result<()> {
    let mut text = Vec::new();
    let rows = findings.iter().map(|finding| {
        [
            finding.check.to_owned(),
            finding.outcome.name().to_owned(),
            finding.detail.replace('\n', " "),
        ]
    });
    Table::new(["CHECK", "RESULT", "DETAIL"]).write(&mut text, rows)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let head = lines.next().into_iter().map(|head| (head, None));
    let rows = lines
        .zip(findings)
        .map(|(row, of)| (row, of.remedy.as_ref()));
    for (row, remedy) in head.chain(rows) {
        writeln!(to, "{row}")?;
        if let Some(remedy) = remedy {
            writeln!(to, "  remedy: {remedy}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_follows_its_row() {
        let finding = |check, outcome, remedy: Option<&str>| Finding {
            check,
            outcome,
            detail: "said\nso".to_owned(),
            remedy: remedy.map(ToOwned::to_owned),
        };
        let findings = [
            finding("memory", Outcome::Failure, Some("buy more")),
            finding("agent", Outcome::Ok, None),
        ];
        let mut text = Vec::new();
        write_table(&mut text, &findings).expect("written");
        assert_eq!(
            String::from_utf8_lossy(&text),
            "CHECK    RESULT    DETAIL\n\
             memory   failure   said so\n  remedy: buy more\n\
             agent    ok        said so\n"
        );
    }
}
