//! Splits a file into documents and reads each separately: an error in one must not hide the others.
//!
//! The rules are those of kubectl's `YAMLOrJSONDecoder` (k8s.io/apimachinery/pkg/util/yaml): the start of the text decides
//! whether it is JSON, and the file's name does not. docs/decisions/0002-manifests.md compares the two.

use std::borrow::Cow;

use super::syntax_error::SyntaxError;
use super::tree::Tree;
use super::yaml;

/// A document, and the line, from 1, of its first content.
pub(super) type Document = (u64, Result<Tree, SyntaxError>);

/// Some editors put it before a text. It occurs within a text when such files are joined.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Returns the documents of a file.
pub(super) fn all(text: &str) -> Vec<Document> {
    if !text.trim_start().starts_with('{') {
        return yaml_documents(text, 1);
    }
    let (mut documents, rest) = json_documents(text);
    if let Some(rest) = rest {
        let mut more = yaml_documents(&text[rest.offset..], rest.line);
        // The text began as JSON, so the JSON reader's error fits better.
        if let Some((_, first @ Err(_))) = more.first_mut() {
            *first = Err(rest.error);
        }
        documents.extend(more);
    }
    documents
}

/// The rest of a text after its last JSON value.
struct Rest {
    /// In bytes.
    offset: usize,
    /// From 1.
    line: u64,
    /// The reason why it is not JSON.
    error: SyntaxError,
}

/// Returns the JSON values at the start of a text, one after the other.
fn json_documents(text: &str) -> (Vec<Document>, Option<Rest>) {
    let mut values = serde_json::Deserializer::from_str(text).into_iter();
    let mut documents = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let before = values.byte_offset();
        let Some(value) = values.next() else {
            return (documents, None);
        };
        let offset = text.len() - text[before..].trim_start().len();
        line += count_lines(&text[counted..offset]);
        counted = offset;
        match value {
            Ok(tree) => documents.push((line, Ok(tree))),
            Err(error) => {
                let error = json_error(&error);
                let rest = Rest {
                    offset,
                    line,
                    error,
                };
                return (documents, Some(rest));
            }
        }
    }
}

/// Returns the documents of a YAML text that begins in that line.
///
/// A line of `---` always ends a document, whatever surrounds it, so no parser is needed to find the next one.
fn yaml_documents(text: &str, first_line: u64) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut start = (0, first_line);
    let mut offset = 0;
    for (line_number, line) in (first_line..).zip(text.split_inclusive('\n')) {
        let end = offset + line.len();
        if let Some(rest) = after_separator(line) {
            push_yaml(&mut documents, start.1, &text[start.0..offset]);
            start = if is_nothing(rest) {
                (end, line_number + 1)
            } else {
                (offset, line_number)
            };
        }
        offset = end;
    }
    push_yaml(&mut documents, start.1, &text[start.0..]);
    documents
}

fn push_yaml(documents: &mut Vec<Document>, start: u64, text: &str) {
    let Some(blank) = text.lines().position(|line| !is_empty(line)) else {
        return;
    };
    let document = yaml::read(&without_marks(text), start);
    documents.push((start + line_number(blank), document.tree));
    if let Some(error) = document.error_after {
        documents.push((error.line, Err(error)));
    }
}

/// Removes the byte order marks at the start of a line. YAML 1.1, and so kubectl, allows them there.
fn without_marks(text: &str) -> Cow<'_, str> {
    if !text.contains(BYTE_ORDER_MARK) {
        return text.into();
    }
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| line.trim_start_matches(BYTE_ORDER_MARK))
        .collect()
}

/// Returns the rest of the line after a `---`.
fn after_separator(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(BYTE_ORDER_MARK);
    let rest = line.strip_prefix("---")?;
    let is_separator = rest.trim().is_empty() || rest.starts_with([' ', '\t']);
    is_separator.then_some(rest)
}

/// A line without content: blank, a comment, a directive or a separator.
fn is_empty(line: &str) -> bool {
    let line = line.trim_start_matches(BYTE_ORDER_MARK).trim_end();
    is_nothing(line) || line.starts_with('%') || line == "---" || line == "..."
}

/// Blank or a comment.
fn is_nothing(text: &str) -> bool {
    let trimmed = text.trim_start();
    trimmed.is_empty() || trimmed.starts_with('#')
}

fn count_lines(text: &str) -> u64 {
    line_number(text.matches('\n').count())
}

fn line_number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn json_error(error: &serde_json::Error) -> SyntaxError {
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    SyntaxError {
        line: line_number(error.line()),
        column: line_number(error.column()),
        message: message[..end].to_owned(),
    }
}
