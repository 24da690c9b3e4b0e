//! `lb-agent services`: the Services that are balanced, with the sums of their backends' counters.

use super::listing::{self, Column, Listed, Listing};
use super::round_trips::milliseconds;
use super::runtime::block_on;
use super::table;
use crate::serve::{self, PortStatus, ServiceStatus};

/// Lists the Services of the agent.
///
/// # Errors
/// No agent listens there, or stdout cannot be written.
pub fn services(listing: &Listing) -> anyhow::Result<()> {
    let path = listing.selection.of(serve::SERVICES);
    block_on(listing::list(listing, async || {
        let services: Vec<ServiceStatus> = serve::fetch(&listing.socket, &path).await?;
        Ok(services)
    }))
}

impl Listed for ServiceStatus {
    const KIND: &'static str = "Services";

    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", |service| service.namespace.clone()),
        Column::new("NAME", |service| service.name.clone()),
        Column::new("TYPE", |service| service.service_type.clone()),
        Column::new("CLUSTER-IP", |service| {
            table::or_none(Some(&service.cluster_ips.join(",")))
        }),
        Column::new("PORT(S)", |service| {
            table::or_none(Some(&ports(&service.ports)))
        }),
        Column::new("ALGORITHM", |service| {
            table::or_none(service.algorithm.as_deref())
        }),
        Column::new("BACKENDS", |service| {
            format!("{}/{}", service.backends.used, service.backends.total)
        }),
        Column::new("CONNECTIONS", |service| service.connections.to_string()),
        Column::new("ACTIVE", |service| service.active.to_string()),
        Column::new("PROBLEMS", |service| service.problems.len().to_string()),
        Column::wide("AFFINITY", |service| {
            table::or_none(
                service
                    .affinity_seconds
                    .map(|seconds| format!("{seconds}s"))
                    .as_deref(),
            )
        }),
        Column::wide("INTERNAL-POLICY", |service| {
            service.internal_traffic_policy.clone()
        }),
        Column::wide("EXTERNAL-POLICY", |service| {
            table::or_none(service.external_traffic_policy.as_deref())
        }),
        Column::wide("REFUSED", |service| service.refused.to_string()),
        Column::wide("FAILED", |service| service.failed.to_string()),
        Column::wide("RTT-P50", |service| round_trip(service, 0.50)),
        Column::wide("RTT-P99", |service| round_trip(service, 0.99)),
        Column::wide("FRONTENDS", |service| service.frontends.to_string()),
        Column::wide("SERVING", |service| service.backends.serving.to_string()),
    ];

    /// Namespace and name.
    type Key = [String; 2];

    fn key(&self) -> Self::Key {
        [self.namespace.clone(), self.name.clone()]
    }
}

/// A quantile of the round-trip times, which need `--latency`.
fn round_trip(service: &ServiceStatus, part: f64) -> String {
    let times = service.round_trips.as_ref();
    let quantile = times.and_then(|times| times.quantile(part));
    table::or_none(Some(&milliseconds(quantile)))
}

/// Formats ports as `kubectl get services` does: `80:30080/TCP,53/UDP`.
pub(super) fn ports(ports: &[PortStatus]) -> String {
    let cells = ports.iter().map(|port| match port.node_port {
        Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
        None => format!("{}/{}", port.port, port.protocol),
    });
    cells.collect::<Vec<_>>().join(",")
}
