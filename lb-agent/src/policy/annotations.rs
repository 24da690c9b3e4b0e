//! Annotations below `socklb.dev/` that mean nothing: misspelled, or on an object of another kind.

use super::report::Report;
use crate::catalog::{Annotations, Kind};

/// Reports each of them.
pub(super) fn report_meaningless(annotations: &Annotations, kind: Kind, report: &mut Report<'_>) {
    for name in annotations.meaningless_on(kind) {
        let known: Vec<&str> = Annotations::of_kind(kind).collect();
        report.add(format!(
            "annotation {name} means nothing on a {kind}, which may have {}; it is ignored",
            known.join(", ")
        ));
    }
}
