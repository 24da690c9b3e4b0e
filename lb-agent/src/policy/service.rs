//! Evaluates one Service: whether the agent serves it, and the service ports that result from it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::address;
use super::annotations;
use super::backends;
use super::context::Context;
use super::drain;
use super::endpoints::{self, Endpoints};
use super::frontends::Addresses;
use super::report::Report;
use super::service_port::{Algorithm, ServicePort, ServicePortKey};
use super::skip::{PortSkip, ServiceSkip, SkippedPort, Skips};
use super::slow_start;
use super::spill_over;
use super::topology::LocalPolicies;
use crate::catalog::{
    Catalog, CreationTimestamp, Family, Kind, ObjectId, ObjectName, PortSpec, Problem, Protocol,
    Service,
};

/// The API server's default for `timeoutSeconds`.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
/// The largest value that the API server accepts.
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// Returns the service ports of a Service with all the frontends they want, and the problems.
///
/// `skips`: what gets no frontend, if anybody asks for it.
pub(super) fn judge(
    context: &Context<'_>,
    catalog: &Catalog,
    name: &ObjectName,
    mut skips: Option<&mut Skips>,
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
    let mut report = Report::with_skips(id.clone(), &mut problems, skips.as_deref_mut());
    if is_skipped(context, service, &mut report) {
        return (Vec::new(), problems);
    }
    if let CreationTimestamp::Unreadable(text) = &service.metadata.creation_timestamp {
        report.add(format!(
            "metadata.creationTimestamp {text:?} is not a time like 2026-01-31T12:00:00Z: correct it; \
             the Service counts as the oldest"
        ));
    }
    annotations::report_meaningless(&service.metadata.annotations, Kind::Service, &mut report);
    let addresses = Addresses::of(context, service, &mut report);
    let families: Vec<Family> = addresses.iter().map(|of| of.family).collect();
    let endpoints = Endpoints::merge(catalog.slices(name), &families, &mut problems);

    let mut report = Report::with_skips(id, &mut problems, skips);
    let shared = SharedFields::of(context, service, &mut report);
    let location = context.location();
    let created = service.metadata.creation_timestamp.time();
    let mut ports = Vec::new();
    for port in usable_ports(service, &endpoints, &mut report) {
        for of_family in &addresses {
            let family = of_family.family;
            let candidates = endpoints.of(family, &port.name, port.protocol);
            let (mut backends, spill_over) =
                backends::of(location, shared.local, shared.spill_over, &candidates);
            let watched = shared.detects_outliers && port.protocol == Protocol::Tcp;
            backends.iter_mut().for_each(|of| of.watched = watched);
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
                slow_start: shared.slow_start,
                spill_over,
                drain: shared.drain.filter(|_| port.protocol == Protocol::Tcp),
                external_local: shared.local.external,
                source_ranges: of_family.source_ranges.clone(),
                frontends: of_family.frontends(port.port, port.node_port),
                backends,
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
    let ignore = service.metadata.annotations.ignore.as_deref();
    let skip = skip(context, service);
    if let Some(other) = ignore.filter(|text| !["true", "false"].contains(text))
        && skip.as_ref().is_none_or(ServiceSkip::is_problem)
    {
        report.add(format!(
            "annotation socklb.dev/ignore {other:?}: write \"true\" or \"false\"; the Service is served"
        ));
    }
    let Some(skip) = skip else {
        return false;
    };
    if skip.is_problem() {
        report.add(skip.to_string());
    }
    report.skip(|skips| skips.service = Some(skip));
    true
}

/// Why the agent skips the Service.
fn skip(context: &Context<'_>, service: &Service) -> Option<ServiceSkip> {
    let Service { metadata, spec, .. } = service;
    let proxy_name = metadata.labels.service_proxy_name.as_deref();
    if let Some(other) = proxy_name.filter(|name| context.service_proxy_name != Some(name)) {
        return Some(ServiceSkip::OtherProxy(other.to_owned()));
    }
    if metadata.labels.headless.is_some() {
        return Some(ServiceSkip::Headless);
    }
    if spec.service_type.as_deref() == Some("ExternalName") {
        return Some(ServiceSkip::ExternalName);
    }
    if metadata.annotations.ignore.as_deref() == Some("true") {
        return Some(ServiceSkip::Ignored);
    }
    let first = spec.cluster_ips.first().or(spec.cluster_ip.as_ref());
    let cluster_ip = spec.cluster_ip.as_ref().filter(|ip| !ip.is_empty());
    match cluster_ip.or(first).map(|ip| &**ip) {
        Some("None") => Some(ServiceSkip::Headless),
        None | Some("") => Some(ServiceSkip::NoClusterIp),
        Some(_) => spec.ports.is_empty().then_some(ServiceSkip::NoPorts),
    }
}

/// The settings that all ports of a Service share.
pub(super) struct SharedFields {
    algorithm: Algorithm,
    affinity_seconds: Option<u32>,
    slow_start: Option<Duration>,
    /// In thousandths.
    pub(super) spill_over: Option<u64>,
    /// The traffic policies that are Local.
    pub(super) local: LocalPolicies,
    pub(super) detects_outliers: bool,
    drain: Option<Duration>,
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
            slow_start: slow_start::of(service, report),
            spill_over: spill_over::factor_of(service, report),
            local: LocalPolicies {
                internal: is_local("internalTrafficPolicy", internal, report),
                external: is_local("externalTrafficPolicy", external, report),
            },
            detects_outliers: detects_outliers(context, service, report),
            drain: drain::of(context, service, report),
        }
    }
}

/// The settings that all ports of a Service share. Its problems were reported before.
pub(super) fn shared_fields(context: &Context<'_>, service: &Service) -> SharedFields {
    let id = ObjectId::new(Kind::Service, service.metadata.object_name());
    let mut problems = Vec::new();
    SharedFields::of(context, service, &mut Report::new(id, &mut problems))
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

fn detects_outliers(context: &Context<'_>, service: &Service, report: &mut Report<'_>) -> bool {
    match service.metadata.annotations.outlier_detection.as_deref() {
        None => context.detects_outliers,
        Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let default = context.detects_outliers;
            report.add(format!(
                "annotation socklb.dev/outlier-detection {other:?}: write \"true\" or \"false\"; \"{default}\" is used"
            ));
            default
        }
    }
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
        let why = match usable_port(spec, endpoints, report, &format!("spec.ports[{index}]")) {
            Ok(port) if seen.insert((Arc::clone(&port.name), port.protocol)) => {
                ports.push(port);
                continue;
            }
            Ok(port) => PortSkip::Fault(format!(
                "name {:?} is used twice for {}: give each port its own name",
                port.name, port.protocol
            )),
            Err(why) => why,
        };
        report.add(format!("spec.ports[{index}].{why}; this port is skipped"));
        report.skip(|skips| {
            skips.ports.push(SkippedPort {
                index,
                name: spec.name.to_string(),
                port: spec.port,
                protocol: spec.protocol.as_deref().map(str::to_owned),
                why,
            });
        });
    }
    ports
}

fn usable_port(
    spec: &PortSpec,
    endpoints: &Endpoints<'_>,
    report: &mut Report<'_>,
    field: &str,
) -> Result<UsablePort, PortSkip> {
    let word = spec.protocol.as_deref().unwrap_or("TCP");
    let protocol = Protocol::parse(word).ok_or_else(|| match word {
        "SCTP" => PortSkip::Sctp,
        _ => PortSkip::Fault(format!("protocol {word:?} is unknown: use TCP or UDP")),
    })?;
    address::port_name(&spec.name).map_err(|error| PortSkip::Fault(format!("name {error}")))?;
    let port =
        address::port(spec.port).map_err(|error| PortSkip::Fault(format!("port {error}")))?;
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
