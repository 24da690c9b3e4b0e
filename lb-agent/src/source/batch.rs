//! The news of a source.

use std::time::Instant;

use crate::catalog::{Change, Problem};

/// The result of reading manifests for the first time.
#[derive(Debug, Default)]
pub struct Listing {
    pub changes: Vec<Change>,
    pub problems: Vec<Problem>,
    /// Everything was readable, so nothing is missing.
    pub is_complete: bool,
    /// The number of objects read.
    pub objects: usize,
    /// The number of files read.
    pub files: usize,
    /// The number of ignored objects of other kinds.
    pub skipped: usize,
}

/// The news of a source since the last batch.
#[derive(Debug, Default)]
pub struct Batch {
    pub changes: Vec<Change>,
    /// All current problems of the source, not only new ones.
    pub problems: Vec<Problem>,
    /// Every kind of object has been listed once: an object that the catalog does not have does not exist.
    pub has_listed: bool,
    /// Everything was readable, so nothing is missing.
    pub is_complete: bool,
    /// The time at which the first of the changes arrived. None if unknown.
    pub received: Option<Instant>,
}

impl Batch {
    /// Adds a later batch.
    pub fn append(&mut self, mut later: Self) {
        self.changes.append(&mut later.changes);
        *self = Self {
            changes: std::mem::take(&mut self.changes),
            received: self.received.or(later.received),
            ..later
        };
    }
}
