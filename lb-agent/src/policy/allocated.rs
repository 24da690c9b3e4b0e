//! The addresses of the Service CIDRs that Services have, whichever proxy serves them. All others are unallocated.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use lb_common::config::MOST_CIDRS;

use super::address;
use super::update::Update;
use crate::catalog::{Catalog, Kind, ObjectId, ObjectName, Problem, Service};

/// It costs nothing without CIDRs.
#[derive(Debug, Default)]
pub(super) struct AllocatedAddresses {
    cidrs: Vec<IpNet>,
    of: HashMap<ObjectName, BTreeSet<IpAddr>>,
    /// The number of Services that have each address.
    services: BTreeMap<IpAddr, usize>,
}

impl AllocatedAddresses {
    pub(super) fn new(cidrs: Vec<IpNet>) -> Self {
        Self {
            cidrs,
            ..Self::default()
        }
    }

    pub(super) fn cidrs(&self) -> &[IpNet] {
        &self.cidrs
    }

    /// The range that contains an address, if no Service has the address.
    pub(super) fn unallocated_in(&self, address: IpAddr) -> Option<IpNet> {
        let mut cidrs = self.cidrs.iter().copied();
        let cidr = cidrs.find(|cidr| cidr.contains(&address))?;
        (!self.services.contains_key(&address)).then_some(cidr)
    }

    /// Sets the cluster's Service CIDRs. If they differ, all Services are evaluated again.
    pub(super) fn set_cidrs(&mut self, cidrs: Vec<IpNet>, catalog: &Catalog, update: &mut Update) {
        if self.cidrs == cidrs {
            return;
        }
        self.cidrs = cidrs;
        let mut names: BTreeSet<ObjectName> = self.of.keys().cloned().collect();
        names.extend(
            catalog
                .services()
                .map(|service| service.metadata.object_name()),
        );
        for name in names {
            self.update(&name, catalog.service(&name), update);
        }
    }

    /// Updates the addresses of a Service that was changed or removed.
    pub(super) fn update(
        &mut self,
        name: &ObjectName,
        service: Option<&Service>,
        update: &mut Update,
    ) {
        if self.cidrs.is_empty() && self.of.is_empty() {
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

/// Returns the ranges in the cluster's ServiceCIDRs.
pub(super) fn cidrs_of(catalog: &Catalog) -> (Vec<IpNet>, Vec<Problem>) {
    let mut nets = BTreeSet::new();
    let mut problems = Vec::new();
    for object in catalog.service_cidrs() {
        let id = ObjectId::new(Kind::ServiceCidr, object.metadata.object_name());
        for (index, text) in object.spec.cidrs.iter().enumerate() {
            let message = match text.trim().parse::<IpNet>() {
                Ok(net) if net.prefix_len() == 0 => "covers every address",
                Ok(net) if nets.len() == MOST_CIDRS as usize && !nets.contains(&net.trunc()) => {
                    "is one more than the agent can use"
                }
                Ok(net) => {
                    nets.insert(net.trunc());
                    continue;
                }
                Err(_) => "is not a network like 10.96.0.0/12",
            };
            problems.push(Problem::of(
                &id,
                format!("spec.cidrs[{index}] {text:?} {message}: unknown addresses in it are not refused; set the ranges with --service-cidr"),
            ));
        }
    }
    if nets.is_empty() && problems.is_empty() {
        problems.push(Problem {
            object: "--refuse-unknown".to_owned(),
            message: "the cluster has no ServiceCIDR, so no address is refused: set the cluster's ranges with --service-cidr"
                .to_owned(),
        });
    }
    (nets.into_iter().collect(), problems)
}

/// Returns every address that clients of a Service may use. Values that are not addresses (`None` of a headless Service) are
/// not reported here.
fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let spec = &service.spec;
    let ingress = &service.status.load_balancer.ingress;
    let texts = spec.cluster_ip.iter().chain(&spec.cluster_ips);
    texts
        .chain(&spec.external_ips)
        .chain(ingress.iter().filter_map(|ingress| ingress.ip.as_ref()))
        .filter_map(|text| address::parse(text).ok())
}
