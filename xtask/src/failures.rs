//! What failed tests printed, repeated after the summary: in a long run the failure is far above it.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::process;

/// A test's last lines say why it failed; before them may be the whole log of an agent.
const LINES_OF_A_TEST: usize = 40;

/// Passes the output of test binaries through, and keeps that of failed tests.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    tests: Vec<FailedTest>,
    is_inside: bool,
}

#[derive(Debug)]
struct FailedTest {
    /// As the test binary writes it.
    heading: String,
    lines: Vec<String>,
}

impl Failures {
    /// Runs a command that prints what test binaries print.
    pub(crate) fn run(&mut self, command: &mut Command) -> Result<()> {
        let what = process::words(command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {what}"))?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut stdout = BufReader::new(stdout);
        let mut line = Vec::new();
        while stdout.read_until(b'\n', &mut line)? > 0 {
            self.print(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
        }
        process::succeeded(child.wait()?, || what)
    }

    /// Prints a line.
    pub(crate) fn print(&mut self, line: &str) {
        println!("{line}");
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.is_inside = true;
            self.tests.push(FailedTest {
                heading: line.to_owned(),
                lines: Vec::new(),
            });
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.is_inside = false;
        } else if self.is_inside
            && let Some(test) = self.tests.last_mut()
        {
            test.lines.push(line.to_owned());
        }
    }

    /// The last lines of each failed test.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for FailedTest { heading, lines } in &self.tests {
            text += &format!("\n{heading}\n");
            let left_out = lines.len().saturating_sub(LINES_OF_A_TEST);
            if left_out > 0 {
                text +=
                    &format!("({left_out} lines are left out here, and are in the output above)\n");
            }
            text += lines[left_out..].join("\n").trim_end();
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_failed_tests_is_kept() {
        let script = "
            echo 'test a ... ok'
            printf '\\nfailures:\\n\\n---- b stdout ----\\nthread b panicked\\n'
            printf '\\n---- c stdout ----\\n'
            seq 100
            printf '\\n\\nfailures:\\n    b\\n    c\\n\\ntest result: FAILED. 1 passed\\n'
            exit 3";
        let mut failures = Failures::default();
        let result = failures.run(Command::new("sh").args(["-c", script]));
        assert!(result.is_err());
        let text = failures.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1..4], ["---- b stdout ----", "thread b panicked", ""]);
        assert_eq!(lines[4], "---- c stdout ----");
        // What is left out, and the last lines.
        assert_eq!(lines.last(), Some(&"100"));
        assert!(lines.len() <= 6 + LINES_OF_A_TEST, "{text}");
        assert!(!text.contains("test a") && !text.contains("test result"));
    }
}
