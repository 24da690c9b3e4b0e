//! What does not work of the packet path now. Each error is logged once, and again when it is over.

use std::collections::BTreeSet;

/// The current errors.
#[derive(Debug, Default)]
pub struct Errors(BTreeSet<String>);

impl Errors {
    /// Replaces the errors, and logs new ones and those that are over.
    pub fn update(&mut self, now: BTreeSet<String>) {
        for error in now.difference(&self.0) {
            tracing::error!(
                event = "packet_path.failed",
                error,
                "a part of the packet path does not work; sockets are served",
            );
        }
        for error in self.0.difference(&now) {
            tracing::info!(
                event = "packet_path.recovered",
                error,
                "an error of the packet path is over",
            );
        }
        self.0 = now;
    }

    pub fn all(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}
