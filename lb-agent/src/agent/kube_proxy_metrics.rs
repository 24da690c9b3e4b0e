//! Metrics with the names, types, labels and buckets of kube-proxy's (pkg/proxy/metrics/metrics.go), for dashboards and alerts that use
//! them.
//!
//! kube-proxy has one proxier for each address family. The agent puts changes of both into effect at once, so what it measures of that
//! counts for both families.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::catalog::{Change, Family as AddressFamily, Kind, Object, Trigger};
use crate::metrics::timestamp;

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Ipv4, AddressFamily::Ipv6];

/// Metrics with kube-proxy's names. Clones share their values.
#[derive(Clone, Debug)]
pub struct KubeProxyMetrics {
    duration: Family<FamilyLabel, Histogram, fn() -> Histogram>,
    programming: Family<FamilyLabel, Histogram, fn() -> Histogram>,
    queued: Family<FamilyLabel, Gauge<f64, AtomicU64>>,
    synced: Family<FamilyLabel, Gauge<f64, AtomicU64>>,
    endpoint_changes: Counter,
    service_changes: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FamilyLabel {
    ip_family: &'static str,
}

impl FamilyLabel {
    const fn of(family: AddressFamily) -> Self {
        let ip_family = match family {
            AddressFamily::Ipv4 => "IPv4",
            AddressFamily::Ipv6 => "IPv6",
        };
        Self { ip_family }
    }
}

/// From 1 ms to 16 s.
fn duration_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// From 0.25 s to 5 min. kube-proxy's first bucket is 0, since it appends the others to a list that has one element.
fn programming_buckets() -> Histogram {
    let parts = [0.0]
        .into_iter()
        .chain(linear_buckets(0.25, 0.25, 2))
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7));
    Histogram::new(parts)
}

impl Default for KubeProxyMetrics {
    fn default() -> Self {
        Self {
            duration: Family::new_with_constructor(duration_buckets),
            programming: Family::new_with_constructor(programming_buckets),
            queued: Family::default(),
            synced: Family::default(),
            endpoint_changes: Counter::default(),
            service_changes: Counter::default(),
        }
    }
}

impl KubeProxyMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "sync_proxy_rules_duration",
            "Time for putting changes into effect",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "network_programming_duration",
            "Time from the change of a pod or Service until its EndpointSlice is in effect, by the clock of the control plane",
            Unit::Seconds,
            self.programming.clone(),
        );
        registry.register_with_unit(
            "sync_proxy_rules_last_queued_timestamp",
            "Time at which changes last arrived, since 1970",
            Unit::Seconds,
            self.queued.clone(),
        );
        registry.register_with_unit(
            "sync_proxy_rules_last_timestamp",
            "Time at which changes last took effect, since 1970",
            Unit::Seconds,
            self.synced.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices that have arrived",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Changes of Services that have arrived",
            self.service_changes.clone(),
        );
    }

    /// Counts changes that have arrived.
    pub fn queued(&self, changes: &[Change]) {
        for change in changes {
            let kind = match change {
                Change::Set(Object::Service(_)) => Kind::Service,
                Change::Set(Object::EndpointSlice(_)) => Kind::EndpointSlice,
                Change::Remove(id) => id.kind,
                _ => continue,
            };
            match kind {
                Kind::Service => self.service_changes.inc(),
                Kind::EndpointSlice => self.endpoint_changes.inc(),
                _ => continue,
            };
        }
        set_now(&self.queued);
    }

    /// Records that changes are in effect, which took `duration`.
    ///
    /// `triggers`: when the changes of slices that are in effect now were caused.
    pub fn synced(&self, duration: Duration, triggers: &[Trigger]) {
        for family in FAMILIES {
            let label = FamilyLabel::of(family);
            let histogram = self.duration.get_or_create(&label);
            histogram.observe(duration.as_secs_f64());
        }
        let now = Timestamp::now();
        for Trigger { family, at } in triggers {
            let histogram = self.programming.get_or_create(&FamilyLabel::of(*family));
            // As in kube-proxy: below 0 if the clocks of the nodes differ.
            histogram.observe(now.duration_since(*at).as_secs_f64());
        }
        set_now(&self.synced);
    }
}

fn set_now(times: &Family<FamilyLabel, Gauge<f64, AtomicU64>>) {
    for family in FAMILIES {
        let time = times.get_or_create(&FamilyLabel::of(family));
        time.set(timestamp(Instant::now()));
    }
}
