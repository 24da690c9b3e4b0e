//! Which sockets were ended, and whether any can be ended.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ability::Ability;
use crate::metrics::{set_bool, set_total};

/// The numbers of ended sockets since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndedCounts {
    pub udp: u64,
    pub tcp: u64,
    /// Sockets that the kernel did not end, and network namespaces that could not be searched.
    pub failures: u64,
}

/// Metrics of ended sockets.
#[derive(Debug, Default)]
pub struct SocketMetrics {
    terminated: Family<ProtocolLabel, Counter>,
    failures: Counter,
    available: Family<NamespacesLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabel {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespacesLabel {
    namespaces: &'static str,
}

impl SocketMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "sockets_terminated",
            "Sockets ended because their backend had stopped serving",
            self.terminated.clone(),
        );
        registry.register(
            "socket_termination_failures",
            "Sockets that could not be ended, and network namespaces that could not be searched",
            self.failures.clone(),
        );
        registry.register(
            "socket_termination_available",
            "1 if sockets can be ended in the agent's own network namespace, or in others",
            self.available.clone(),
        );
    }

    pub fn update(&self, ability: &Ability, counts: EndedCounts) {
        for (protocol, number) in [("udp", counts.udp), ("tcp", counts.tcp)] {
            let label = ProtocolLabel { protocol };
            set_total(&self.terminated.get_or_create(&label), number);
        }
        set_total(&self.failures, counts.failures);
        for (namespaces, is_available) in [
            ("own", ability.includes_own_namespace()),
            ("others", ability.includes_other_namespaces()),
        ] {
            let label = NamespacesLabel { namespaces };
            set_bool(&self.available.get_or_create(&label), is_available);
        }
    }
}
