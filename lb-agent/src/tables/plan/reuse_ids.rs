//! Which of the service ports that an earlier agent left are the wanted ones.

use std::collections::BTreeSet;

use lb_common::FrontendKey;

use super::super::encode::frontend_keys;
use super::super::model::Model;
use crate::policy::ServicePort;

/// Gives service ports the ids of those that an earlier agent left, recognized by their ClusterIPs, which are the first frontends
/// to be written. Any other frontend may have come from another Service since: by that one a Service would take over another's
/// rows, and show its backends there.
pub fn reuse_ids(model: &mut Model, ports: &[ServicePort]) {
    if model.orphans.is_empty() {
        return;
    }
    let all: BTreeSet<FrontendKey> = ports.iter().flat_map(frontend_keys).collect();
    for port in ports {
        if model.ids.contains_key(&port.key) {
            continue;
        }
        let wanted: BTreeSet<FrontendKey> = frontend_keys(port).collect();
        let is_others = |key: &FrontendKey| all.contains(key) && !wanted.contains(key);
        let owner = wanted
            .iter()
            .filter_map(|key| model.frontends.get(key))
            .map(|held| held.owner)
            .filter(|owner| model.orphans.contains(owner))
            .find(|owner| match cluster_ip(model, *owner) {
                Some(cluster_ip) => wanted.contains(&cluster_ip),
                // Another Service has got it, or the earlier agent was stopped while it changed.
                None => model
                    .ports
                    .get(owner)
                    .is_some_and(|left| !left.frontends.iter().any(is_others)),
            });
        if let Some(owner) = owner {
            model.orphans.remove(&owner);
            model.ids.insert(port.key.clone(), owner);
        }
    }
}

fn cluster_ip(model: &Model, port: u32) -> Option<FrontendKey> {
    let mut keys = model.ports.get(&port)?.frontends.iter();
    let is_cluster_ip = |key: &&FrontendKey| {
        let held = model.frontends.get(key);
        held.is_some_and(|held| held.is_cluster_ip())
    };
    keys.find(is_cluster_ip).copied()
}
