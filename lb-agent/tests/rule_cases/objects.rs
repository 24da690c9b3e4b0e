//! The fields of a case's Services themselves, besides the recorded results.

use std::net::IpAddr;

use serde_json::Value;

use crate::case::Case;

/// `spec` of the Service of a service port (`namespace/name:port/TCP`); null when there is none.
pub fn spec<'a>(case: &'a Case, service_port: &str) -> &'a Value {
    let name = service_port.split(':').next().unwrap_or_default();
    let of_name = |service: &&Value| {
        let metadata = &service["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        name == format!("{}/{}", text("namespace"), text("name"))
    };
    services(case)
        .filter(of_name)
        .last()
        .map_or(&Value::Null, |service| &service["spec"])
}

/// The NodePort that the Service gives to a service port.
pub fn node_port(case: &Case, service_port: &str, protocol: &str) -> Option<u16> {
    let name = service_port.split([':', '/']).nth(2)?;
    let mut ports = spec(case, service_port)["ports"].as_array()?.iter();
    let port = ports.find(|port| {
        port["name"].as_str().unwrap_or_default() == name && port["protocol"] == protocol
    })?;
    let number = port["nodePort"].as_u64().filter(|number| *number != 0);
    number.and_then(|number| u16::try_from(number).ok())
}

/// Whether a Service has this ClusterIP.
pub fn is_cluster_ip(case: &Case, address: IpAddr) -> bool {
    let address = address.to_string();
    services(case).any(|service| service["spec"]["clusterIP"] == *address)
}

/// Whether it is the LoadBalancer IP of a Service with `loadBalancerSourceRanges`.
pub fn is_filtered(case: &Case, address: IpAddr) -> bool {
    let address = address.to_string();
    let has_ranges = |service: &&Value| service["spec"]["loadBalancerSourceRanges"].is_array();
    services(case).filter(has_ranges).any(|service| {
        let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
        ingress.is_some_and(|ingress| ingress.iter().any(|of| of["ip"] == *address))
    })
}

fn services(case: &Case) -> impl Iterator<Item = &Value> {
    let events = case.events.iter().map(|event| &event.object);
    let objects = events.chain(&case.objects);
    objects.filter(|object| object["kind"] == "Service")
}
