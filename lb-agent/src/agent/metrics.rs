//! All metrics of an agent: its own, and those of the modules that it connects.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::clients::ClientMetrics;
use super::drains::DrainMetrics;
use super::drift::DriftMetrics;
use super::kube_proxy_metrics::KubeProxyMetrics;
use super::outliers::OutlierMetrics;
use super::service_metrics::ServiceMetrics;
use super::shadow::ShadowMetrics;
use crate::catalog::CatalogMetrics;
use crate::duties::DutyMetrics;
use crate::kernel::{PacketMetrics, RefusalMetrics};
use crate::metrics::timestamp;
use crate::serve::Metrics;
use crate::sockets::SocketMetrics;
use crate::source::kubernetes::WatchMetrics;
use crate::tables::TableMetrics;

/// What kube-proxy's names begin with.
const KUBE_PROXY: &str = "kubeproxy";

/// All metrics of an agent.
#[derive(Debug, Default)]
pub struct AgentMetrics {
    pub ready: Gauge,
    pub problems: Gauge,
    pub service_ports_refused: Gauge,
    pub sync: SyncMetrics,
    pub catalog: CatalogMetrics,
    pub tables: TableMetrics,
    pub refusals: RefusalMetrics,
    pub packets: PacketMetrics,
    pub packet_path_errors: Gauge,
    pub duties: DutyMetrics,
    pub sockets: SocketMetrics,
    pub drains: DrainMetrics,
    pub outliers: OutlierMetrics,
    pub drift: DriftMetrics,
    pub clients: ClientMetrics,
    pub shadow: ShadowMetrics,
    pub watches: WatchMetrics,
    pub services: ServiceMetrics,
    /// Those with kube-proxy's names, if they are wanted.
    pub kube_proxy: Option<KubeProxyMetrics>,
}

impl AgentMetrics {
    /// A registry with all of them.
    #[must_use]
    pub fn registered(&self) -> Metrics {
        let metrics = Metrics::new(|registry| self.register(registry));
        let Some(kube_proxy) = &self.kube_proxy else {
            return metrics;
        };
        metrics.with(KUBE_PROXY, |registry| {
            kube_proxy.register(registry);
            self.duties.register_for_kube_proxy(registry);
        })
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "ready",
            "1 if what the source contains is in effect",
            self.ready.clone(),
        );
        registry.register(
            "problems",
            "Objects that could not be used, or only in part; status lists them",
            self.problems.clone(),
        );
        registry.register(
            "service_ports_refused",
            "Service ports that do not fit into the tables, or only in part",
            self.service_ports_refused.clone(),
        );
        self.catalog.register(registry);
        self.tables.register(registry);
        self.refusals.register(registry);
        self.packets.register(registry);
        registry.register(
            "packet_path_errors",
            "Errors of the packet path that hold now; status lists them",
            self.packet_path_errors.clone(),
        );
        self.duties.register(registry);
        self.sockets.register(registry);
        self.drains.register(registry);
        self.outliers.register(registry);
        self.drift.register(registry);
        self.clients.register(registry);
        self.shadow.register(registry);
        self.watches.register(registry);
        self.sync.register(registry);
        self.services.register(registry);
    }
}

/// How long it takes to apply changes.
#[derive(Debug)]
pub struct SyncMetrics {
    duration: Histogram,
    last: Gauge<f64, AtomicU64>,
}

impl Default for SyncMetrics {
    fn default() -> Self {
        Self {
            // The buckets go from 10 µs to 5 s.
            duration: Histogram::new(exponential_buckets(0.000_01, 2.0, 20)),
            last: Gauge::default(),
        }
    }
}

impl SyncMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "sync_duration",
            "Time from the arrival of changes until they are in effect",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "sync_timestamp",
            "Time at which changes last took effect, since 1970",
            Unit::Seconds,
            self.last.clone(),
        );
    }

    /// Records the time between the arrival of changes and their effect.
    pub fn observe(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        self.last.set(timestamp(Instant::now()));
    }
}
