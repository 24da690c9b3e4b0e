//! Checks house rules that neither rustfmt nor clippy checks.

mod circles;
mod floors;
mod imports;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::versions;

/// A longer file has more than one subject. Look for a way to split a file from 300 lines on.
const MOST_LINES: usize = 400;

/// Extensions of the files that are checked for trailing whitespace.
const TEXT: &[&str] = &["json", "md", "rs", "sh", "toml", "yaml", "yml"];

/// Checks every file below the workspace's root.
///
/// # Errors
/// If a file breaks a rule; every such line has been printed.
pub(crate) fn check(root: &Path) -> Result<()> {
    let files = files(root)?;
    let mut complaints = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root)?.display().to_string();
        complaints.extend(complaints_about(&name, &text));
    }
    for house in floors::HOUSES {
        complaints.extend(house.check(root, &files)?);
    }
    complaints.extend(circles::check(root, &files)?);
    complaints.extend(versions::complaints(root)?);
    if complaints.is_empty() {
        println!("{} files follow the house rules", files.len());
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    bail!("{} violations of the house rules", complaints.len());
}

fn complaints_about(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_rust = name.ends_with(".rs");
    if is_rust && !text.starts_with("//!") {
        found.push(format!(
            "{name}:1: begin with a `//!` line that says why the file exists"
        ));
    }
    let lines = text.lines().count();
    if is_rust && MOST_LINES < lines {
        found.push(format!(
            "{name}: {lines} lines, more than {MOST_LINES}: split it"
        ));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let mut complain = |what: &str| found.push(format!("{name}:{number}: {what}"));
        if line.ends_with([' ', '\t']) {
            complain("trailing whitespace");
        }
        if is_rust && line.contains('\t') {
            complain("tab");
        }
        if is_rust && line.trim_start().starts_with("#[ignore]") {
            complain("#[ignore] without a reason: write #[ignore = \"why\"]");
        }
    }
    found
}

/// All text files below a folder, sorted; without hidden folders except `.cargo`, `.ci` and `.github`, and without build folders.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() && is_ours(&path) {
            found.extend(files(&path)?);
        } else if kind.is_file() && is_text(&path) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_ours(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let is_hidden = name.starts_with('.') && ![".cargo", ".ci", ".github"].contains(&&*name);
    !is_hidden && !folder.join("CACHEDIR.TAG").exists()
}

fn is_text(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    file.ends_with(".ci/run") || extension.is_some_and(|extension| TEXT.contains(&extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_has_no_complaints() {
        let text = "//! Why.\n\n#[ignore = \"slow\"]\nfn f() {}\n";
        assert_eq!(complaints_about("a.rs", text), Vec::<String>::new());
    }

    #[test]
    fn each_violation_has_its_line() {
        let text = "fn f() {}  \n\tg();\n    #[ignore]\n";
        let found = complaints_about("a.rs", text);
        let places: Vec<&str> = found
            .iter()
            .filter_map(|complaint| complaint.split(' ').next())
            .collect();
        assert_eq!(places, ["a.rs:1:", "a.rs:1:", "a.rs:2:", "a.rs:3:"]);
    }

    #[test]
    fn lines_are_counted() {
        let text = format!("//! Why.\n{}", "\n".repeat(MOST_LINES));
        assert_eq!(complaints_about("a.rs", &text).len(), 1);
        assert_eq!(complaints_about("a.md", &text).len(), 0);
    }
}
