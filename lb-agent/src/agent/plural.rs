//! Numbers of things in the log.

/// `1 file`, `2 files`.
pub fn many(number: usize, of: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {of}{s}")
}
