//! Which addresses of the Service CIDRs Services have, whoever serves them: all others are unallocated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Update, address};
use crate::catalog::{ObjectName, Service};

/// Costs nothing without CIDRs.
#[derive(Debug, Default)]
pub(super) struct Named {
    cidrs: Vec<IpNet>,
    of: HashMap<ObjectName, BTreeSet<IpAddr>>,
    /// How many Services have an address.
    services: BTreeMap<IpAddr, usize>,
}

impl Named {
    pub(super) fn new(cidrs: Vec<IpNet>) -> Self {
        Self {
            cidrs,
            ..Self::default()
        }
    }

    /// A Service may have other addresses, or be no more.
    pub(super) fn update(
        &mut self,
        name: &ObjectName,
        service: Option<&Service>,
        update: &mut Update,
    ) {
        if self.cidrs.is_empty() {
            return;
        }
        let addresses: BTreeSet<IpAddr> = service
            .into_iter()
            .flat_map(addresses)
            .filter(|address| self.cidrs.iter().any(|cidr| cidr.contains(address)))
            .collect();
        let before = self.of.remove(name).unwrap_or_default();
        for address in addresses.difference(&before) {
            let services = self.services.entry(*address).or_insert(0);
            *services += 1;
            if *services == 1 {
                update.unnamed.retain(|unnamed| unnamed != address);
                update.named.push(*address);
            }
        }
        for address in before.difference(&addresses) {
            if let Some(services) = self.services.get_mut(address) {
                *services -= 1;
                if *services == 0 {
                    self.services.remove(address);
                    update.named.retain(|named| named != address);
                    update.unnamed.push(*address);
                }
            }
        }
        if !addresses.is_empty() {
            self.of.insert(name.clone(), addresses);
        }
    }
}

/// Every address that clients of a Service may use. What is none (`None` of a headless Service) is not reported here.
fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let spec = &service.spec;
    let ingress = &service.status.load_balancer.ingress;
    let texts = spec.cluster_ip.iter().chain(&spec.cluster_ips);
    texts
        .chain(&spec.external_ips)
        .chain(ingress.iter().filter_map(|ingress| ingress.ip.as_ref()))
        .filter_map(|text| address::parse(text).ok())
}
