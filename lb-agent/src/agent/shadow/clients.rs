//! Where clients are, as far as `externalTrafficPolicy: Local` asks for it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::catalog::Family;

/// What is known of clients by their addresses.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// The node's own addresses.
    pub node: Vec<IpAddr>,
    /// `--cluster-cidr`; empty: unknown.
    pub pods: Vec<IpNet>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the node, or in a pod of the cluster.
    Inside,
    Outside,
    Unknown,
}

impl Clients {
    pub fn place(&self, client: IpAddr) -> Place {
        if client.is_loopback() || self.node.contains(&client) {
            return Place::Inside;
        }
        let is_of = |cidr: &&IpNet| Family::of(cidr.addr()) == Family::of(client);
        let cidrs: Vec<&IpNet> = self.pods.iter().filter(is_of).collect();
        match cidrs.iter().any(|cidr| cidr.contains(&client)) {
            true => Place::Inside,
            false if cidrs.is_empty() => Place::Unknown,
            false => Place::Outside,
        }
    }
}
