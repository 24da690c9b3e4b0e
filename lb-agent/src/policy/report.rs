//! Collects the problems of the current object, and for an explanation everything that the rules leave out.

use super::skip::Skips;
use crate::catalog::{ObjectId, Problem};

/// Collects the problems of one object.
#[derive(Debug)]
pub(super) struct Report<'a> {
    object: ObjectId,
    problems: &'a mut Vec<Problem>,
    /// None: nobody asks for it.
    skips: Option<&'a mut Skips>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(object: ObjectId, problems: &'a mut Vec<Problem>) -> Self {
        Self {
            object,
            problems,
            skips: None,
        }
    }

    /// Also notes what is left out.
    pub(super) const fn with_skips(
        object: ObjectId,
        problems: &'a mut Vec<Problem>,
        skips: Option<&'a mut Skips>,
    ) -> Self {
        Self {
            object,
            problems,
            skips,
        }
    }

    pub(super) fn add(&mut self, message: impl Into<String>) {
        self.problems.push(Problem::of(&self.object, message));
    }

    /// Notes something that is left out, if anybody asks for it.
    pub(super) fn skip(&mut self, note: impl FnOnce(&mut Skips)) {
        if let Some(skips) = &mut self.skips {
            note(skips);
        }
    }
}
