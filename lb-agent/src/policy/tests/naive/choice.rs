//! The endpoints of a service port, and those that a client on this node may use.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
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
    zone: &'a Value,
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
        zone: &endpoint["zone"],
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

/// The ready endpoints that hints do not select and that get connections nevertheless, and how many percent of them.
///
/// Hints select by node or by zone. As many connections stay as endpoints are ready among all that are there or are to come
/// back, by their weights, times the factor. A part below an eighth goes to one for each thousandth. An endpoint that is not ready may have no hint; then its own place counts.
pub fn spilled<'a>(
    all: &'a [Endpoint<'a>],
    zone: &str,
    factor: f64,
    has_local_policy: bool,
) -> Option<(Vec<&'a Endpoint<'a>>, u64)> {
    let stay = cluster_set(all, zone);
    let is_in =
        |set: &[&Endpoint<'_>], e: &Endpoint<'_>| set.iter().any(|s| s.address == e.address);
    let mut others: Vec<&Endpoint<'_>> =
        all.iter().filter(|e| e.ready && !is_in(&stay, e)).collect();
    let local = local_set(all);
    let is_mixed = local.iter().any(|e| is_in(&stay, e)) && local.iter().any(|e| is_in(&others, e));
    if !stay.iter().all(|e| e.ready) || others.is_empty() || has_local_policy && is_mixed {
        return None;
    }
    let mut ready = all.iter().filter(|e| e.ready);
    let by_node = ready.all(|e| !e.for_nodes.is_empty())
        && stay.iter().all(|e| e.for_nodes.contains(&NODE_NAME));
    let missing = all.iter().filter(|e| {
        let (hints, place, own) = match by_node {
            true => (&e.for_nodes, e.node, NODE_NAME),
            false => (&e.for_zones, e.zone, zone),
        };
        let is_here = match hints.is_empty() {
            true => place == own,
            false => hints.contains(&own),
        };
        is_here && !e.is_said_ready && !e.terminating
    });
    let missing: u64 = missing.map(|e| e.weight).sum();
    let has: u64 = stay.iter().map(|e| e.weight).sum();
    let share = has as f64 / (has + missing) as f64 * factor;
    let part = 1.0 - share;
    if part < 0.125 - 1e-9 {
        others.sort_by_key(|e| {
            let mut hash = DefaultHasher::new();
            (NODE_NAME, e.address).hash(&mut hash);
            hash.finish()
        });
        let most = (1..=others.len()).take_while(|number| *number as f64 <= 1024.0 * part + 1e-9);
        others.truncate(most.last().unwrap_or(1));
    }
    let percent = ((1.0 - share) * 100.0 + 1e-9).round().clamp(1.0, 99.0);
    let percent = (1..100_u8).find(|whole| f64::from(*whole) == percent);
    (share < 1.0 - 1e-9).then(|| (others, percent.expect("a percentage").into()))
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
