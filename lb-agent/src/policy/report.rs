//! Collects the problems of the current object.

use crate::catalog::{ObjectId, Problem};

/// Collects the problems of one object.
#[derive(Debug)]
pub(super) struct Report<'a> {
    object: ObjectId,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(object: ObjectId, problems: &'a mut Vec<Problem>) -> Self {
        Self { object, problems }
    }

    pub(super) fn add(&mut self, message: impl Into<String>) {
        self.problems.push(Problem::of(&self.object, message));
    }
}
