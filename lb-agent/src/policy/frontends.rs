//! The frontends that a Service has in each family.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::address;
use super::context::Context;
use super::report::Report;
use super::service_port::{Frontend, FrontendKind};
use super::skip::{AddressSkip, SkippedAddress};
use crate::catalog::{Family, Service};

/// A Service's addresses in one family.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) family: Family,
    /// `loadBalancerSourceRanges` of this family; empty: none restricts the clients.
    pub(super) source_ranges: Arc<[IpNet]>,
    by_kind: Vec<(FrontendKind, IpAddr)>,
}

impl Addresses {
    /// Returns the addresses by family, in the order of the Service. A family without a ClusterIP is not served.
    pub(super) fn of(
        context: &Context<'_>,
        service: &Service,
        report: &mut Report<'_>,
    ) -> Vec<Self> {
        let mut families = Vec::new();
        for (family, address) in cluster_ips(service, report) {
            families.push(Self {
                family,
                source_ranges: Arc::default(),
                by_kind: vec![(FrontendKind::ClusterIp, address)],
            });
        }
        if families.is_empty() {
            return families;
        }
        let ranges = source_ranges(service, report);
        for of_family in &mut families {
            let is_of = |range: &&IpNet| Family::of(range.addr()) == of_family.family;
            of_family.source_ranges = ranges.iter().filter(is_of).copied().collect();
        }
        if !context.refuses_external_ips {
            add_external_ips(service, &mut families, report);
        } else if !service.spec.external_ips.is_empty() {
            let why = AddressSkip::ExternalIpsRefused;
            report.add(format!("spec.externalIPs get no connections, since {why}"));
            for text in &service.spec.external_ips {
                skip(report, FrontendKind::ExternalIp, text, &why);
            }
        }
        add_load_balancer_ips(context, service, &mut families, report);
        families
    }

    /// Returns the frontends of one port of the Service, sorted. If two have the same address, the first kind counts.
    pub(super) fn frontends(&self, port: u16, node_port: Option<u16>) -> Vec<Frontend> {
        let mut frontends: Vec<Frontend> = Vec::with_capacity(self.by_kind.len() + 1);
        for &(kind, address) in &self.by_kind {
            if !frontends.iter().any(|f| f.address == Some(address)) {
                frontends.push(Frontend {
                    kind,
                    address: Some(address),
                    port,
                });
            }
        }
        frontends.extend(node_port.map(|port| Frontend {
            kind: FrontendKind::NodePort,
            address: None,
            port,
        }));
        frontends.sort();
        frontends
    }

    fn add(families: &mut [Self], kind: FrontendKind, address: IpAddr) -> Result<(), String> {
        let family = Family::of(address);
        let of_family = families.iter_mut().find(|of| of.family == family);
        let of_family = of_family.ok_or_else(|| {
            format!("{address} is of a family that the Service does not have: add an {family} clusterIP, or remove the address")
        })?;
        of_family.by_kind.push((kind, address));
        Ok(())
    }
}

/// Returns at most one ClusterIP for each family.
///
/// `clusterIPs` and `ipFamilies` may be absent in a manifest that never passed through an API server.
fn cluster_ips(service: &Service, report: &mut Report<'_>) -> Vec<(Family, IpAddr)> {
    let spec = &service.spec;
    let (field, texts) = if spec.cluster_ips.is_empty() {
        ("spec.clusterIP", spec.cluster_ip.as_slice())
    } else {
        ("spec.clusterIPs", &*spec.cluster_ips)
    };
    let mut found: Vec<(Family, IpAddr)> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let family = spec.ip_families.get(index);
        let parsed = match family.map(|word| Family::parse(word).ok_or(word)) {
            None => address::parse(text),
            Some(Ok(family)) => address::parse_of(family, text)
                .map_err(|error| format!("{error}, but spec.ipFamilies[{index}] is {family}")),
            Some(Err(word)) => Err(format!(
                "spec.ipFamilies[{index}] {word:?}: write IPv4 or IPv6"
            )),
        };
        let error = match parsed {
            Ok(address)
                if found
                    .iter()
                    .any(|(family, _)| *family == Family::of(address)) =>
            {
                format!("{text} is the second address of its family: keep one per family")
            }
            Ok(address) => {
                found.push((Family::of(address), address));
                continue;
            }
            Err(error) => error,
        };
        report.add(format!("{field}: {error}"));
        let why = AddressSkip::Fault(error);
        skip(report, FrontendKind::ClusterIp, text, &why);
    }
    found
}

fn add_external_ips(service: &Service, families: &mut [Addresses], report: &mut Report<'_>) {
    for (index, text) in service.spec.external_ips.iter().enumerate() {
        let added = address::parse(text)
            .and_then(|address| Addresses::add(families, FrontendKind::ExternalIp, address));
        if let Err(error) = added {
            report.add(format!("spec.externalIPs[{index}]: {error}"));
            let why = AddressSkip::Fault(error);
            skip(report, FrontendKind::ExternalIp, text, &why);
        }
    }
}

/// Adds the addresses of load balancers that deliver packets to the node unchanged. Only the packet path can serve one that lets
/// only some clients in.
fn add_load_balancer_ips(
    context: &Context<'_>,
    service: &Service,
    families: &mut [Addresses],
    report: &mut Report<'_>,
) {
    let is_filtered = |families: &[Addresses], family| {
        let mut of_family = families.iter().filter(|of| of.family == family);
        of_family.any(|of| !of.source_ranges.is_empty())
    };
    for (index, ingress) in service.status.load_balancer.ingress.iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        let text = ingress.ip.as_deref().unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        let mode = match ingress.ip_mode.as_deref() {
            None | Some("VIP") => Ok(()),
            Some("Proxy") => {
                skip(
                    report,
                    FrontendKind::LoadBalancer,
                    text,
                    &AddressSkip::Proxy,
                );
                continue;
            }
            Some(other) => Err(AddressSkip::Fault(format!(
                "ipMode {other:?}: write VIP or Proxy; {text} is not balanced"
            ))),
        };
        let added = mode.and_then(|()| {
            let address = address::parse(text).map_err(ip_fault)?;
            if !context.has_packet_path && is_filtered(families, Family::of(address)) {
                return Err(AddressSkip::SourceRanges);
            }
            Addresses::add(families, FrontendKind::LoadBalancer, address).map_err(ip_fault)
        });
        if let Err(why) = added {
            report.add(match &why {
                AddressSkip::SourceRanges => {
                    format!("{field}.ip: {text} is not balanced, because {why}")
                }
                _ => format!("{field}.{why}"),
            });
            skip(report, FrontendKind::LoadBalancer, text, &why);
        }
    }
}

/// `error`: of the field `ip`.
fn ip_fault(error: String) -> AddressSkip {
    AddressSkip::Fault(format!("ip: {error}"))
}

fn skip(report: &mut Report<'_>, kind: FrontendKind, address: &str, why: &AddressSkip) {
    report.skip(|skips| {
        skips.addresses.push(SkippedAddress {
            kind,
            address: address.to_owned(),
            why: why.clone(),
        });
    });
}

/// The ranges of `loadBalancerSourceRanges` in each family that they restrict: none of a family with a range of length 0, as
/// in kube-proxy (`hasAnyIPZeroCIDR`).
fn source_ranges(service: &Service, report: &mut Report<'_>) -> Vec<IpNet> {
    let mut found = Vec::new();
    let ranges = &service.spec.load_balancer_source_ranges;
    for (index, text) in ranges.iter().enumerate() {
        match address::range(text) {
            Some(range) => found.push(range.trunc()),
            None => report.add(format!(
                "spec.loadBalancerSourceRanges[{index}] {text:?} is not a range like 10.0.0.0/8: it is ignored"
            )),
        }
    }
    let open: Vec<Family> = found
        .iter()
        .filter(|range| range.prefix_len() == 0)
        .map(|range| Family::of(range.addr()))
        .collect();
    found.retain(|range| !open.contains(&Family::of(range.addr())));
    found.sort();
    found.dedup();
    found
}
