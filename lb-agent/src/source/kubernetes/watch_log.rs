//! The log events of a failing watch, and of its recovery.

use std::time::Instant;

use crate::catalog::Kind;

/// The API server does not offer an optional kind. `is_again`: this was logged before.
pub fn absent(kind: Kind, error: &str, is_again: bool) {
    if is_again {
        tracing::debug!(
            event = "source.kind_still_absent",
            %kind,
            error,
            "the API server still does not offer an optional kind",
        );
    } else {
        tracing::info!(
            event = "source.kind_absent",
            %kind,
            error,
            "the API server does not offer an optional kind",
        );
    }
}

/// The API server does not stream lists.
pub fn lists_in_pages(kind: Kind, error: &str) {
    tracing::info!(
        event = "source.lists_in_pages",
        %kind,
        error,
        "the API server does not stream lists: listing in pages",
    );
}

/// A watch has failed. `is_again`: this was logged before, and the watch has not recovered since.
pub fn failed(kind: Kind, error: &str, is_again: bool) {
    if is_again {
        tracing::debug!(
            event = "source.failed_again",
            %kind,
            error,
            "the API server still does not send changes",
        );
    } else {
        tracing::warn!(
            event = "source.failed",
            %kind,
            error,
            "the API server does not send changes: the known objects stay in effect",
        );
    }
}

/// A watch that had failed since then has recovered.
pub fn recovered(kind: Kind, since: Instant) {
    tracing::info!(
        event = "source.recovered",
        %kind,
        elapsed_seconds = since.elapsed().as_secs_f64(),
        "the API server sends changes again",
    );
}
