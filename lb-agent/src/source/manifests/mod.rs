//! Manifests as a source. It stores the definitions of each file, and returns the differences when it reads the files again.
//!
//! `paths` finds the files, `file_text` reads and `encoding` decodes them. `document` splits them into documents, and `yaml`
//! and `tree` read one document. `parse` makes objects of them: `document_kind` finds their kinds, and `strict` checks their
//! types. `definitions` selects the file that counts for an object, `reader` compares, and `watch` decides when to check the files. A file that
//! becomes invalid keeps its previous objects: a typing error must not remove a Service.

mod definitions;
mod document;
mod document_kind;
mod encoding;
mod file_text;
mod parse;
mod paths;
mod reader;
mod strict;
mod syntax_error;
#[cfg(test)]
mod tests;
mod tree;
mod watch;
mod yaml;

pub use self::reader::{Manifests, OpenError};
