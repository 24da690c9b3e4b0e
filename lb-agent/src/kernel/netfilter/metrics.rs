//! What the rules count. Only the first packet of a connection or flow reaches those that apply a verdict.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::counters::Counters;
use crate::metrics::set_total;

/// Metrics of the packet path. They begin anew when a chain of rules had to be repaired.
#[derive(Debug, Default)]
pub struct PacketMetrics {
    connections: Family<FamilyLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    invalid: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    family: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl PacketMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "packet_connections",
            "TCP connections and UDP flows that the packet path has sent to a backend",
            self.connections.clone(),
        );
        registry.register(
            "packet_connections_refused",
            "TCP connections and UDP flows that the packet path has rejected or dropped",
            self.refused.clone(),
        );
        registry.register(
            "packets_invalid",
            "Forwarded TCP packets that conntrack calls invalid, which were dropped",
            self.invalid.clone(),
        );
    }

    pub fn update(&self, counters: Counters) {
        for (family, number) in [
            ("IPv4", counters.connections_ipv4),
            ("IPv6", counters.connections_ipv6),
        ] {
            let label = FamilyLabel { family };
            set_total(&self.connections.get_or_create(&label), number);
        }
        for (reason, number) in [
            ("no_backend", counters.rejected),
            ("no_local_backend", counters.dropped_local),
            ("source_range", counters.dropped_out_of_range),
            ("no_nat", counters.dropped_without_backend),
        ] {
            set_total(&self.refused.get_or_create(&ReasonLabel { reason }), number);
        }
        set_total(&self.invalid, counters.invalid);
    }
}
