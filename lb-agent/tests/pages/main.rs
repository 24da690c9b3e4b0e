//! Generated pages and plots in docs/, made from the code and from the figures in docs/figures; links in all pages.

mod events;
mod figures;
mod links;
mod metrics;
mod reference;

use std::path::Path;
use std::{env, fs};

const UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p lb-agent --test pages";

/// Compares a page that is generated from the code with the file in docs/, or writes it with `UPDATE_GOLDEN=1`.
///
/// `body`: without the note at the top.
fn check(name: &str, body: &str) {
    let note = format!("<!-- Made from the code: `{UPDATE}` rewrites it. -->");
    compare(name, &format!("{note}\n\n{body}"));
}

/// Compares a file in docs/ with what it should contain, or writes it with `UPDATE_GOLDEN=1`.
fn compare(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, wanted).expect("docs/ can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/{name} is out of date: run {UPDATE}");
}
