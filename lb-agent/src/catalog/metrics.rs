//! Metrics of the number of objects in the catalog.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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

    /// Takes the numbers of Services and of slices, as [`Catalog::counts`](super::Catalog::counts) returns them.
    pub fn update(&self, (services, endpoint_slices): (usize, usize)) {
        set_number(&self.services, services);
        set_number(&self.endpoint_slices, endpoint_slices);
    }
}
