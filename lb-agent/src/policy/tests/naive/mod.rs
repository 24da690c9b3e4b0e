//! A second, naive implementation of the rules, with which the policy is compared.
//!
//! It reads the objects' JSON itself and computes everything from scratch.

mod addresses;
mod choice;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;
use serde_json::Value;

use self::addresses::{addresses, source_ranges, vip};
use self::choice::{Endpoint, cluster_set, endpoints, local_set, spilled};
use super::random::{Objects, objects};
use super::{Case, NODE_NAME, OUR_PROXY_NAME, Settings};
use crate::policy::{Backend, Scope};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_policy_agrees_with_a_naive_one(settings in settings(), objects in objects()) {
        prop_assert_eq!(found(&Case::of(settings, &objects)), frontends(settings, &objects));
    }
}

/// Random settings of the agent.
pub fn settings() -> impl Strategy<Value = Settings> {
    any::<(bool, bool)>().prop_map(|(has_packet_path, refuses_external_ips)| Settings {
        has_packet_path,
        refuses_external_ips,
    })
}

/// The policy's result, in the form of [`frontends`].
pub fn found(case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    let addresses = |of: Vec<&Backend>, weights_matter: bool| {
        let node = |b: &Backend| b.node.as_deref().unwrap_or_default().to_owned();
        let mut addresses: Vec<String> = of
            .iter()
            .map(|b| match weights_matter {
                true => format!("{}@{} x{}", b.address, node(b), b.weight),
                false => format!("{}@{}", b.address, node(b)),
            })
            .collect();
        addresses.sort();
        addresses
    };
    for port in case.policy.service_ports() {
        // Then they are those that give both sides their shares.
        let weights_matter = port.spill_over.is_none();
        let serving = port.backends.iter().filter(|b| b.serving).collect();
        let serving = addresses(serving, weights_matter);
        for view in port.views() {
            let spill_over = view
                .spill_over
                .map(|of| (&of.to[..], u64::from(of.percent)));
            let spill_over = format!("{spill_over:?}");
            let chosen = addresses(view.backends, weights_matter);
            let place = place(view.scope == Scope::Outside);
            for frontend in view.frontends {
                let ranges: Vec<String> = match port.has_source_ranges(frontend) {
                    true => port.source_ranges.iter().map(ToString::to_string).collect(),
                    false => Vec::new(),
                };
                lines.push(format!(
                    "{}/{} {:?} {} {} {:?} {} from {place} in {ranges:?} affinity {:?} -> {chosen:?} spill over {spill_over} serving {serving:?}",
                    port.key.namespace,
                    port.key.name,
                    (&port.key.port, port.key.protocol.to_string()),
                    port.key.family,
                    frontend.kind,
                    frontend.address,
                    frontend.port,
                    port.affinity_seconds,
                ));
            }
        }
    }
    lines.sort();
    lines
}

/// Who asks: packets from outside, if they get other backends than all the rest.
const fn place(is_outside: bool) -> &'static str {
    if is_outside { "outside" } else { "anywhere" }
}

/// An address and port that clients may connect to, and the service port that claims it.
struct Want<'a> {
    service: &'a Value,
    /// The name of the port, and its protocol.
    port: (&'a str, &'a str),
    family: &'static str,
    kind: &'static str,
    /// None for a NodePort.
    address: Option<IpAddr>,
    number: u64,
}

/// One line for each frontend, with its address and backends, and one more if packets from outside get others; [`found`] must be
/// equal.
pub fn frontends(settings: Settings, objects: &Objects) -> Vec<String> {
    let services = objects.values().filter(|o| o["kind"] == "Service");
    let wants: Vec<Want<'_>> = services
        .filter(|service| !is_skipped(service))
        .flat_map(|service| wants(settings, service))
        .collect();
    let gotten = wants.iter().filter(|want| {
        let mut others = wants.iter();
        !others.any(|other| is_same_site(want, other) && rank(other) < rank(want))
    });
    let lines = gotten.flat_map(|want| {
        let is_local = want.service["spec"]["externalTrafficPolicy"] == "Local";
        let has_outside = settings.has_packet_path && is_local && want.kind != "ClusterIP";
        let outside = has_outside.then(|| line(settings, objects, want, true));
        [line(settings, objects, want, false)]
            .into_iter()
            .chain(outside)
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// Whether clusterIP, type, a label or an annotation excludes the Service.
fn is_skipped(service: &Value) -> bool {
    let (metadata, spec) = (&service["metadata"], &service["spec"]);
    // null is an empty label.
    let label = |name: &str| metadata["labels"].get(name);
    let proxy = label("service.kubernetes.io/service-proxy-name");
    let first = match text(&spec["clusterIP"]) {
        "" => text(&spec["clusterIPs"][0]),
        ip => ip,
    };
    proxy.is_some_and(|proxy| proxy != OUR_PROXY_NAME)
        || label("service.kubernetes.io/headless").is_some()
        || spec["type"] == "ExternalName"
        || metadata["annotations"]["socklb.dev/ignore"] == "true"
        || ["", "None"].contains(&first)
}

fn wants(settings: Settings, service: &Value) -> Vec<Want<'_>> {
    let spec = &service["spec"];
    let mut wants = Vec::new();
    let mut seen = Vec::new();
    for port in list(&spec["ports"]) {
        let of = (text(&port["name"]), protocol(port));
        if !["TCP", "UDP"].contains(&of.1) || !is_port(&port["port"]) || seen.contains(&of) {
            continue;
        }
        seen.push(of);
        for family in ["IPv4", "IPv6"] {
            let want = |kind, address, number: &Value| Want {
                service,
                port: of,
                family,
                kind,
                address,
                number: number.as_u64().unwrap_or_default(),
            };
            let mut addresses: Vec<(&str, IpAddr)> = addresses(settings, service, family);
            while let Some((kind, address)) = addresses.pop() {
                if addresses.iter().all(|(_, other)| *other != address) {
                    wants.push(want(kind, Some(address), &port["port"]));
                }
            }
            if vip(service, family).is_some() && is_port(&port["nodePort"]) {
                wants.push(want("NodePort", None, &port["nodePort"]));
            }
        }
    }
    wants
}

fn is_same_site(a: &Want<'_>, b: &Want<'_>) -> bool {
    (a.family, a.address, a.number, a.port.1) == (b.family, b.address, b.number, b.port.1)
}

/// The first in this order wins: the Service whose ClusterIP it is, then the oldest (no date counts as oldest), then by name.
fn rank<'a>(want: &Want<'a>) -> (bool, &'a str, &'a str, &'a str, (&'a str, &'a str)) {
    let metadata = &want.service["metadata"];
    (
        want.kind != "ClusterIP",
        text(&metadata["creationTimestamp"]),
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        want.port,
    )
}

fn line(settings: Settings, objects: &Objects, want: &Want<'_>, is_outside: bool) -> String {
    let (metadata, spec) = (&want.service["metadata"], &want.service["spec"]);
    let endpoints = endpoints(objects, want);
    let is_local =
        is_outside || want.kind == "ClusterIP" && spec["internalTrafficPolicy"] == "Local";
    let has_local_policy = spec["internalTrafficPolicy"] == "Local"
        || settings.has_packet_path && spec["externalTrafficPolicy"] == "Local";
    let factor = match text(&metadata["annotations"]["socklb.dev/spill-over"]) {
        "1" => Some(1.0),
        "1.4" => Some(1.4),
        _ => None,
    };
    let zone = zone(objects);
    let mut spilled = factor.and_then(|factor| spilled(&endpoints, zone, factor, has_local_policy));
    let weights_matter = spilled.is_none();
    let mut chosen = if is_local {
        spilled = None;
        local_set(&endpoints)
    } else {
        cluster_set(&endpoints, zone)
    };
    let spill_over = spilled.map(|(others, percent)| {
        chosen.extend(others.iter().copied());
        let mut to: Vec<SocketAddr> = others.iter().map(|e| e.address).collect();
        to.sort();
        (to, percent)
    });
    let ranges = match want.kind {
        "LoadBalancer" => source_ranges(want.service, want.family),
        _ => Vec::new(),
    };
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    let affinity = match seconds.as_u64() {
        _ if spec["sessionAffinity"] != "ClientIP" => None,
        Some(seconds @ 1..=86_400) => Some(seconds),
        _ => Some(10_800),
    };
    let addresses = |of: &[&Endpoint<'_>]| {
        let of_node = |e: &&Endpoint<'_>| match weights_matter {
            true => format!("{}@{} x{}", e.address, text(e.node), e.weight),
            false => format!("{}@{}", e.address, text(e.node)),
        };
        let mut addresses: Vec<String> = of.iter().map(of_node).collect();
        addresses.sort();
        addresses
    };
    let serving: Vec<&Endpoint<'_>> = endpoints.iter().filter(|e| e.serving).collect();
    format!(
        "{}/{} {:?} {} {} {:?} {} from {} in {ranges:?} affinity {affinity:?} -> {:?} spill over {spill_over:?} serving {:?}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        want.port,
        want.family,
        want.kind,
        want.address,
        want.number,
        place(is_outside),
        addresses(&chosen),
        addresses(&serving),
    )
}

fn zone(objects: &Objects) -> &str {
    let mut nodes = objects.values().filter(|o| o["kind"] == "Node");
    let own = nodes.find(|node| node["metadata"]["name"] == NODE_NAME);
    own.map_or("", |node| {
        text(&node["metadata"]["labels"]["topology.kubernetes.io/zone"])
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn protocol(port: &Value) -> &str {
    port["protocol"].as_str().unwrap_or("TCP")
}

fn is_port(value: &Value) -> bool {
    (1..=65535).contains(&value.as_i64().unwrap_or_default())
}

/// An address of the family that Services may use.
fn ip(value: &Value, family: &str) -> Option<IpAddr> {
    let ip = address(text(value))?;
    let is_ours = !ip.is_loopback() && !ip.is_multicast() && !ip.is_unspecified();
    (is_ours && family_of(ip) == family).then_some(ip)
}

/// Leading zeros are ignored.
fn address(text: &str) -> Option<IpAddr> {
    let octets: Vec<Option<u8>> = text.split('.').map(|o| o.parse().ok()).collect();
    match octets[..] {
        [Some(a), Some(b), Some(c), Some(d)] => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => text.parse().ok(),
    }
}

const fn family_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}
