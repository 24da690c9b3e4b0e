//! Splits a file into documents, each read for itself: an error in one must not hide the others.

use serde_json::Value;

/// Something that could not be read as YAML or JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1.
    pub(super) line: u64,
    /// From 1; 0 when it is not known.
    pub(super) column: u64,
    pub(super) message: String,
}

/// A document and the line, from 1, of the first thing that it says.
pub(super) type Document = (u64, Result<Value, SyntaxError>);

/// The documents of a YAML file.
///
/// A line of `---` always ends a document, in whatever it stands, so no parser is needed to find the next one.
pub(super) fn yaml(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut start = (0, 1);
    let mut offset = 0;
    for (line_number, line) in (1..).zip(text.split_inclusive('\n')) {
        if is_separator(line) {
            push_yaml(&mut documents, start.1, &text[start.0..offset]);
            start = (offset, line_number);
        }
        offset += line.len();
    }
    push_yaml(&mut documents, start.1, &text[start.0..]);
    documents
}

/// The values of a JSON file, which may stand one after the other.
///
/// After an error nothing more can be read.
pub(super) fn json(text: &str) -> Vec<Document> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let mut documents = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let before = values.byte_offset();
        let Some(value) = values.next() else {
            return documents;
        };
        let start = text.len() - text[before..].trim_start().len();
        let lines = text[counted..start].matches('\n').count();
        line += u64::try_from(lines).unwrap_or(0);
        counted = start;
        let is_error = value.is_err();
        documents.push((line, value.map_err(|error| json_error(&error))));
        if is_error {
            return documents;
        }
    }
}

fn is_separator(line: &str) -> bool {
    let rest = line.strip_prefix("---");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn push_yaml(documents: &mut Vec<Document>, start: u64, text: &str) {
    let Some(blank) = text.lines().position(|line| !is_empty(line)) else {
        return;
    };
    let value = serde_saphyr::from_str_with_options(text, options(text.len()));
    let value = value.map_err(|error| {
        let error = error.without_snippet();
        let location = error.location();
        SyntaxError {
            line: location.map_or(start, |at| start - 1 + at.line()),
            column: location.map_or(0, |at| at.column()),
            message: one_line(&text_of(error)),
        }
    });
    let first = start + u64::try_from(blank).unwrap_or(0);
    documents.push((first, value));
}

/// A line that says nothing: blank, a comment, a directive or a separator.
fn is_empty(line: &str) -> bool {
    let line = line.trim_end();
    let said = line.trim_start();
    said.is_empty()
        || said.starts_with('#')
        || line.starts_with('%')
        || line == "---"
        || line == "..."
}

/// A dump of a large cluster is one document, so what a document may hold grows with its length in bytes: by itself it says
/// less than this, and its aliases may repeat that much.
fn options(length: usize) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: length.saturating_mul(8).saturating_add(4_096),
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: length.saturating_add(1_000),
        },
        with_snippet: false,
        emit_comments: false,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::AsString,
    }
}

fn json_error(error: &serde_json::Error) -> SyntaxError {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    SyntaxError {
        line: u64::try_from(error.line()).unwrap_or(0),
        column: u64::try_from(error.column()).unwrap_or(0),
        message: message[..end].to_owned(),
    }
}

fn text_of(mut error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    // Rendered, it would say in one breath where the anchor and the alias are.
    while let E::AliasError { error: inner, .. } = error {
        error = inner;
    }
    match error {
        E::Budget { .. }
        | E::AliasReplayCounterOverflow { .. }
        | E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => {
            "it is nested too deeply, or its aliases stand for too much".to_owned()
        }
        _ => error.render_with_formatter(&serde_saphyr::UserMessageFormatter),
    }
}

/// The message alone: where it was is said apart.
fn one_line(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let end = first.rfind(" at line ").unwrap_or(first.len());
    let start = first.find(": ").map_or(0, |at| at + 2);
    let is_prefixed = first.starts_with("line ") || first.starts_with("error: line ");
    let start = if is_prefixed && start < end { start } else { 0 };
    first[start..end].to_owned()
}
