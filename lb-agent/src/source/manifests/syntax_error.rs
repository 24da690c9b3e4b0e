//! An error in the text of a file.

/// An error in a text that is neither valid YAML nor valid JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1.
    pub(super) line: u64,
    /// From 1; 0 if unknown.
    pub(super) column: u64,
    pub(super) message: String,
}
