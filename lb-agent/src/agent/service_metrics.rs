//! Metrics that name Services and backends.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use lb_common::service_counters::{BUCKETS, RoundTrips, limit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::service_samples::{BackendSample, PortName, Samples, ServiceSample, Times};

/// The objects that metrics name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MetricsPer {
    #[default]
    None,
    Service,
    Backend,
}

impl MetricsPer {
    /// Services on a loopback address, and nothing where others may read.
    ///
    /// `http`: the address of the metrics.
    #[must_use]
    pub fn by_default(http: Option<SocketAddr>) -> Self {
        match http {
            Some(address) if address.ip().is_loopback() => Self::Service,
            _ => Self::None,
        }
    }
}

/// Most Services' ports in one answer. Each has five series, and with --latency 26 more.
const MOST_SERVICES: usize = 20_000;
/// Most backends in one answer. Each has two series.
const MOST_BACKENDS: usize = 50_000;

/// An answer has every second bucket, so that a histogram has ten.
const BUCKET_STEP: usize = 2;

/// The metrics of Services: the samples of the last update.
#[derive(Debug, Default)]
pub struct ServiceMetrics(Arc<Latest>);

/// The samples are shared, so that the main loop does not wait for an answer that is being written.
#[derive(Debug, Default)]
struct Latest(Mutex<Arc<Samples>>);

impl ServiceMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.0)));
    }

    pub fn set(&self, samples: Samples) {
        *self.0.lock() = Arc::new(samples);
    }
}

impl Latest {
    fn lock(&self) -> MutexGuard<'_, Arc<Samples>> {
        // The samples are replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Latest {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let samples = Arc::clone(&self.lock());
        if samples.services.is_empty() {
            return Ok(());
        }
        let services = || samples.services.iter().take(MOST_SERVICES);
        let counter = |name,
                       help,
                       encoder: &mut DescriptorEncoder<'_>,
                       value: &dyn Fn(&ServiceSample) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (port, sample) in services() {
                let labels = labels(port);
                let mut series = family.encode_family(&labels)?;
                series.encode_counter::<NoLabelSet, u64, u64>(&value(sample), None)?;
            }
            Ok::<(), fmt::Error>(())
        };
        counter(
            "service_connections",
            "Connections and UDP flows that sockets were given, by Service.",
            &mut encoder,
            &|sample| sample.connections,
        )?;
        counter(
            "service_failed_connections",
            "TCP sockets closed before their connection was established, by Service.",
            &mut encoder,
            &|sample| sample.failed,
        )?;
        counter(
            "service_refused_calls",
            "Calls refused with ECONNREFUSED because the Service had no backend, by Service.",
            &mut encoder,
            &|sample| sample.refused,
        )?;
        let gauge = |name,
                     help,
                     encoder: &mut DescriptorEncoder<'_>,
                     value: &dyn Fn(&ServiceSample) -> u64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (port, sample) in services() {
                let labels = labels(port);
                family
                    .encode_family(&labels)?
                    .encode_gauge(&value(sample))?;
            }
            Ok::<(), fmt::Error>(())
        };
        gauge(
            "service_active_connections",
            "Sockets that are connected to a Service's present backends.",
            &mut encoder,
            &|sample| sample.active,
        )?;
        gauge(
            "service_backends",
            "Backends of a Service in the tables.",
            &mut encoder,
            &|sample| sample.backends as u64,
        )?;
        encode_times(
            &mut encoder,
            "service_rtt",
            "Smoothed round-trip time of TCP connections when they are closed, by Service.",
            services(),
            |times| &times.smoothed,
        )?;
        encode_times(
            &mut encoder,
            "service_min_rtt",
            "Smallest round-trip time of TCP connections when they are closed, by Service.",
            services(),
            |times| &times.smallest,
        )?;
        encode_backends(&mut encoder, &samples.backends)?;
        let left_out = samples.services.len().saturating_sub(MOST_SERVICES)
            + samples.backends.len().saturating_sub(MOST_BACKENDS);
        encoder
            .encode_descriptor(
                "metrics_left_out",
                "Services and backends that metrics do not name because there are too many.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(left_out as u64))
    }
}

fn encode_times<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    services: impl Iterator<Item = (&'a PortName, &'a ServiceSample)>,
    times: impl Fn(&Times) -> &RoundTrips,
) -> fmt::Result {
    let mut measured = services
        .filter_map(|(port, sample)| Some((port, times(sample.times.as_deref()?))))
        .filter(|(_, times)| times.buckets.iter().any(|number| *number > 0))
        .peekable();
    if measured.peek().is_none() {
        return Ok(());
    }
    let unit = Unit::Seconds;
    let mut family = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
    for (port, times) in measured {
        let labels = labels(port);
        encode_histogram(family.encode_family(&labels)?, times)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a sum of µs is exact up to 285 years"
)]
fn encode_histogram(mut encoder: MetricEncoder<'_>, times: &RoundTrips) -> fmt::Result {
    let mut buckets = Vec::with_capacity(BUCKETS);
    let mut below = 0;
    for (index, number) in times.buckets.iter().enumerate() {
        below += number;
        let micros = limit(index);
        if micros.is_none() || index % BUCKET_STEP == 0 {
            let seconds = micros.map_or(f64::INFINITY, |micros| micros as f64 / 1e6);
            buckets.push((seconds, below));
            below = 0;
        }
    }
    let count: u64 = times.buckets.iter().sum();
    encoder.encode_histogram::<NoLabelSet>(times.sum as f64 / 1e6, count, &buckets, None)
}

fn encode_backends(encoder: &mut DescriptorEncoder<'_>, all: &[BackendSample]) -> fmt::Result {
    let shown = &all[..all.len().min(MOST_BACKENDS)];
    if shown.is_empty() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(
        "backend_connections",
        "Connections and UDP flows that sockets were given, by backend.",
        None,
        MetricType::Counter,
    )?;
    for backend in shown {
        let address = backend.address.to_string();
        let labels = (labels(&backend.port), [("backend", address.as_str())]);
        let mut series = family.encode_family(&labels)?;
        series.encode_counter::<NoLabelSet, u64, u64>(&backend.connections, None)?;
    }
    let mut family = encoder.encode_descriptor(
        "backend_active_connections",
        "Sockets that are connected to a backend.",
        None,
        MetricType::Gauge,
    )?;
    for backend in shown {
        let address = backend.address.to_string();
        let labels = (labels(&backend.port), [("backend", address.as_str())]);
        family
            .encode_family(&labels)?
            .encode_gauge(&backend.active)?;
    }
    Ok(())
}

fn labels(port: &PortName) -> [(&'static str, &str); 4] {
    [
        ("namespace", &port.namespace),
        ("service", &port.name),
        ("port", &port.port),
        ("protocol", port.protocol.name()),
    ]
}
