//! The endpoints of a service port, and those that a client on this node may use.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Want, ip, is_port, list, protocol, text};
use crate::policy::tests::NODE_NAME;
use crate::policy::tests::random::Objects;

/// An endpoint of a service port.
pub struct Endpoint<'a> {
    pub address: SocketAddr,
    ready: bool,
    pub serving: bool,
    terminating: bool,
    pub node: &'a Value,
    for_nodes: Vec<&'a str>,
    for_zones: Vec<&'a str>,
}

/// The endpoints of all slices of the Service. Of several with one address, the best counts; of equal ones, the first.
pub fn endpoints<'a>(objects: &'a Objects, want: &Want<'_>) -> Vec<Endpoint<'a>> {
    let mut all = Vec::new();
    for slice in objects.values().filter(|o| o["kind"] == "EndpointSlice") {
        let (metadata, service) = (&slice["metadata"], &want.service["metadata"]);
        if metadata["namespace"] != service["namespace"]
            || metadata["labels"]["kubernetes.io/service-name"] != service["name"]
            || metadata["labels"]
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
                    all.push(read(endpoint, SocketAddr::new(ip, number)));
                }
            }
        }
    }
    let mut best: Vec<Endpoint<'a>> = Vec::new();
    for wanted in [(false, true), (false, false), (true, true), (true, false)] {
        let (now, later): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|e| (e.terminating, e.ready) == wanted);
        for endpoint in now {
            if best.iter().all(|b| b.address != endpoint.address) {
                best.push(endpoint);
            }
        }
        all = later;
    }
    best
}

fn read(endpoint: &Value, address: SocketAddr) -> Endpoint<'_> {
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
        ready: condition("ready", true),
        serving: condition("serving", true),
        terminating: condition("terminating", false),
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
        return all.iter().filter(|e| e.serving && e.terminating).collect();
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
    let is_last_resort = |e: &&Endpoint<'_>| e.serving && e.terminating;
    local.into_iter().filter(is_last_resort).collect()
}
