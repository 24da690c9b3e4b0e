//! docs/reference.md, from the command line's own definitions.

use clap_markdown::{MarkdownOptions, help_markdown_custom};
use lb_agent::cli::Cli;

#[test]
fn the_page_has_every_flag() {
    let options = MarkdownOptions::new()
        .title("Command-line reference".to_owned())
        .show_footer(false);
    let text = help_markdown_custom::<Cli>(&options);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    crate::check("reference.md", &format!("{}\n", lines.join("\n")));
}
