//! The last lines of each bench: whether a figure met its target.

/// A line that begins with `met` or `MISSED`.
pub(crate) fn verdict(what: &str, target: &str, is_met: bool) -> String {
    let word = if is_met { "met" } else { "MISSED" };
    format!("{word:6} {what} ({target})")
}
