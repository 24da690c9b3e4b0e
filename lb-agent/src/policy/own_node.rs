//! The agent's node: whether it is one of the cluster's nodes, and its primary addresses.

use std::net::IpAddr;

use super::address;
use crate::catalog::{Catalog, Family, Kind, Node, ObjectId, ObjectName, Problem};

/// Reports a node name that does not occur in the cluster. The agent then behaves as if the node had no endpoints and no zone:
/// the policy Local yields no backends here, and no hints apply.
pub(super) fn problem(catalog: &Catalog) -> Option<Problem> {
    let id = id(catalog);
    catalog.is_node_unknown().then(|| {
        Problem::of(
            &id,
            "no Node has this name, and all endpoints are on other nodes, so Local policies and hints select nothing: \
             set --node-name (or NODE_NAME) to the name that `kubectl get nodes` shows",
        )
    })
}

/// The node's primary addresses: of each family the first InternalIP, or else the first ExternalIP (`GetNodeHostIPs` in
/// k8s.io/component-helpers/node/util), but not loopback (`--nodeport-addresses primary` in kube-proxy's
/// cmd/kube-proxy/app/server.go).
#[must_use]
pub fn primary_addresses(node: &Node) -> Vec<IpAddr> {
    let of_kind = |kind| {
        let addresses = node.status.addresses.iter();
        let of_kind = addresses.filter(move |address| &*address.kind == kind);
        of_kind.filter_map(|address| address::lenient(&address.address))
    };
    let all = of_kind("InternalIP").chain(of_kind("ExternalIP"));
    let all: Vec<IpAddr> = all.map(|address| address.to_canonical()).collect();
    let first = |family| {
        let mut of_family = all.iter().filter(move |a| Family::of(**a) == family);
        of_family.next().copied()
    };
    [Family::Ipv4, Family::Ipv6]
        .into_iter()
        .filter_map(first)
        .filter(|address| !address.is_loopback())
        .collect()
}

/// Reports that the node's primary addresses are not known.
#[must_use]
pub fn no_primary_address(catalog: &Catalog) -> Problem {
    Problem::of(
        &id(catalog),
        "no InternalIP or ExternalIP in status.addresses, so NodePorts are served on no address of the node: add them (with \
         --manifests, add the Node), or name ranges instead of `primary` in --nodeport-addresses",
    )
}

fn id(catalog: &Catalog) -> ObjectId {
    ObjectId::new(Kind::Node, ObjectName::new("", catalog.node_name()))
}
