//! The endpoints of a service port, and those that a client on this node may use.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Want, ip, is_port, list, protocol, text};
use crate::policy::tests::NODE_NAME;
use crate::policy::tests::random::Objects;

/// An endpoint of a service port.
pub struct Endpoint<'a> {
    pub address: SocketAddr,
    /// It is ready, and its weight is not 0.
    ready: bool,
    is_said_ready: bool,
    pub serving: bool,
    terminating: bool,
    pub weight: u64,
    pub node: &'a Value,
    for_nodes: Vec<&'a str>,
    for_zones: Vec<&'a str>,
}

/// The endpoints of all slices of the Service. Of several with one address, the best counts, whatever its weight; of equal ones,
/// the first.
pub fn endpoints<'a>(objects: &'a Objects, want: &Want<'_>) -> Vec<Endpoint<'a>> {
    let mut all = Vec::new();
    let slices = objects.values().filter(|o| o["kind"] == "EndpointSlice");
    let slices = slices.filter(|slice| {
        let (metadata, service) = (&slice["metadata"], &want.service["metadata"]);
        metadata["namespace"] == service["namespace"]
            && metadata["labels"]["kubernetes.io/service-name"] == service["name"]
    });
    let slices: Vec<&Value> = slices.collect();
    let are_ciliums = slices.iter().any(|slice| {
        let annotation = |name: &str| slice["metadata"]["annotations"].get(name);
        annotation("socklb.dev/weight").is_none()
            && annotation("service.cilium.io/weight").is_some()
    });
    let default = if are_ciliums { 100 } else { 1 };
    for slice in slices {
        let metadata = &slice["metadata"];
        if metadata["labels"]
            .get("service.kubernetes.io/headless")
            .is_some()
            || slice["addressType"] != want.family
        {
            continue;
        }
        for endpoint in list(&slice["endpoints"]) {
            for port in list(&slice["ports"]) {
                let is_wanted = (text(&port["name"]), protocol(port)) == want.port;
                if let Some(ip) = ip(&endpoint["addresses"][0], want.family)
                    && let Some(number) = port["port"].as_u64()
                    && is_port(&port["port"])
                    && is_wanted
                {
                    let number = u16::try_from(number).expect("a port");
                    let weight = weight(&metadata["annotations"], default);
                    all.push(read(endpoint, SocketAddr::new(ip, number), weight));
                }
            }
        }
    }
    let mut best: Vec<Endpoint<'a>> = Vec::new();
    for wanted in [(false, true), (false, false), (true, true), (true, false)] {
        let (now, later): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|e| (e.terminating, e.is_said_ready) == wanted);
        for endpoint in now {
            if best.iter().all(|b| b.address != endpoint.address) {
                best.push(endpoint);
            }
        }
        all = later;
    }
    best
}

/// Ours comes first, right or wrong.
fn weight(annotations: &Value, default: u64) -> u64 {
    let written = match annotations.get("socklb.dev/weight") {
        Some(ours) => text(ours).parse().ok().filter(|weight| *weight <= 1_000),
        None => match annotations.get("service.cilium.io/weight") {
            Some(ciliums) => text(ciliums)
                .parse()
                .ok()
                .filter(|weight| *weight <= 65_535),
            None => None,
        },
    };
    let has_sign = annotations["socklb.dev/weight"] == "+1";
    written.filter(|_| !has_sign).unwrap_or(default)
}

fn read(endpoint: &Value, address: SocketAddr, weight: u64) -> Endpoint<'_> {
    let condition = |name: &str, unsaid: bool| {
        let said = endpoint["conditions"][name].as_bool();
        said.unwrap_or(unsaid)
    };
    let hints = |kind: &str| {
        let hints = list(&endpoint["hints"][kind]);
        hints.iter().map(|hint| text(&hint["name"])).collect()
    };
    Endpoint {
        address,
        ready: condition("ready", true) && weight > 0,
        is_said_ready: condition("ready", true),
        serving: condition("serving", true),
        terminating: condition("terminating", false),
        weight,
        node: &endpoint["nodeName"],
        for_nodes: hints("forNodes"),
        for_zones: hints("forZones"),
    }
}

/// The ready endpoints that hints select for this node, if every ready endpoint has hints of that kind and one of them names
/// this node; else all ready ones. If none is ready, those that still serve while they terminate.
pub fn cluster_set<'a>(all: &'a [Endpoint<'a>], zone: &str) -> Vec<&'a Endpoint<'a>> {
    let ready: Vec<&Endpoint<'_>> = all.iter().filter(|e| e.ready).collect();
    if ready.is_empty() {
        return all.iter().filter(is_last_resort).collect();
    }
    if ready.iter().all(|e| !e.for_nodes.is_empty()) {
        let here = |e: &&Endpoint<'_>| e.for_nodes.contains(&NODE_NAME);
        if ready.iter().any(here) {
            return ready.into_iter().filter(here).collect();
        }
    }
    if !zone.is_empty() && ready.iter().all(|e| !e.for_zones.is_empty()) {
        let here = |e: &&Endpoint<'_>| e.for_zones.contains(&zone);
        if ready.iter().any(here) {
            return ready.into_iter().filter(here).collect();
        }
    }
    ready
}

/// The ready endpoints of this node. If none is ready, those of this node that still serve while they terminate.
pub fn local_set<'a>(all: &'a [Endpoint<'a>]) -> Vec<&'a Endpoint<'a>> {
    let local: Vec<&Endpoint<'_>> = all.iter().filter(|e| e.node == NODE_NAME).collect();
    if local.iter().any(|e| e.ready) {
        return local.into_iter().filter(|e| e.ready).collect();
    }
    local.into_iter().filter(|e| is_last_resort(e)).collect()
}

const fn is_last_resort(endpoint: &&Endpoint<'_>) -> bool {
    endpoint.serving && endpoint.terminating && endpoint.weight > 0
}
