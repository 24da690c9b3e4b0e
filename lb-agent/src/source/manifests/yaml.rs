//! Reads one YAML document, with the rules of kubectl's YAML library where the two differ.

use serde::Deserialize as _;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use super::syntax_error::SyntaxError;
use super::tree::Tree;

/// The result of reading a text.
pub(super) struct Read {
    pub(super) tree: Result<Tree, SyntaxError>,
    /// The first document ends before the text does. The error has the position of the unread rest.
    pub(super) error_after: Option<SyntaxError>,
}

/// Reads the first document of a text. `first_line` is the number, from 1, of the text's first line in its file.
///
/// kubectl also reads only the first one, and ignores the rest without a message.
pub(super) fn read(text: &str, first_line: u64) -> Read {
    let mut tree = None;
    let options = options(text.len());
    let end = serde_saphyr::with_deserializer_from_str_with_options(text, options, |document| {
        tree = Some(Tree::deserialize(document)?);
        Ok(())
    });
    let Err(error) = end else {
        return Read::whole(Ok(tree.unwrap_or_default()));
    };
    let exceeds_limits = exceeds_limits(&error);
    let error = syntax_error(&error, first_line);
    match tree {
        Some(tree) if !exceeds_limits => Read {
            tree: Ok(tree),
            error_after: Some(SyntaxError {
                message: "the document ends before this, and the rest is not read: begin a document with a line of ---"
                    .to_owned(),
                ..error
            }),
        },
        _ => Read::whole(Err(error)),
    }
}

impl Read {
    fn whole(tree: Result<Tree, SyntaxError>) -> Self {
        Self {
            tree,
            error_after: None,
        }
    }
}

/// A dump of a large cluster is one document, so the limits grow with the document's length in bytes. The document's own
/// content stays below them, and its aliases may repeat that much.
fn options(length: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: length.saturating_mul(8).saturating_add(4_096),
            // The schema of a CustomResourceDefinition can be deeper than the default of 64. serde_json has this limit too.
            max_depth: 128,
            // The limit below is sufficient.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: length.saturating_add(1_000),
        },
        // `Tree` receives every key, and does the merges.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        legacy_octal_numbers: true,
        with_snippet: false,
        emit_comments: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
    }
}

fn syntax_error(error: &serde_saphyr::Error, first_line: u64) -> SyntaxError {
    let error = error.without_snippet();
    let location = error.location();
    SyntaxError {
        line: location.map_or(first_line, |at| first_line - 1 + at.line()),
        column: location.map_or(0, |at| at.column()),
        message: one_line(&text_of(error)),
    }
}

fn text_of(error: &serde_saphyr::Error) -> String {
    if exceeds_limits(error) {
        return "it is nested too deeply, or its aliases expand to too much".to_owned();
    }
    cause(error).render_with_formatter(&serde_saphyr::UserMessageFormatter)
}

/// Whether the document exceeds a limit.
fn exceeds_limits(error: &serde_saphyr::Error) -> bool {
    use serde_saphyr::Error as E;
    matches!(
        cause(error),
        E::Budget { .. }
            | E::AliasReplayCounterOverflow { .. }
            | E::AliasReplayLimitExceeded { .. }
            | E::AliasExpansionLimitExceeded { .. }
            | E::AliasReplayStackDepthExceeded { .. }
    )
}

/// Returns the error inside an alias. The alias error's own text would combine the positions of the anchor and the alias.
fn cause(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    let mut error = error.without_snippet();
    while let serde_saphyr::Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    error
}

/// Returns the message without its position, which is reported separately.
fn one_line(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.rfind(" at line ").unwrap_or(first.len());
    let start = first.find(": ").map_or(0, |at| at + 2);
    let is_prefixed = first.starts_with("line ") || first.starts_with("error: line ");
    let start = if is_prefixed && start < end { start } else { 0 };
    first[start..end].to_owned()
}
