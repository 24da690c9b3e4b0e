//! The lists of Services, frontends and backends: what the objects ask for, and what the tables contain of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use lb_common::ServiceCounters;
use lb_common::backend::state;
use lb_common::service_counters::RoundTrips;

use super::clock::monotonic;
use super::engine::Engine;
use crate::catalog::{Kind, ObjectId, PortSpec, Problem, Protocol, Service};
use crate::policy::{FULL_WEIGHT, FrontendKind, ServicePort, ServicePortKey};
use crate::serve::{
    BackendStatus, FrontendStatus, PortStatus, RoundTripStatus, Selection, ServiceStatus,
};
use crate::tables::{BackendCounters, Backing};

/// The Services that are balanced or have problems, sorted.
///
/// `counters`: by the id of a service port. `problems`: those that the engine does not know.
pub fn services<B: Backing>(
    engine: &Engine<B>,
    counters: &HashMap<u32, ServiceCounters>,
    problems: Vec<Problem>,
    of: &Selection,
) -> Vec<ServiceStatus> {
    let mut elsewhere: HashMap<String, Vec<Problem>> = HashMap::new();
    for problem in engine.problems_elsewhere().chain(problems) {
        let problems = elsewhere.entry(problem.object.clone()).or_default();
        problems.push(problem);
    }
    let selected = engine.catalog().services();
    let mut selected: Vec<&Service> = selected
        .filter(|service| {
            let metadata = &service.metadata;
            of.includes(&metadata.namespace, &metadata.name)
        })
        .collect();
    selected.sort_unstable_by_key(|service| (&service.metadata.namespace, &service.metadata.name));
    let services = selected.into_iter();
    services
        .map(|service| service_status(engine, counters, service, &elsewhere))
        .filter(|service| !service.ports.is_empty() || !service.problems.is_empty())
        .collect()
}

/// The frontends of Services in the tables, sorted by Service and port, then by kind and address.
pub fn frontends<B: Backing>(engine: &Engine<B>, of: &Selection) -> Vec<FrontendStatus> {
    let mut list = Vec::new();
    for key in selected_ports(engine, of) {
        let mut frontends: Vec<_> = engine.tables().frontends_of(key).collect();
        frontends.sort_by_key(|frontend| (frontend.kind, frontend.address));
        list.extend(frontends.into_iter().map(|frontend| FrontendStatus {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            port: key.port.to_string(),
            protocol: key.protocol.to_string(),
            family: key.family.to_string(),
            kind: frontend.kind.to_string(),
            address: frontend.address.to_string(),
            id: frontend.id,
            scope: frontend.scope.to_string(),
            backends: frontend.backends,
            outside_backends: frontend.outside_backends,
        }));
    }
    list
}

/// The backends of Services in the tables, sorted by Service and port, then by address.
pub fn backends<B: Backing>(engine: &Engine<B>, of: &Selection) -> Vec<BackendStatus> {
    let mut list = Vec::new();
    let now = monotonic();
    for key in selected_ports(engine, of) {
        let port = engine.policy().port(key);
        let backends = engine.tables().backends_of(key);
        let starting = engine.slow_start();
        list.extend(backends.map(|backend| {
            let tenths = starting.share_of(key, backend.address);
            BackendStatus {
                weight_percent: tenths * (100 / FULL_WEIGHT),
                ..backend_status(&backend, port, now)
            }
        }));
    }
    list
}

/// The service ports in the tables, sorted.
fn selected_ports<'a, B: Backing>(
    engine: &'a Engine<B>,
    of: &Selection,
) -> Vec<&'a ServicePortKey> {
    let keys = engine.tables().service_ports();
    let mut keys: Vec<&ServicePortKey> = keys
        .filter(|key| of.includes(&key.namespace, &key.name))
        .collect();
    keys.sort();
    keys
}

fn service_status<B: Backing>(
    engine: &Engine<B>,
    counters: &HashMap<u32, ServiceCounters>,
    service: &Service,
    elsewhere: &HashMap<String, Vec<Problem>>,
) -> ServiceStatus {
    let spec = &service.spec;
    let name = service.metadata.object_name();
    let mut status = ServiceStatus {
        namespace: Arc::clone(&name.namespace),
        name: Arc::clone(&name.name),
        service_type: service_type(spec.service_type.as_deref()),
        cluster_ips: cluster_ips(service),
        internal_traffic_policy: traffic_policy(spec.internal_traffic_policy.as_deref()),
        problems: engine
            .policy()
            .problems_of(&name)
            .map(ToString::to_string)
            .collect(),
        ..ServiceStatus::default()
    };
    let mut is_reached_from_outside = false;
    let mut counted = ServiceCounters::NONE;
    for port in engine.policy().ports_of(&name) {
        let of_port =
            |of: &PortStatus| of.name == port.key.port && of.protocol == port.key.protocol.name();
        if !status.ports.last().is_some_and(of_port) {
            status.ports.extend(port_status(service, port));
        }
        status.algorithm = Some(port.algorithm.name().into());
        status.affinity_seconds = port.affinity_seconds;
        let drain = port.drain.map(|time| time.as_secs());
        status.drain_seconds = status.drain_seconds.or(drain);
        is_reached_from_outside |= port
            .frontends
            .iter()
            .any(|of| of.kind != FrontendKind::ClusterIp);
        let Some(counts) = engine.tables().counts_of(&port.key) else {
            continue;
        };
        status.frontends += counts.frontends;
        status.backends.total += counts.backends;
        status.backends.used += counts.used_backends;
        status.backends.serving += counts.serving_backends;
        status.connections += counts.present_connections;
        status.active += counts.active;
        let since_start = &mut status.connections_since_start;
        *since_start = since_start.wrapping_add(counts.connections);
        if let Some(of_port) = counters.get(&counts.id) {
            counted.add(of_port);
        }
    }
    status.refused = counted.refused;
    status.failed = counted.failed;
    status.round_trips = round_trips(&counted.smoothed);
    if is_reached_from_outside {
        status.external_traffic_policy =
            Some(traffic_policy(spec.external_traffic_policy.as_deref()));
    }
    if !elsewhere.is_empty() {
        let id = ObjectId::new(Kind::Service, name);
        let problems = elsewhere.get(&id.to_string()).into_iter().flatten();
        status.problems.extend(problems.map(ToString::to_string));
    }
    status.problems.sort();
    status
}

/// None if nothing was measured.
fn round_trips(times: &RoundTrips) -> Option<RoundTripStatus> {
    let has_any = times.buckets.iter().any(|number| *number > 0);
    has_any.then(|| RoundTripStatus {
        sum_micros: times.sum,
        buckets: times.buckets.to_vec(),
    })
}

/// The type that a field stands for.
fn service_type(field: Option<&str>) -> Cow<'static, str> {
    match field {
        None | Some("ClusterIP") => "ClusterIP".into(),
        Some("NodePort") => "NodePort".into(),
        Some("LoadBalancer") => "LoadBalancer".into(),
        Some(other) => other.to_owned().into(),
    }
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = &service.spec;
    let first = spec
        .cluster_ip
        .as_ref()
        .filter(|_| spec.cluster_ips.is_empty());
    let written = spec.cluster_ips.iter().chain(first);
    written.filter_map(|text| text.parse().ok()).collect()
}

/// The policy that a field stands for: Cluster unless it is Local.
fn traffic_policy(field: Option<&str>) -> Cow<'static, str> {
    match field {
        Some("Local") => "Local".into(),
        _ => "Cluster".into(),
    }
}

/// None if the Service has changed since the policy evaluated it.
fn port_status(service: &Service, port: &ServicePort) -> Option<PortStatus> {
    let protocol = |spec: &PortSpec| Protocol::parse(spec.protocol.as_deref().unwrap_or("TCP"));
    let key = &port.key;
    let mut specs = service.spec.ports.iter();
    let spec = specs.find(|spec| spec.name == key.port && protocol(spec) == Some(key.protocol))?;
    let mut frontends = port.frontends.iter();
    let node_port = frontends.find(|frontend| frontend.kind == FrontendKind::NodePort);
    Some(PortStatus {
        name: Arc::clone(&key.port),
        protocol: key.protocol.name().into(),
        port: spec.port.and_then(|number| number.try_into().ok())?,
        node_port: node_port.map(|frontend| frontend.port),
    })
}

/// `now`: in ns of CLOCK_MONOTONIC.
fn backend_status(
    backend: &BackendCounters<'_>,
    port: Option<&ServicePort>,
    now: u64,
) -> BackendStatus {
    let key = backend.port;
    let known = port.and_then(|port| {
        let backends = &port.backends;
        let index = backends.binary_search_by_key(&backend.address, |known| known.address);
        backends.get(index.ok()?)
    });
    BackendStatus {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        port: key.port.to_string(),
        protocol: key.protocol.to_string(),
        family: key.family.to_string(),
        address: backend.address.to_string(),
        id: backend.id,
        node: known.and_then(|known| known.node.as_deref().map(str::to_owned)),
        zone: known.and_then(|known| known.zone.as_deref().map(str::to_owned)),
        internal: backend.state & state::INTERNAL != 0,
        external: backend.state & state::EXTERNAL != 0,
        serving: backend.state & state::SERVING != 0,
        spill_over: port.is_some_and(|port| port.spills_to(backend.address)),
        // The tables do not contain 0.
        weight: known.map_or(backend.weight, |known| known.weight),
        weight_percent: 100,
        connections: backend.connections,
        active: backend.active,
        failures: backend.failures,
        ejected: backend.ejected_until != 0,
        ejected_seconds: (backend.ejected_until != 0).then(|| {
            backend
                .ejected_until
                .saturating_sub(now)
                .div_ceil(1_000_000_000)
        }),
    }
}
