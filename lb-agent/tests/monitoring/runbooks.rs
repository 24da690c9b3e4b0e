//! docs/runbooks.md: a section for each alert, with commands that exist.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use lb_agent::cli::Cli;

use crate::alerts::alerts;
use crate::read;

const PAGE: &str = "docs/runbooks.md";

#[test]
fn every_alert_has_a_section() {
    let page = read(PAGE);
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    let headings: BTreeSet<&str> = headings.filter(|name| name.starts_with("Socklb")).collect();
    let alerts = alerts();
    let names = alerts.iter().map(|alert| alert.name.as_str());
    assert_eq!(headings, names.collect());
    for section in page.split("\n## Socklb").skip(1) {
        for part in ["**Meaning.**", "**Look.**", "**Do.**"] {
            assert!(section.contains(part), "no {part} in Socklb{section}");
        }
    }
}

#[test]
fn the_commands_and_flags_exist() {
    let cli = Cli::command();
    let commands: BTreeSet<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let flags = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let flags: BTreeSet<&str> = flags.filter_map(clap::Arg::get_long).collect();
    let page = read(PAGE);
    let word = |text: &str| -> String {
        let kept = text
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-');
        kept.collect()
    };
    let mut found = 0;
    for after in page.split("lb-agent ").skip(1) {
        found += 1;
        let command = word(after);
        assert!(commands.contains(command.as_str()), "lb-agent {command}");
    }
    assert!(found > 10, "{found}");
    // Flags of other programs have a space before them in their command; ours are written alone.
    for after in page.split("`--").skip(1) {
        let flag = word(after);
        assert!(flags.contains(flag.as_str()), "--{flag}");
    }
}
