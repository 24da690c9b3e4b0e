//! Shadow mode: the hooks choose and count, and change nothing. The agent compares where kube-proxy's connections go, by their
//! new conntrack entries, with where they would have gone.

mod announce;
mod clients;
mod comparison;
mod expected;
mod listener;
mod metrics;
mod records;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use self::announce::log_difference;
use self::clients::Clients;
use self::comparison::Comparison;
use self::listener::Shared;
pub use self::metrics::ShadowMetrics;
use self::records::{Difference, PortId, Record};
use super::engine::Engine;
use crate::policy::Masquerading;
use crate::serve::{FlowDifference, ShadowReport, ShadowStatus, ShadowedPort};
use crate::tables::Backing;

/// The comparison of a running agent.
#[derive(Debug)]
pub struct Shadow {
    tolerance: Duration,
    /// `--cluster-cidr`.
    pods: Vec<IpNet>,
    shared: Arc<Shared>,
    /// Why the thread does not run.
    error: Option<String>,
}

impl Shadow {
    /// Begins to compare, in the network namespace of the caller.
    ///
    /// `tolerance`: the longest time between the moments at which the two sides see a change of endpoints. `packets`: the settings
    /// that the packet path would have.
    pub fn start(tolerance: Duration, packets: Option<&Masquerading>) -> Self {
        let shared = Arc::new(Shared::new(Comparison::new(tolerance)));
        tracing::info!(
            event = "shadow.started",
            has_packet_path = packets.is_some(),
            tolerance_seconds = tolerance.as_secs_f64(),
            "shadow mode: hooks choose and count, nothing is translated, and the packet path stays off",
        );
        let error = listener::start(&shared).err();
        Self {
            tolerance,
            pods: packets.map_or_else(Vec::new, |of| of.cluster_cidrs.clone()),
            shared,
            error: error.map(|error| error.to_string()),
        }
    }

    /// Takes what has changed in the policy since the last call, judges what has waited, and logs new differences.
    pub fn update<B: Backing>(&mut self, engine: &mut Engine<B>) {
        let (changed, removed) = engine.changed_ports.take();
        let now = Instant::now();
        let mut comparison = self.shared.comparison();
        comparison.set_clients(Clients {
            node: engine.node_ports().addresses.clone(),
            pods: self.pods.clone(),
        });
        comparison.set_service_cidrs(engine.policy().refuse_unknown_in());
        comparison.update(&changed, &removed, now);
        let first = comparison.tick(now);
        drop(comparison);
        for (port, difference) in first {
            log_difference(&port, &difference);
        }
    }

    pub fn status(&self) -> ShadowStatus {
        let comparison = self.shared.comparison();
        let records = comparison.records();
        let differing: BTreeSet<_> = records
            .ports()
            .filter(|(_, record)| record.different > 0)
            .map(|(port, _)| (&port.namespace, &port.name))
            .collect();
        ShadowStatus {
            flows: records.same() + records.different(),
            different: records.different(),
            different_services: differing.len(),
            waiting: comparison.waiting(),
            overruns: self.shared.overruns(),
            trouble: self.trouble(),
        }
    }

    pub fn report(&self) -> ShadowReport {
        let status = self.status();
        let comparison = self.shared.comparison();
        let ports = comparison.records().ports();
        ShadowReport {
            tolerance_seconds: self.tolerance.as_secs_f64(),
            status,
            ports: ports.map(|(port, record)| port_of(port, record)).collect(),
        }
    }

    pub fn update_metrics(&self, metrics: &ShadowMetrics) {
        let comparison = self.shared.comparison();
        let records = comparison.records();
        metrics.update(records.same(), records.different(), self.shared.overruns());
    }

    fn trouble(&self) -> Option<String> {
        self.error.clone().or_else(|| self.shared.trouble())
    }
}

fn port_of(port: &PortId, record: &Record) -> ShadowedPort {
    ShadowedPort {
        namespace: port.namespace.to_string(),
        name: port.name.to_string(),
        port: port.port.to_string(),
        protocol: port.protocol.to_string(),
        flows: record.same + record.different,
        different: record.different,
        first_difference: record.first.as_ref().map(difference_of),
        last_difference: record.last.as_ref().map(difference_of),
    }
}

fn difference_of(of: &Difference) -> FlowDifference {
    FlowDifference {
        time: of.time,
        kind: of.kind.word().to_owned(),
        client: of.client.to_string(),
        frontend: of.frontend.to_string(),
        endpoint: of.endpoint.to_string(),
        backends: of.backends.iter().map(ToString::to_string).collect(),
        backend_count: of.backend_count,
    }
}
