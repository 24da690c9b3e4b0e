//! Metrics of the pods of an agent that selects them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::tracker::{PodCounts, PodState};
use crate::metrics::set_number;

/// Metrics of pods; none if the agent does not select pods.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    pods: Family<StateLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl ClientMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "pods",
            "Pods on this node whose sockets are balanced (served), left alone (not_served, host_network by --host), or left alone until \
             their network namespace is found (not_found); only with --pods and the like",
            self.pods.clone(),
        );
    }

    pub fn update(&self, counts: PodCounts) {
        for state in PodState::ALL {
            let label = StateLabel {
                state: state.word(),
            };
            set_number(&self.pods.get_or_create(&label), counts.of(state));
        }
    }
}
