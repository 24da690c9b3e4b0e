//! Metrics for Prometheus: those of the status, and how long changes take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::tables::TableMetrics;
use super::{Status, TerminationStatus, WatchStatus};

/// All metrics of an agent; their names begin with `socklb_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    services: Gauge,
    endpoint_slices: Gauge,
    service_ports: Gauge,
    frontends: Gauge,
    backends: Gauge,
    problems: Gauge,
    tables: TableMetrics,
    refused: Family<Refusal, Counter>,
    terminated: Family<OfProtocol, Counter>,
    termination_failures: Counter,
    termination_available: Family<InNamespaces, Gauge>,
    checks: Counter,
    checked: Gauge<f64, AtomicU64>,
    repairs: Family<OfTable, Counter>,
    listed: Family<OfKind, Gauge>,
    lists: Family<OfKind, Counter>,
    errors: Family<OfKind, Counter>,
    trouble: Family<OfKind, Gauge>,
    heard: Family<OfKind, Gauge<f64, AtomicU64>>,
    event: Family<OfKind, Gauge<f64, AtomicU64>>,
    sync: Histogram,
    synced: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfProtocol {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InNamespaces {
    namespaces: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTable {
    table: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: String,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("socklb"),
            ready: Gauge::default(),
            services: Gauge::default(),
            endpoint_slices: Gauge::default(),
            service_ports: Gauge::default(),
            frontends: Gauge::default(),
            backends: Gauge::default(),
            problems: Gauge::default(),
            tables: TableMetrics::default(),
            refused: Family::default(),
            terminated: Family::default(),
            termination_failures: Counter::default(),
            termination_available: Family::default(),
            checks: Counter::default(),
            checked: Gauge::default(),
            repairs: Family::default(),
            listed: Family::default(),
            lists: Family::default(),
            errors: Family::default(),
            trouble: Family::default(),
            heard: Family::default(),
            event: Family::default(),
            // 10 µs to 5 s.
            sync: Histogram::new(exponential_buckets(0.000_01, 2.0, 20)),
            synced: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    /// Changes are in effect, so long after they came.
    pub fn synced(&self, after: Duration) {
        self.sync.observe(after.as_secs_f64());
        self.synced.set(now());
    }

    /// In the OpenMetrics text format.
    ///
    /// # Errors
    /// None in practice: a string takes all that is written to it.
    pub fn text(&self, status: &Status) -> Result<String, std::fmt::Error> {
        self.take(status);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn take(&self, status: &Status) {
        self.ready.set(i64::from(status.ready));
        for (gauge, number) in [
            (&self.services, status.services),
            (&self.endpoint_slices, status.endpoint_slices),
            (&self.service_ports, status.service_ports),
            (&self.frontends, status.frontends),
            (&self.backends, status.backends),
            (&self.problems, status.problems.len()),
        ] {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        }
        for (reason, number) in [
            ("no_backend", status.refused_no_backend),
            ("unknown_port", status.refused_unknown_port),
            ("unknown_address", status.refused_unknown_address),
        ] {
            set(&self.refused.get_or_create(&Refusal { reason }), number);
        }
        self.tables.take(status);
        self.take_termination(&status.socket_termination);
        set(&self.checks, status.drift.checks);
        if let Some(ago) = status.drift.checked_seconds_ago {
            self.checked.set(now() - ago);
        }
        for (table, &number) in &status.drift.repairs {
            let table = table.clone();
            set(&self.repairs.get_or_create(&OfTable { table }), number);
        }
        for watch in &status.source.watches {
            self.take_watch(watch);
        }
    }

    fn take_termination(&self, status: &TerminationStatus) {
        for (protocol, number) in [("udp", status.udp), ("tcp", status.tcp)] {
            let of = OfProtocol { protocol };
            set(&self.terminated.get_or_create(&of), number);
        }
        set(&self.termination_failures, status.failures);
        for (namespaces, is_available) in [
            ("own", status.own_namespace),
            ("others", status.other_namespaces),
        ] {
            let available = self
                .termination_available
                .get_or_create(&InNamespaces { namespaces });
            available.set(i64::from(is_available));
        }
    }

    fn take_watch(&self, watch: &WatchStatus) {
        let kind = OfKind {
            kind: watch.kind.clone(),
        };
        let listed = self.listed.get_or_create(&kind);
        listed.set(i64::from(watch.listed));
        set(&self.lists.get_or_create(&kind), watch.lists);
        set(&self.errors.get_or_create(&kind), watch.errors);
        let trouble = self.trouble.get_or_create(&kind);
        trouble.set(i64::from(watch.trouble.is_some()));
        for (times, ago) in [
            (&self.heard, watch.heard_seconds_ago),
            (&self.event, watch.event_seconds_ago),
        ] {
            if let Some(ago) = ago {
                times.get_or_create(&kind).set(now() - ago);
            }
        }
    }

    fn register(&mut self) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let all = &mut self.registry;
        all.register("build", "The agent", version);
        all.register(
            "ready",
            "1 if what the source contains is in effect",
            self.ready.clone(),
        );
        all.register("services", "Services known", self.services.clone());
        all.register(
            "endpoint_slices",
            "EndpointSlices known",
            self.endpoint_slices.clone(),
        );
        all.register(
            "service_ports",
            "Service ports in the tables",
            self.service_ports.clone(),
        );
        all.register(
            "frontends",
            "Frontends in the tables",
            self.frontends.clone(),
        );
        all.register("backends", "Backends in the tables", self.backends.clone());
        all.register(
            "problems",
            "Objects that could not be used, or only in part; status lists them",
            self.problems.clone(),
        );
        self.tables.register(all);
        all.register(
            "refused_calls",
            "Calls refused with ECONNREFUSED because there was nothing to connect to",
            self.refused.clone(),
        );
        all.register(
            "sockets_terminated",
            "Sockets ended because their backend had stopped serving",
            self.terminated.clone(),
        );
        all.register(
            "socket_termination_failures",
            "Sockets that could not be ended, and network namespaces that could not be searched",
            self.termination_failures.clone(),
        );
        all.register(
            "socket_termination_available",
            "1 if sockets can be ended in the agent's own network namespace, or in others",
            self.termination_available.clone(),
        );
        all.register(
            "drift_checks",
            "Times that all tables were read back and compared",
            self.checks.clone(),
        );
        all.register_with_unit(
            "drift_check_timestamp",
            "Time at which all tables were last read back, since 1970",
            Unit::Seconds,
            self.checked.clone(),
        );
        all.register(
            "drift_repairs",
            "Words, elements, hooks and pins restored after another program had changed them",
            self.repairs.clone(),
        );
        all.register(
            "source_listed",
            "1 if all objects of a kind were listed once",
            self.listed.clone(),
        );
        all.register(
            "source_lists",
            "Lists of all objects of a kind",
            self.lists.clone(),
        );
        all.register(
            "source_errors",
            "Errors while listing or watching a kind",
            self.errors.clone(),
        );
        all.register(
            "source_in_trouble",
            "1 while no changes of a kind arrive from the API server",
            self.trouble.clone(),
        );
        all.register_with_unit(
            "source_heard_timestamp",
            "Time at which the API server last sent anything about a kind, bookmarks included, since 1970",
            Unit::Seconds,
            self.heard.clone(),
        );
        all.register_with_unit(
            "source_event_timestamp",
            "Time at which the API server last sent an object of a kind, since 1970",
            Unit::Seconds,
            self.event.clone(),
        );
        all.register_with_unit(
            "sync_duration",
            "Time from the arrival of changes until they are in effect",
            Unit::Seconds,
            self.sync.clone(),
        );
        all.register_with_unit(
            "sync_timestamp",
            "Time at which changes last took effect, since 1970",
            Unit::Seconds,
            self.synced.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The number is counted elsewhere.
fn set(counter: &Counter, number: u64) {
    counter.inner().store(number, Ordering::Relaxed);
}

/// Since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
