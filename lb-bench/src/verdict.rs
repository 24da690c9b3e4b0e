//! What all benches say in the end: whether they met what is aimed at, and their figures as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// A line that begins with the verdict.
pub(crate) fn verdict(what: &str, aim: &str, is_met: bool) -> String {
    let word = if is_met { "met" } else { "MISSED" };
    format!("{word:6} {what} ({aim})")
}

/// The figures, usually as a list.
pub(crate) fn write_json(path: &Path, figures: &(impl Serialize + ?Sized)) -> Result<()> {
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
