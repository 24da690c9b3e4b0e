//! docs/reference.md is what the command line's own definitions say.

use std::{env, fs, path::Path};

use clap_markdown::{MarkdownOptions, help_markdown_custom};
use lb_agent::cli::Cli;

const NOTE: &str = "\
<!-- Made from lb-agent's own definitions: `UPDATE_GOLDEN=1 cargo test -p lb-agent --test reference` writes it anew. -->\n\n";

#[test]
fn the_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let options = MarkdownOptions::new()
        .title("Command-line reference".to_owned())
        .show_footer(false);
    let text = help_markdown_custom::<Cli>(&options);
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    let wanted = format!("{NOTE}{}\n", lines.join("\n"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &wanted).expect("docs/ can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/reference.md is not what the flags say: run UPDATE_GOLDEN=1 cargo test -p lb-agent --test reference"
    );
}
