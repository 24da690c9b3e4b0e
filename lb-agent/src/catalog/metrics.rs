//! Metrics of the number of objects in the catalog.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Catalog;
use crate::metrics::set_number;

/// Metrics of a catalog.
#[derive(Debug, Default)]
pub struct CatalogMetrics {
    services: Gauge,
    endpoint_slices: Gauge,
}

impl CatalogMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("services", "Services known", self.services.clone());
        registry.register(
            "endpoint_slices",
            "EndpointSlices known",
            self.endpoint_slices.clone(),
        );
    }

    pub fn update(&self, catalog: &Catalog) {
        let (services, endpoint_slices) = catalog.counts();
        set_number(&self.services, services);
        set_number(&self.endpoint_slices, endpoint_slices);
    }
}
