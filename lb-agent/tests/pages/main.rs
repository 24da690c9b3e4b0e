//! Pages of docs/ that are made from the code: they are what the code says.

mod metrics;
mod reference;

use std::{env, fs, path::Path};

/// Compares a page with what it should be, or writes it with `UPDATE_GOLDEN=1`.
///
/// `body`: without the note on top.
fn check(name: &str, body: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    let update = "UPDATE_GOLDEN=1 cargo test -p lb-agent --test pages";
    let wanted = format!("<!-- Made from the code: `{update}` rewrites it. -->\n\n{body}");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &wanted).expect("docs/ can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{name} is not what the code says: run {update}"
    );
}
