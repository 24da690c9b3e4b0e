//! What is known of each Service's connections at one moment, for metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::ServiceCounters;
use lb_common::service_counters::RoundTrips;

use crate::catalog::Protocol;
use crate::policy::ServicePortKey;

/// A port of a Service, in both families.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// The port's name; "" if it has none.
    pub port: Arc<str>,
    pub protocol: Protocol,
}

impl From<&ServicePortKey> for PortName {
    fn from(key: &ServicePortKey) -> Self {
        Self {
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(&key.name),
            port: Arc::clone(&key.port),
            protocol: key.protocol,
        }
    }
}

/// What was counted of a Service's port.
#[derive(Clone, Debug, Default)]
pub struct ServiceSample {
    /// Since the agent started.
    pub connections: u64,
    pub active: u64,
    pub backends: usize,
    pub refused: u64,
    pub failed: u64,
    /// None unless `--latency` has measured any: they take 336 bytes.
    pub times: Option<Box<Times>>,
}

/// Round-trip times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub smoothed: RoundTrips,
    pub smallest: RoundTrips,
}

impl ServiceSample {
    /// Adds the counters of a service port.
    pub fn add(&mut self, counted: &ServiceCounters) {
        self.refused += counted.refused;
        self.failed += counted.failed;
        if counted.smoothed != RoundTrips::default() || counted.smallest != RoundTrips::default() {
            let times = self.times.get_or_insert_default();
            times.smoothed.add(&counted.smoothed);
            times.smallest.add(&counted.smallest);
        }
    }
}

/// What was counted of a backend of a Service's port.
#[derive(Clone, Debug)]
pub struct BackendSample {
    pub port: PortName,
    pub address: SocketAddr,
    /// Since it was added.
    pub connections: u64,
    pub active: u64,
}

/// All samples of a moment.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub services: BTreeMap<PortName, ServiceSample>,
    /// Sorted by port and address.
    pub backends: Vec<BackendSample>,
}
