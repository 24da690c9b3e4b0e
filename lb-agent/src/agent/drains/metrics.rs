//! Metrics of drains.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::set_number;

/// Connections that drain, and their backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draining {
    pub backends: usize,
    pub connections: usize,
}

#[derive(Debug, Default)]
pub struct DrainMetrics {
    backends: Gauge,
    connections: Gauge,
}

impl DrainMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "backends_draining",
            "Backends that have stopped serving and whose connections end within a drain time",
            self.backends.clone(),
        );
        registry.register(
            "connections_draining",
            "Connections to such backends that have not ended yet",
            self.connections.clone(),
        );
    }

    pub fn update(&self, draining: Draining) {
        set_number(&self.backends, draining.backends);
        set_number(&self.connections, draining.connections);
    }
}
