//! `lb-agent services`: the Services that are balanced, with the sums of their backends' counters.

use std::net::IpAddr;
use std::sync::Arc;

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
        Column::new("NAMESPACE", |service| service.namespace.to_string()),
        Column::new("NAME", |service| service.name.to_string()),
        Column::new("TYPE", |service| service.service_type.to_string()),
        Column::new("CLUSTER-IP", |service| {
            table::or_none(Some(&addresses(&service.cluster_ips).join(",")))
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
        Column::wide("DRAIN", |service| {
            table::or_none(
                service
                    .drain_seconds
                    .map(|seconds| format!("{seconds}s"))
                    .as_deref(),
            )
        }),
        Column::wide("INTERNAL-POLICY", |service| {
            service.internal_traffic_policy.to_string()
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
    type Key = [Arc<str>; 2];

    fn key(&self) -> Self::Key {
        [Arc::clone(&self.namespace), Arc::clone(&self.name)]
    }
}

/// A quantile of the round-trip times, which need `--latency`.
fn round_trip(service: &ServiceStatus, part: f64) -> String {
    let times = service.round_trips.as_ref();
    let quantile = times.and_then(|times| times.quantile(part));
    table::or_none(Some(&milliseconds(quantile)))
}

pub(super) fn addresses(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// Formats ports as `kubectl get services` does: `80:30080/TCP,53/UDP`.
pub(super) fn ports(ports: &[PortStatus]) -> String {
    let cells = ports.iter().map(|port| match port.node_port {
        Some(node_port) => format!("{}:{node_port}/{}", port.port, port.protocol),
        None => format!("{}/{}", port.port, port.protocol),
    });
    cells.collect::<Vec<_>>().join(",")
}
