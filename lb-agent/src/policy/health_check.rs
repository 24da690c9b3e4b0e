//! The health checks of load balancers that send a Service's traffic only to nodes with one of its endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::address;
use super::endpoints::Endpoints;
use crate::catalog::{Catalog, Family, Kind, ObjectId, ObjectName, Problem, Service};

/// What this node answers a load balancer that asks about one Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// `spec.healthCheckNodePort`.
    pub port: u16,
    /// The number of the Service's ready endpoints on this node. Those with weight 0 do not count.
    ///
    /// Two ports of one pod count once, and so do its addresses of two families: the larger family counts.
    pub local_endpoints: usize,
}

/// The health check of a Service; none if it has none.
///
/// A Service has one if its type is LoadBalancer and its `externalTrafficPolicy` is Local (kube-proxy: `NeedsHealthCheck`).
/// Terminating endpoints do not count even where they are the only ones, so that the load balancer turns to other nodes
/// (`getLocalReadyEndpointIPs` in pkg/proxy/endpointschangetracker.go).
///
/// `families`: those in which the Service is served. Errors: the Service needs a health check, and its port is missing or
/// invalid.
pub(super) fn of(
    catalog: &Catalog,
    name: &ObjectName,
    families: &BTreeSet<Family>,
    node_name: &str,
) -> Result<Option<HealthCheck>, Problem> {
    let Some(service) = catalog.service(name).filter(|s| needs_health_check(s)) else {
        return Ok(None);
    };
    if families.is_empty() {
        return Ok(None);
    }
    let port = match service.spec.health_check_node_port {
        // The API server chooses one, and writes 0 nowhere else.
        None | Some(0) => address::port(None),
        number => address::port(number),
    };
    let port = port.map_err(|error| {
        let id = ObjectId::new(Kind::Service, name.clone());
        Problem::of(
            &id,
            format!(
                "spec.healthCheckNodePort {error}; the load balancer cannot ask this node about the Service"
            ),
        )
    })?;
    Ok(Some(HealthCheck {
        port,
        local_endpoints: local_endpoints(catalog, name, families, node_name),
    }))
}

fn local_endpoints(
    catalog: &Catalog,
    name: &ObjectName,
    families: &BTreeSet<Family>,
    node_name: &str,
) -> usize {
    // The policy has reported them.
    let mut problems = Vec::new();
    let families: Vec<Family> = families.iter().copied().collect();
    let endpoints = Endpoints::merge(catalog.slices(name), &families, &mut problems);
    let mut addresses: BTreeMap<Family, BTreeSet<IpAddr>> = BTreeMap::new();
    for candidate in endpoints.all() {
        let is_local = candidate.node.is_some_and(|node| **node == *node_name);
        if is_local && candidate.is_ready() {
            let address = candidate.address.ip();
            let family = Family::of(address);
            addresses.entry(family).or_default().insert(address);
        }
    }
    addresses.values().map(BTreeSet::len).max().unwrap_or(0)
}

fn needs_health_check(service: &Service) -> bool {
    let is = |field: &Option<_>, word| field.as_deref() == Some(word);
    is(&service.spec.service_type, "LoadBalancer")
        && is(&service.spec.external_traffic_policy, "Local")
}
