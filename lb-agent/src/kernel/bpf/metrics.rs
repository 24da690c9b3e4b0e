//! The calls that the programs have refused.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::stats::Refusals;
use crate::metrics::set_total;

/// Metrics of refused calls.
#[derive(Debug, Default)]
pub struct RefusalMetrics {
    refused: Family<ReasonLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl RefusalMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "refused_calls",
            "Calls refused with ECONNREFUSED because there was nothing to connect to",
            self.refused.clone(),
        );
    }

    pub fn update(&self, refusals: Refusals) {
        for (reason, number) in [
            ("no_backend", refusals.no_backend),
            ("unknown_port", refusals.unknown_port),
            ("unknown_address", refusals.unknown_address),
        ] {
            set_total(&self.refused.get_or_create(&ReasonLabel { reason }), number);
        }
    }
}
