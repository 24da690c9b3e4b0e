//! Metrics of outlier detection.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{set_number, set_total};

/// How often what has happened since the agent started.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutlierCounts {
    pub ejections: u64,
    pub failed_trials: u64,
    pub readmissions: u64,
}

#[derive(Debug, Default)]
pub struct OutlierMetrics {
    ejected: Gauge,
    ejections: Counter,
    failed_trials: Counter,
    readmissions: Counter,
    aborted: Counter,
}

impl OutlierMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "backends_ejected",
            "Backends that get no new connection because connects to them failed",
            self.ejected.clone(),
        );
        registry.register(
            "backend_ejections",
            "Backends that were ejected because connects to them failed",
            self.ejections.clone(),
        );
        registry.register(
            "backend_failed_trials",
            "Connects that tried an ejected backend and failed",
            self.failed_trials.clone(),
        );
        registry.register(
            "backend_readmissions",
            "Ejected backends that get connections again",
            self.readmissions.clone(),
        );
        registry.register(
            "connects_aborted",
            "Connects that were ended because they waited for an ejected backend",
            self.aborted.clone(),
        );
    }

    pub fn update(&self, ejected: usize, counts: OutlierCounts, aborted: u64) {
        set_number(&self.ejected, ejected);
        set_total(&self.ejections, counts.ejections);
        set_total(&self.failed_trials, counts.failed_trials);
        set_total(&self.readmissions, counts.readmissions);
        set_total(&self.aborted, aborted);
    }
}
