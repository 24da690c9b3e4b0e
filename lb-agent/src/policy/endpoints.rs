//! The endpoints of a Service: merged from its slices, sorted by port and address.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::address;
use super::annotations;
use super::left_out::SliceSkip;
use super::report::Report;
use super::weight;
use crate::catalog::{
    Conditions, Endpoint, EndpointSlice, Family, Hints, Kind, ObjectId, Problem, Protocol,
};

/// An endpoint at one port.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndpointCandidate<'a> {
    pub(super) address: SocketAddr,
    pub(super) conditions: Conditions,
    pub(super) hints: &'a Hints,
    pub(super) node: Option<&'a Arc<str>>,
    pub(super) zone: Option<&'a Arc<str>>,
    /// 0: it gets no new connections.
    pub(super) weight: u16,
}

type PortKey<'a> = (Family, &'a str, Protocol);

/// All endpoints of one Service.
#[derive(Debug, Default)]
pub(super) struct Endpoints<'a> {
    by_port: BTreeMap<PortKey<'a>, BTreeMap<SocketAddr, EndpointCandidate<'a>>>,
    /// The ports of the slices with endpoints, usable or not.
    named: BTreeSet<(&'a str, &'a str)>,
    /// The names of ports with an unknown protocol, which is already reported.
    doubtful: BTreeSet<&'a str>,
}

impl<'a> Endpoints<'a> {
    /// Merges the slices of these families, in the given order.
    pub(super) fn merge(
        slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
        families: &[Family],
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut merged = Self::default();
        let weight = weight::default(slices.clone());
        for slice in slices {
            match family_of(slice, families) {
                Ok(family) => merged.add(slice, family, weight, &mut report(slice, problems)),
                Err(skip) if skip.is_problem() => report(slice, problems).add(skip.to_string()),
                Err(_) => {}
            }
        }
        merged
    }

    /// Returns the endpoints of one service port, sorted by address.
    pub(super) fn of(
        &self,
        family: Family,
        port: &str,
        protocol: Protocol,
    ) -> Vec<EndpointCandidate<'a>> {
        let at = self.by_port.get(&(family, port, protocol));
        at.into_iter().flat_map(BTreeMap::values).copied().collect()
    }

    /// Returns the endpoints at all ports.
    pub(super) fn all(&self) -> impl Iterator<Item = &EndpointCandidate<'a>> {
        self.by_port.values().flat_map(BTreeMap::values)
    }

    /// Returns the ports that the slices have instead of this one. None if they have this port, or no ports at all.
    pub(super) fn instead(&self, port: &str, protocol: &str) -> Option<String> {
        let is_reported = self.named.is_empty() || self.doubtful.contains(port);
        if is_reported || self.named.contains(&(port, protocol)) {
            return None;
        }
        let names = self.named.iter().filter(|(_, of)| *of == protocol);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        let protocols = self.named.iter().filter(|(name, _)| *name == port);
        let protocols: Vec<&str> = protocols.map(|(_, of)| *of).collect();
        Some(if !protocols.is_empty() {
            format!(
                "have this port for {}: use the same protocol",
                protocols.join(" and ")
            )
        } else if names.is_empty() {
            format!("have no port for {protocol}: add one")
        } else {
            format!("have {names:?} for {protocol}: use the same name")
        })
    }

    /// `weight`: the default.
    fn add(
        &mut self,
        slice: &'a EndpointSlice,
        family: Family,
        weight: u16,
        report: &mut Report<'_>,
    ) {
        if slice.endpoints.is_empty() {
            return;
        }
        let ports = self.ports(slice, report);
        annotations::report_meaningless(&slice.metadata.annotations, Kind::EndpointSlice, report);
        let weight = weight::of(slice, weight, report);
        for (index, endpoint) in slice.endpoints.iter().enumerate() {
            match address_of(family, endpoint) {
                Ok(ip) => self.add_endpoint(family, ip, &ports, endpoint, weight),
                Err(error) => report.add(format!("endpoints[{index}].{error}")),
            }
        }
    }

    /// Returns the slice's usable ports.
    fn ports(
        &mut self,
        slice: &'a EndpointSlice,
        report: &mut Report<'_>,
    ) -> Vec<(&'a str, Protocol, u16)> {
        let mut ports = Vec::with_capacity(slice.ports.len());
        for (index, port) in slice.ports.iter().enumerate() {
            if let Err(error) = address::port_name(&port.name) {
                report.add(format!("ports[{index}].name {error}; this port is skipped"));
                continue;
            }
            let word = port.protocol.as_deref().unwrap_or("TCP");
            self.named.insert((&port.name, word));
            let Some(protocol) = Protocol::parse(word) else {
                if word != "SCTP" {
                    self.doubtful.insert(&port.name);
                    report.add(format!(
                        "ports[{index}].protocol {word:?} is unknown: use TCP or UDP"
                    ));
                }
                continue;
            };
            match address::port(port.port) {
                Ok(number) => ports.push((&*port.name, protocol, number)),
                Err(error) => {
                    report.add(format!("ports[{index}].port {error}; this port is skipped"))
                }
            }
        }
        ports
    }

    fn add_endpoint(
        &mut self,
        family: Family,
        ip: IpAddr,
        ports: &[(&'a str, Protocol, u16)],
        endpoint: &'a Endpoint,
        weight: u16,
    ) {
        for &(name, protocol, number) in ports {
            let candidate = EndpointCandidate {
                address: SocketAddr::new(ip, number),
                conditions: endpoint.conditions,
                hints: &endpoint.hints,
                node: endpoint.node_name.as_ref(),
                zone: endpoint.zone.as_ref(),
                weight,
            };
            let at = self.by_port.entry((family, name, protocol)).or_default();
            match at.entry(candidate.address) {
                Entry::Vacant(entry) => {
                    entry.insert(candidate);
                }
                Entry::Occupied(mut entry) if candidate.is_better_than(entry.get()) => {
                    entry.insert(candidate);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

/// The family of a slice whose endpoints can be used.
///
/// `families`: those of the Service. A slice without endpoints has no other faults than its type.
pub(super) fn family_of(slice: &EndpointSlice, families: &[Family]) -> Result<Family, SliceSkip> {
    if slice.metadata.labels.headless.is_some() {
        return Err(SliceSkip::Headless);
    }
    let Some(family) = Family::parse(&slice.address_type) else {
        return Err(SliceSkip::AddressType(slice.address_type.to_string()));
    };
    if !families.contains(&family) {
        return Err(SliceSkip::OtherFamily(family));
    }
    match slice.ports.is_empty() && !slice.endpoints.is_empty() {
        true => Err(SliceSkip::NoPorts),
        false => Ok(family),
    }
}

/// The address of an endpoint. `Err` contains the reason, worded to follow the endpoint's index.
pub(super) fn address_of(family: Family, endpoint: &Endpoint) -> Result<IpAddr, String> {
    let Some(text) = &endpoint.address else {
        return Err("addresses is empty, so the endpoint is skipped: add an address".to_owned());
    };
    address::parse_of(family, text)
        .map_err(|error| format!("addresses[0]: {error}; the endpoint is skipped"))
}

impl EndpointCandidate<'_> {
    /// Whether it is this endpoint, and not another one with the same address.
    pub(super) fn is_of(&self, endpoint: &Endpoint) -> bool {
        std::ptr::eq(self.hints, &raw const endpoint.hints)
    }

    /// Whether it takes new connections.
    pub(super) fn is_ready(&self) -> bool {
        self.conditions.is_ready() && self.weight > 0
    }

    /// If two endpoints have the same address, the one that is not terminating counts, then the one that is ready, then the
    /// first. Its weight is the weight of both.
    ///
    /// In kube-proxy the second choice is arbitrary.
    fn is_better_than(&self, other: &Self) -> bool {
        let rank = |of: &Self| (!of.conditions.is_terminating(), of.conditions.is_ready());
        rank(self) > rank(other)
    }
}

pub(super) fn report<'a>(slice: &EndpointSlice, problems: &'a mut Vec<Problem>) -> Report<'a> {
    let id = ObjectId {
        kind: Kind::EndpointSlice,
        name: slice.metadata.object_name(),
    };
    Report::new(id, problems)
}
