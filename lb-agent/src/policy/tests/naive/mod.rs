//! A second, naive implementation of the rules, with which the policy is compared.
//!
//! It reads the objects' JSON itself and computes everything from scratch.

mod choice;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::Value;

use self::choice::{Endpoint, cluster_set, endpoints, local_set};
use super::random::{Objects, objects};
use super::{Case, NODE_NAME, OUR_PROXY_NAME};
use crate::policy::Backend;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_policy_agrees_with_a_naive_one(objects in objects()) {
        prop_assert_eq!(found(&Case::of(&objects)), frontends(&objects));
    }
}

/// The policy's result, in the form of [`frontends`].
pub fn found(case: &Case) -> Vec<String> {
    let mut lines = Vec::new();
    let addresses = |of: Vec<&Backend>| {
        let node = |b: &Backend| b.node.as_deref().unwrap_or_default().to_owned();
        let mut addresses: Vec<String> = of
            .iter()
            .map(|b| format!("{}@{}", b.address, node(b)))
            .collect();
        addresses.sort();
        addresses
    };
    for port in case.policy.service_ports() {
        let serving = port.backends.iter().filter(|b| b.serving).collect();
        let serving = addresses(serving);
        for view in port.views() {
            let chosen = addresses(view.backends);
            for frontend in view.frontends {
                lines.push(format!(
                    "{}/{} {:?} {} {} {:?} {} affinity {:?} -> {chosen:?} serving {serving:?}",
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

/// One line for each frontend, with its address and backends; [`found`] must be equal.
pub fn frontends(objects: &Objects) -> Vec<String> {
    let services = objects.values().filter(|o| o["kind"] == "Service");
    let wants: Vec<Want<'_>> = services
        .filter(|service| !is_skipped(service))
        .flat_map(wants)
        .collect();
    let gotten = wants.iter().filter(|want| {
        let mut others = wants.iter();
        !others.any(|other| is_same_site(want, other) && rank(other) < rank(want))
    });
    let mut lines: Vec<String> = gotten.map(|want| line(objects, want)).collect();
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

fn wants(service: &Value) -> Vec<Want<'_>> {
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
            let mut addresses: Vec<(&str, IpAddr)> = addresses(service, family);
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

/// All addresses of a Service in a family, without duplicates.
fn addresses(service: &Value, family: &str) -> Vec<(&'static str, IpAddr)> {
    let Some(vip) = vip(service, family) else {
        return Vec::new();
    };
    let mut all = vec![("ClusterIP", vip)];
    for text in list(&service["spec"]["externalIPs"]) {
        all.extend(ip(text, family).map(|ip| ("ExternalIP", ip)));
    }
    for ingress in list(&service["status"]["loadBalancer"]["ingress"]) {
        let is_vip = ingress["ipMode"].is_null() || ingress["ipMode"] == "VIP";
        if is_vip && !is_filtered(service, family) {
            all.extend(ip(&ingress["ip"], family).map(|ip| ("LoadBalancer", ip)));
        }
    }
    all
}

/// The ClusterIP of a family: the one at the family's position in `ipFamilies` or, without that field, the first of that
/// family.
fn vip(service: &Value, family: &str) -> Option<IpAddr> {
    let spec = &service["spec"];
    let one = [spec["clusterIP"].clone()];
    let ips = match list(&spec["clusterIPs"]) {
        [] => &one,
        ips => ips,
    };
    let said = |index: usize| &spec["ipFamilies"][index];
    let is_meant = |index: usize| said(index).is_null() || said(index) == family;
    let mut meant = ips.iter().enumerate().filter(|(i, _)| is_meant(*i));
    meant.find_map(|(_, text)| ip(text, family))
}

/// Whether source ranges restrict the clients of the Service's LoadBalancer IPs of the family.
fn is_filtered(service: &Value, family: &str) -> bool {
    let ranges = list(&service["spec"]["loadBalancerSourceRanges"]).iter();
    let ranges = ranges.filter_map(|range| {
        let (ip, length) = text(range).trim().split_once('/')?;
        IpNet::new(address(ip)?, length.parse().ok()?).ok()
    });
    let of_family: Vec<IpNet> = ranges
        .filter(|range| family_of(range.addr()) == family)
        .collect();
    !of_family.is_empty() && of_family.iter().all(|range| range.prefix_len() != 0)
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

fn line(objects: &Objects, want: &Want<'_>) -> String {
    let (metadata, spec) = (&want.service["metadata"], &want.service["spec"]);
    let endpoints = endpoints(objects, want);
    let is_local = want.kind == "ClusterIP" && spec["internalTrafficPolicy"] == "Local";
    let chosen = if is_local {
        local_set(&endpoints)
    } else {
        cluster_set(&endpoints, zone(objects))
    };
    let seconds = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    let affinity = match seconds.as_u64() {
        _ if spec["sessionAffinity"] != "ClientIP" => None,
        Some(seconds @ 1..=86_400) => Some(seconds),
        _ => Some(10_800),
    };
    let addresses = |of: &[&Endpoint<'_>]| {
        let of_node = |e: &&Endpoint<'_>| format!("{}@{}", e.address, text(e.node));
        let mut addresses: Vec<String> = of.iter().map(of_node).collect();
        addresses.sort();
        addresses
    };
    let serving: Vec<&Endpoint<'_>> = endpoints.iter().filter(|e| e.serving).collect();
    format!(
        "{}/{} {:?} {} {} {:?} {} affinity {affinity:?} -> {:?} serving {:?}",
        text(&metadata["namespace"]),
        text(&metadata["name"]),
        want.port,
        want.family,
        want.kind,
        want.address,
        want.number,
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
