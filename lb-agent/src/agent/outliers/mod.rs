//! Outlier detection: backends to which connects of this node fail get no more of them for a time.
//!
//! Programs count the failures ([`lb_common::outlier`]), [`Ejector`] decides, and programs pass ejected backends over and try them
//! again.

mod ejector;
mod metrics;

use self::ejector::Ejector;
pub use self::ejector::{Decision, Outcome};
pub use self::metrics::{OutlierCounts, OutlierMetrics};
use super::clock::monotonic;
use crate::kernel::{FailureHookError, FailureHooks, Maps};
use crate::serve::OutlierStatus;
use crate::tables::Ejections;

/// Outlier detection of a running agent.
#[derive(Debug)]
pub struct Outliers {
    hooks: FailureHooks,
    ejector: Ejector,
    /// The tables may contain the first backend to watch, or no longer any.
    is_stale: bool,
    error: Option<FailureHookError>,
    counts: OutlierCounts,
}

impl Outliers {
    /// `failures`: how many connects to a backend must fail in a row.
    pub fn new(hooks: FailureHooks, failures: u32, tables: &Ejections<'_, Maps>) -> Self {
        let mut ejector = Ejector::new(failures);
        ejector.adopt(tables, monotonic());
        Self {
            hooks,
            ejector,
            is_stale: true,
            error: None,
            counts: OutlierCounts::default(),
        }
    }

    /// Service ports have changed.
    pub const fn note_changes(&mut self) {
        self.is_stale = true;
    }

    /// Attaches the programs if a backend is to be watched, or detaches them.
    pub fn attach(&mut self, tables: &Ejections<'_, Maps>) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        if !tables.has_watched() {
            self.hooks.detach();
            self.error = None;
        } else if !self.hooks.is_attached()
            && let Err(error) = self.hooks.attach()
        {
            if self.error.is_none() {
                tracing::warn!(
                    event = "outliers.not_possible",
                    %error,
                    "cannot notice failed connects: no backend will be ejected",
                );
            }
            self.error = Some(error);
        } else {
            self.error = None;
        }
    }

    /// `aborted`: the connects that were ended.
    #[must_use]
    pub fn status(&self, aborted: u64) -> OutlierStatus {
        OutlierStatus {
            is_on: self.hooks.is_attached(),
            error: self.error.as_ref().map(ToString::to_string),
            ejected: self.ejector.ejected(),
            ejections: self.counts.ejections,
            failed_trials: self.counts.failed_trials,
            readmissions: self.counts.readmissions,
            aborted,
        }
    }

    pub fn update(&self, metrics: &OutlierMetrics, aborted: u64) {
        metrics.update(self.ejector.ejected(), self.counts, aborted);
    }

    /// A connect to this backend has failed.
    pub fn suspect(
        &mut self,
        tables: &mut Ejections<'_, Maps>,
        service_port: u32,
        backend: u32,
    ) -> Vec<Decision> {
        let decisions = self
            .ejector
            .suspect(tables, service_port, backend, monotonic());
        self.count(&decisions);
        decisions
    }

    /// The work of each second.
    pub fn tick(&mut self, tables: &mut Ejections<'_, Maps>) -> Vec<Decision> {
        self.attach(tables);
        let decisions = self.ejector.tick(tables, monotonic());
        self.count(&decisions);
        decisions
    }

    fn count(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            match decision.outcome {
                Outcome::Ejected { .. } => self.counts.ejections += 1,
                Outcome::TrialFailed { .. } => self.counts.failed_trials += 1,
                Outcome::Readmitted(_) => self.counts.readmissions += 1,
            }
        }
    }
}
