//! Evaluates one Service: whether the agent serves it, and the service ports that result from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::address;
use super::context::Context;
use super::endpoints::{self, Endpoints};
use super::frontends::Addresses;
use super::report::Report;
use super::service_port::{Algorithm, ServicePort, ServicePortKey};
use super::topology::{self, LocalPolicies, NodeLocation};
use crate::catalog::{
    Catalog, CreationTimestamp, Family, Kind, ObjectId, ObjectName, PortSpec, Problem, Protocol,
    Service,
};

/// The API server's default for `timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// The largest value that the API server accepts.
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// Returns the service ports of a Service with all the frontends they want, and the problems.
pub(super) fn judge(
    context: &Context<'_>,
    catalog: &Catalog,
    name: &ObjectName,
) -> (Vec<ServicePort>, Vec<Problem>) {
    let mut problems = Vec::new();
    let Some(service) = catalog.service(name) else {
        // The source has already reported an unreadable Service.
        if !catalog.is_unread(name) {
            report_orphans(catalog, name, &mut problems);
        }
        return (Vec::new(), problems);
    };
    let id = ObjectId {
        kind: Kind::Service,
        name: name.clone(),
    };
    let mut report = Report::new(id.clone(), &mut problems);
    if is_skipped(context, service, &mut report) {
        return (Vec::new(), problems);
    }
    if let CreationTimestamp::Unreadable(text) = &service.metadata.creation_timestamp {
        report.add(format!(
            "metadata.creationTimestamp {text:?} is not a time like 2026-01-31T12:00:00Z: correct it; \
             the Service counts as the oldest"
        ));
    }
    let addresses = Addresses::of(context, service, &mut report);
    let families: Vec<Family> = addresses.iter().map(|of| of.family).collect();
    let endpoints = Endpoints::merge(catalog.slices(name), &families, &mut problems);

    let mut report = Report::new(id, &mut problems);
    let shared = SharedFields::of(context, service, &mut report);
    let location = NodeLocation {
        node_name: context.node_name,
        zone: context.zone,
    };
    let local = LocalPolicies {
        internal: shared.internal_local,
        external: shared.external_local,
    };
    let created = service.metadata.creation_timestamp.time();
    let mut ports = Vec::new();
    for port in usable_ports(service, &endpoints, &mut report) {
        for of_family in &addresses {
            let family = of_family.family;
            let candidates = endpoints.of(family, &port.name, port.protocol);
            ports.push(ServicePort {
                key: ServicePortKey {
                    namespace: Arc::clone(&name.namespace),
                    name: Arc::clone(&name.name),
                    port: Arc::clone(&port.name),
                    protocol: port.protocol,
                    family,
                },
                created,
                algorithm: shared.algorithm,
                affinity_seconds: shared.affinity_seconds,
                external_local: shared.external_local,
                source_ranges: of_family.source_ranges.clone(),
                frontends: of_family.frontends(port.port, port.node_port),
                backends: topology::backends(location, local, &candidates),
            });
        }
    }
    (ports, problems)
}

/// Reports slices whose Service is missing, or that name none.
fn report_orphans(catalog: &Catalog, name: &ObjectName, problems: &mut Vec<Problem>) {
    for slice in catalog.slices(name) {
        if slice.metadata.labels.headless.is_some() {
            continue;
        }
        endpoints::report(slice, problems).add(if name.name.is_empty() {
            "metadata.labels has no kubernetes.io/service-name: name the Service there".to_owned()
        } else {
            format!("there is no Service {name}: add it, or correct the label kubernetes.io/service-name")
        });
    }
}

/// Whether the agent skips the Service. It reports nothing if the skip is intended.
fn is_skipped(context: &Context<'_>, service: &Service, report: &mut Report<'_>) -> bool {
    let metadata = &service.metadata;
    let spec = &service.spec;
    let proxy_name = metadata.labels.service_proxy_name.as_deref();
    if proxy_name.is_some_and(|name| context.service_proxy_name != Some(name))
        || metadata.labels.headless.is_some()
        || spec.service_type.as_deref() == Some("ExternalName")
    {
        return true;
    }
    match metadata.annotations.ignore.as_deref() {
        Some("true") => return true,
        None | Some("false") => {}
        Some(other) => report.add(format!(
            "annotation socklb.dev/ignore {other:?}: write \"true\" or \"false\"; the Service is served"
        )),
    }
    let first = spec.cluster_ips.first().or(spec.cluster_ip.as_ref());
    let cluster_ip = spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty());
    match cluster_ip.or(first).map(|ip| &**ip) {
        Some("None") => return true,
        None | Some("") => {
            report.add("spec.clusterIP is missing, and only an API server can assign one: add it, or use None for a headless Service");
            return true;
        }
        Some(_) => {}
    }
    if spec.ports.is_empty() {
        report.add("spec.ports is empty: add the ports that clients connect to");
        return true;
    }
    false
}

/// The settings that all ports of a Service share.
struct SharedFields {
    algorithm: Algorithm,
    affinity_seconds: Option<u32>,
    internal_local: bool,
    external_local: bool,
}

impl SharedFields {
    fn of(context: &Context<'_>, service: &Service, report: &mut Report<'_>) -> Self {
        let spec = &service.spec;
        let internal = spec.internal_traffic_policy.as_deref();
        // Sockets of this node get all endpoints, whatever this policy is.
        let external = spec
            .external_traffic_policy
            .as_deref()
            .filter(|_| context.has_packet_path);
        Self {
            algorithm: algorithm(context, service, report),
            affinity_seconds: affinity_seconds(service, report),
            internal_local: is_local("internalTrafficPolicy", internal, report),
            external_local: is_local("externalTrafficPolicy", external, report),
        }
    }
}

/// Whether a traffic policy is Local.
fn is_local(field: &str, text: Option<&str>, report: &mut Report<'_>) -> bool {
    match text {
        Some("Local") => true,
        None | Some("" | "Cluster") => false,
        Some(other) => {
            report.add(format!(
                "spec.{field} {other:?}: write Cluster or Local; Cluster is used"
            ));
            false
        }
    }
}

fn algorithm(context: &Context<'_>, service: &Service, report: &mut Report<'_>) -> Algorithm {
    let Some(text) = service.metadata.annotations.algorithm.as_deref() else {
        return context.default_algorithm;
    };
    text.parse().unwrap_or_else(|error| {
        report.add(format!(
            "annotation socklb.dev/algorithm {text:?}: {error}; {} is used",
            context.default_algorithm
        ));
        context.default_algorithm
    })
}

fn affinity_seconds(service: &Service, report: &mut Report<'_>) -> Option<u32> {
    let spec = &service.spec;
    match spec.session_affinity.as_deref() {
        Some("ClientIP") => {}
        None | Some("" | "None") => return None,
        Some(other) => {
            report.add(format!(
                "spec.sessionAffinity {other:?}: write None or ClientIP; None is used"
            ));
            return None;
        }
    }
    let config = spec.session_affinity_config.as_ref();
    let client_ip = config.and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = client_ip.and_then(|client_ip| client_ip.timeout_seconds) else {
        return Some(DEFAULT_AFFINITY_SECONDS);
    };
    let valid = u32::try_from(seconds)
        .ok()
        .filter(|seconds| (1..=MAX_AFFINITY_SECONDS).contains(seconds));
    if valid.is_none() {
        report.add(format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds {seconds}: write 1 to {MAX_AFFINITY_SECONDS}; {DEFAULT_AFFINITY_SECONDS} is used"
        ));
    }
    valid.or(Some(DEFAULT_AFFINITY_SECONDS))
}

/// A port of a Service that the agent can serve.
struct UsablePort {
    name: Arc<str>,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
}

fn usable_ports(
    service: &Service,
    endpoints: &Endpoints<'_>,
    report: &mut Report<'_>,
) -> Vec<UsablePort> {
    let mut seen = BTreeSet::new();
    let mut ports = Vec::with_capacity(service.spec.ports.len());
    for (index, spec) in service.spec.ports.iter().enumerate() {
        match usable_port(spec, endpoints, report, &format!("spec.ports[{index}]")) {
            Ok(port) if seen.insert((Arc::clone(&port.name), port.protocol)) => ports.push(port),
            Ok(port) => report.add(format!(
                "spec.ports[{index}].name {:?} is used twice for {}: give each port its own name; this one is skipped",
                port.name, port.protocol
            )),
            Err(error) => report.add(format!("spec.ports[{index}].{error}; this port is skipped")),
        }
    }
    ports
}

fn usable_port(
    spec: &PortSpec,
    endpoints: &Endpoints<'_>,
    report: &mut Report<'_>,
    field: &str,
) -> Result<UsablePort, String> {
    let word = spec.protocol.as_deref().unwrap_or("TCP");
    let protocol = Protocol::parse(word).ok_or_else(|| match word {
        "SCTP" => "protocol SCTP is not supported: the kernel has no socket hook for it".to_owned(),
        _ => format!("protocol {word:?} is unknown: use TCP or UDP"),
    })?;
    address::port_name(&spec.name).map_err(|error| format!("name {error}"))?;
    let port = address::port(spec.port).map_err(|error| format!("port {error}"))?;
    let node_port = match spec.node_port {
        None | Some(0) => None,
        number => address::port(number)
            .map_err(|error| report.add(format!("{field}.nodePort {error}; it is skipped")))
            .ok(),
    };
    if let Some(instead) = endpoints.instead(&spec.name, word) {
        report.add(format!(
            "{field}.name {:?} ({word}) is missing from its EndpointSlices, which {instead}",
            spec.name
        ));
    }
    Ok(UsablePort {
        name: Arc::clone(&spec.name),
        protocol,
        port,
        node_port,
    })
}
