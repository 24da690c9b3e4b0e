//! docs/reference.md, from the command line's own definitions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};
use clap_markdown::{MarkdownOptions, help_markdown_custom};
use lb_agent::cli::Cli;

/// Replaces clap_markdown's first sentence.
const INTRODUCTION: &str = "\
Flags, environment variables and exit codes are stable interfaces: [stability.md](stability.md). [install.md](install.md) shows
their use in a cluster.";

const ANNOTATIONS: &str = "
## Annotations

A change takes effect on a live Service, and loses no connection. A value that is not allowed is reported with the object's name, and the default is used.

| annotation | on | values | default | meaning |
| --- | --- | --- | --- | --- |
| `socklb.dev/algorithm` | Service | `random`, `least-conn`, `maglev`, `round-robin` | `--default-algorithm` | how a backend is chosen |
| `socklb.dev/outlier-detection` | Service | `\"true\"`, `\"false\"` | `\"true\"` with `--outlier-detection`, else `\"false\"` | avoid backends to which connects of this node fail: [outlier-detection.md](outlier-detection.md) |
| `socklb.dev/ignore` | Service | `\"true\"`, `\"false\"` | `\"false\"` | leave the Service to another program |
";

const VARIABLES: &str = "
## Environment variables

A flag on the command line takes precedence over its variable.

| variable | same as |
| --- | --- |
";

/// Each environment variable, with the flag that it sets.
fn variables(command: &Command, found: &mut BTreeMap<String, String>) {
    for argument in command.get_arguments() {
        if let (Some(variable), Some(flag)) = (argument.get_env(), argument.get_long()) {
            found.insert(variable.to_string_lossy().into_owned(), format!("--{flag}"));
        }
    }
    for command in command.get_subcommands() {
        variables(command, found);
    }
}

#[test]
fn the_reference_page_is_current() {
    let options = MarkdownOptions::new()
        .title("Reference".to_owned())
        .show_footer(false);
    let text = help_markdown_custom::<Cli>(&options);
    let generic =
        "This document contains the help content for the `lb-agent` command-line program.";
    assert!(text.contains(generic), "{text}");
    let text = text.replace(generic, INTRODUCTION);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    let mut page = format!("{}\n{ANNOTATIONS}{VARIABLES}", lines.join("\n"));
    let mut found = BTreeMap::new();
    variables(&Cli::command(), &mut found);
    assert!(!found.is_empty());
    for (variable, flag) in found {
        writeln!(page, "| `{variable}` | `{flag}` |").expect("a string takes it");
    }
    crate::check("reference.md", &page);
}
