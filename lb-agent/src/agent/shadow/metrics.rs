//! Metrics of shadow mode.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::metrics::set_total;

/// Metrics of shadow mode; without it there are no flows.
#[derive(Debug, Default)]
pub struct ShadowMetrics {
    flows: Family<ResultLabel, Counter>,
    overruns: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl ShadowMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "shadow_flows",
            "New connections and flows to Services that went where this agent would have sent them (same), or did not (different); \
             only with --shadow",
            self.flows.clone(),
        );
        registry.register(
            "shadow_overruns",
            "Times that new flows came faster than they could be compared; only with --shadow",
            self.overruns.clone(),
        );
    }

    pub fn update(&self, same: u64, different: u64, overruns: u64) {
        for (result, number) in [("same", same), ("different", different)] {
            set_total(&self.flows.get_or_create(&ResultLabel { result }), number);
        }
        set_total(&self.overruns, overruns);
    }
}
