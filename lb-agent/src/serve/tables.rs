//! Metrics about how full the tables are.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Status;

#[derive(Debug, Default)]
pub struct TableMetrics {
    used: Family<OfTable, Gauge>,
    capacity: Family<OfTable, Gauge>,
    refused: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTable {
    table: String,
}

impl TableMetrics {
    pub fn take(&self, status: &Status) {
        for table in &status.tables {
            let of = OfTable {
                table: table.table.clone(),
            };
            set(&self.used.get_or_create(&of), table.used);
            set(&self.capacity.get_or_create(&of), table.capacity);
        }
        set(&self.refused, status.service_ports_refused);
    }

    pub fn register(&self, all: &mut Registry) {
        all.register(
            "table_used",
            "Elements of a table in use, or not yet reusable",
            self.used.clone(),
        );
        all.register(
            "table_capacity",
            "Elements for which a table has room",
            self.capacity.clone(),
        );
        all.register(
            "service_ports_refused",
            "Service ports that do not fit into the tables, or only in part",
            self.refused.clone(),
        );
    }
}

fn set(gauge: &Gauge, number: usize) {
    gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
}
