//! Decides which service port keeps a frontend that several service ports want. A service port that has it as its ClusterIP
//! comes first, then the one with the oldest Service.
//!
//! The API server assigns ClusterIPs, and assigns none twice. Owners of Services choose external IPs freely. Without this order
//! the owner of an old Service could set the ClusterIP of a younger Service as external IP and take over its connections
//! (CVE-2020-8554).
//!
//! Claims are stored by frontend, so that a change costs only the service ports that want the same frontend.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::service_port::{Frontend, FrontendKind, ServicePortKey};
use crate::catalog::{Family, Kind, ObjectId, ObjectName, Problem, Protocol};

/// An address and port that only one service port on a node can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Site {
    family: Family,
    /// None for a NodePort.
    address: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
}

impl Site {
    /// `address`: none for a NodePort.
    pub(super) const fn at(
        address: Option<IpAddr>,
        family: Family,
        port: u16,
        protocol: Protocol,
    ) -> Self {
        Self {
            family,
            address,
            port,
            protocol,
        }
    }

    pub(super) fn of(key: &ServicePortKey, frontend: &Frontend) -> Self {
        Self {
            family: key.family,
            address: frontend.address,
            port: frontend.port,
            protocol: key.protocol,
        }
    }
}

/// A service port that wants a frontend. The smallest claimant gets it.
///
/// Claimants are ordered by the age of the Service, then by name. A Service without a creation timestamp counts as oldest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claimant {
    pub(super) created: Option<Timestamp>,
    pub(super) key: ServicePortKey,
}

#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Sorted; nearly always one claim.
    by_site: HashMap<Site, Vec<Claim>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    /// The Service's owner chose the address: it is not a ClusterIP.
    is_own_choice: bool,
    claimant: Arc<Claimant>,
}

impl Claims {
    pub(super) fn holder(&self, site: &Site) -> Option<&Arc<Claimant>> {
        self.claimants(site).next()
    }

    pub(super) fn claimants(&self, site: &Site) -> impl Iterator<Item = &Arc<Claimant>> {
        let claims = self.by_site.get(site).into_iter().flatten();
        claims.map(|claim| &claim.claimant)
    }

    pub(super) fn add(&mut self, site: Site, kind: FrontendKind, claimant: Arc<Claimant>) {
        let claim = Claim {
            is_own_choice: kind != FrontendKind::ClusterIp,
            claimant,
        };
        let claims = self
            .by_site
            .entry(site)
            .or_insert_with(|| Vec::with_capacity(1));
        if let Err(index) = claims.binary_search(&claim) {
            claims.insert(index, claim);
        }
    }

    pub(super) fn release(&mut self, site: &Site, claimant: &Arc<Claimant>) {
        if let Some(claims) = self.by_site.get_mut(site) {
            claims.retain(|claim| claim.claimant != *claimant);
            if claims.is_empty() {
                self.by_site.remove(site);
            }
        }
    }
}

/// The problem that the owner of a service port sees when it did not get a frontend.
pub(super) fn problem(
    key: &ServicePortKey,
    frontend: &Frontend,
    holder: &ServicePortKey,
) -> Problem {
    let of = |key: &ServicePortKey| ObjectId {
        kind: Kind::Service,
        name: ObjectName {
            namespace: Arc::clone(&key.namespace),
            name: Arc::clone(&key.name),
        },
    };
    let what = match (frontend.kind, frontend.address) {
        (FrontendKind::NodePort, _) | (_, None) => format!("{} {}", frontend.kind, frontend.port),
        (kind, Some(IpAddr::V4(address))) => format!("{kind} {address}:{}", frontend.port),
        (kind, Some(IpAddr::V6(address))) => format!("{kind} [{address}]:{}", frontend.port),
    };
    let (loser, winner) = (of(key), of(holder));
    let message = if loser == winner {
        format!(
            "{what} {} is used by two ports of this Service, {:?} and {:?}: the first keeps it; change the other",
            key.protocol, holder.port, key.port
        )
    } else {
        format!(
            "{what} {} already belongs to {winner}, which takes precedence: change one of the two",
            key.protocol
        )
    };
    Problem::of(&loser, message)
}
