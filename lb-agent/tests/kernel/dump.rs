//! `lb-agent dump` reads the pinned tables, with an agent and without.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use lb_testbed::sandboxed;

use crate::support::{Web, answers, unload};

fn dump(web: &Web) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_lb-agent"))
        .arg("dump")
        .arg("--pin-dir")
        .arg(web.agent.pin_dir())
        .output()?)
}

fn text(web: &Web) -> Result<String> {
    let output = dump(web)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{error}");
    ensure!(error.is_empty(), "{error}");
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn the_tables_are_shown_with_and_without_an_agent() {
    sandboxed(|sandbox| {
        let mut web = Web::start(sandbox, 2, 2)?;
        let before = text(&web)?;
        let lines_with = |text: &str, part: &str| {
            let found = text.lines().filter(|line| line.contains(part));
            found.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lines_with(&before, &Web::ADDRESS.to_string()).len(), 1);
        assert_eq!(lines_with(&before, "  backend ").len(), 2);
        for address in web.servers.ipv4() {
            let line = lines_with(&before, &format!("  {address}:"));
            assert_eq!(line.len(), 1, "{before}");
        }
        assert_eq!(lines_with(&before, "guard  ").len(), 1);

        answers(&web.client, Web::ADDRESS, 10)?;
        let counted: u64 = lines_with(&text(&web)?, " connections")
            .iter()
            .filter_map(|line| {
                line.split(", ")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
            .sum();
        assert_eq!(counted, 10);

        web.running.kill()?;
        let after = text(&web)?;
        let rows = |text: &str| lines_with(text, "frontend ");
        assert_eq!(rows(&after), rows(&before));

        unload(&web.agent)?;
        let output = dump(&web)?;
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let folder = web.agent.pin_dir().display().to_string();
        ensure!(error.contains(&folder), "{error}");
        ensure!(output.stdout.is_empty());
        Ok(())
    });
}
