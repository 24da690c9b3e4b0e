//! What the tables contain, and how full they are.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::backing::Usage;
use crate::metrics::set_number;

/// How many rows the tables have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub service_ports: usize,
    pub frontends: usize,
    pub backends: usize,
    /// Ids and runs that were freed and cannot be used yet.
    pub quarantined: usize,
}

/// Metrics of the tables.
#[derive(Debug, Default)]
pub struct TableMetrics {
    service_ports: Gauge,
    frontends: Gauge,
    backends: Gauge,
    used: Family<TableLabel, Gauge>,
    capacity: Family<TableLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabel {
    table: &'static str,
}

impl TableMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "service_ports",
            "Service ports in the tables",
            self.service_ports.clone(),
        );
        registry.register(
            "frontends",
            "Frontends in the tables",
            self.frontends.clone(),
        );
        registry.register("backends", "Backends in the tables", self.backends.clone());
        registry.register(
            "table_used",
            "Elements of a table in use, or not yet reusable",
            self.used.clone(),
        );
        registry.register(
            "table_capacity",
            "Elements for which a table has room",
            self.capacity.clone(),
        );
    }

    pub fn update<'a>(&self, counts: Counts, usage: impl IntoIterator<Item = &'a Usage>) {
        set_number(&self.service_ports, counts.service_ports);
        set_number(&self.frontends, counts.frontends);
        set_number(&self.backends, counts.backends);
        for usage in usage {
            let label = TableLabel { table: usage.table };
            set_number(&self.used.get_or_create(&label), usage.used);
            set_number(&self.capacity.get_or_create(&label), usage.capacity);
        }
    }
}
