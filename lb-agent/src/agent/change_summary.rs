//! Summarizes applied changes in one log line at a time, since a rolling update causes hundreds.

use std::time::{Duration, Instant};

/// How often to log the changes, if there are any.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

/// The changes since the last line.
#[derive(Debug, Default)]
pub struct Changes {
    /// When the first of them was applied.
    since: Option<Instant>,
    objects: usize,
    updates: usize,
    slowest: Duration,
}

impl Changes {
    /// Counts changed objects that are in effect now, and the time it took to apply them.
    pub fn count(&mut self, objects: usize, took: Duration) {
        tracing::debug!(
            event = "changes.applied",
            objects,
            elapsed_seconds = took.as_secs_f64(),
            "changes are in effect",
        );
        self.since.get_or_insert_with(Instant::now);
        self.objects += objects;
        self.updates += 1;
        self.slowest = self.slowest.max(took);
    }

    /// Logs the changes if a line is due. Call it regularly.
    pub fn log_if_due(&mut self) {
        if self
            .since
            .is_some_and(|at| at.elapsed() >= SUMMARY_INTERVAL)
        {
            self.log_summary();
        }
    }

    /// Logs the changes, if there are any.
    pub fn log_summary(&mut self) {
        let Self {
            since: Some(since),
            objects,
            updates,
            slowest,
        } = std::mem::take(self)
        else {
            return;
        };
        tracing::info!(
            event = "changes.summarized",
            objects,
            updates,
            period_seconds = since.elapsed().as_secs_f64(),
            slowest_seconds = slowest.as_secs_f64(),
            "changes came into effect since the last summary",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_returns_the_sum_and_resets_it() {
        let mut changes = Changes::default();
        changes.count(3, Duration::from_micros(80));
        changes.count(1, Duration::from_micros(20));
        changes.log_if_due();
        assert_eq!((changes.objects, changes.updates), (4, 2));
        assert_eq!(changes.slowest, Duration::from_micros(80));
        changes.since = Instant::now().checked_sub(SUMMARY_INTERVAL);
        assert!(changes.since.is_some());
        changes.log_if_due();
        assert!(changes.since.is_none());
        assert_eq!((changes.objects, changes.updates), (0, 0));
    }
}
