//! The frontends that a Service has in each family.

use std::net::IpAddr;

use super::address;
use super::report::Report;
use super::service_port::{Frontend, FrontendKind};
use crate::catalog::{Family, Service};

/// A Service's addresses in one family.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) family: Family,
    by_kind: Vec<(FrontendKind, IpAddr)>,
}

impl Addresses {
    /// Returns the addresses by family, in the order of the Service. A family without a ClusterIP is not served.
    pub(super) fn of(service: &Service, report: &mut Report<'_>) -> Vec<Self> {
        let mut families = Vec::new();
        for (family, address) in cluster_ips(service, report) {
            let by_kind = vec![(FrontendKind::ClusterIp, address)];
            families.push(Self { family, by_kind });
        }
        if !families.is_empty() {
            add_external_ips(service, &mut families, report);
            add_load_balancer_ips(service, &mut families, report);
        }
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
            format!("{address} is not of the Service's family: give the Service an {family} clusterIP, or take the address away")
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
        match parsed {
            Ok(address)
                if found
                    .iter()
                    .any(|(family, _)| *family == Family::of(address)) =>
            {
                report.add(format!(
                    "{field}: {text} is the second of its family: give one for each"
                ));
            }
            Ok(address) => found.push((Family::of(address), address)),
            Err(error) => report.add(format!("{field}: {error}")),
        }
    }
    found
}

fn add_external_ips(service: &Service, families: &mut [Addresses], report: &mut Report<'_>) {
    for (index, text) in service.spec.external_ips.iter().enumerate() {
        let added = address::parse(text)
            .and_then(|address| Addresses::add(families, FrontendKind::ExternalIp, address));
        if let Err(error) = added {
            report.add(format!("spec.externalIPs[{index}]: {error}"));
        }
    }
}

/// Adds the addresses of load balancers that deliver packets to the node unchanged, unless the packet path filters clients.
fn add_load_balancer_ips(service: &Service, families: &mut [Addresses], report: &mut Report<'_>) {
    let filtered = filtered_families(service, report);
    for (index, ingress) in service.status.load_balancer.ingress.iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        let text = ingress.ip.as_deref().unwrap_or_default();
        if text.is_empty() {
            continue;
        }
        match ingress.ip_mode.as_deref() {
            None | Some("VIP") => {}
            Some("Proxy") => continue,
            Some(other) => {
                report.add(format!(
                    "{field}.ipMode {other:?}: write VIP or Proxy; {text} is not balanced"
                ));
                continue;
            }
        }
        let added = address::parse(text).and_then(|address| {
            if filtered.contains(&Family::of(address)) {
                return Err(format!(
                    "{text} is not balanced, since spec.loadBalancerSourceRanges lets only some clients in: \
                     let something on the packets' way serve it, or take the ranges away"
                ));
            }
            Addresses::add(families, FrontendKind::LoadBalancer, address)
        });
        if let Err(error) = added {
            report.add(format!("{field}.ip: {error}"));
        }
    }
}

/// The families in which `loadBalancerSourceRanges` restricts the clients.
fn filtered_families(service: &Service, report: &mut Report<'_>) -> Vec<Family> {
    let mut filtered = Vec::new();
    let mut open = Vec::new();
    let ranges = &service.spec.load_balancer_source_ranges;
    for (index, text) in ranges.iter().enumerate() {
        match address::range(text) {
            Some((family, 0)) => open.push(family),
            Some((family, _)) => filtered.push(family),
            None => report.add(format!(
                "spec.loadBalancerSourceRanges[{index}] {text:?} is not a range like 10.0.0.0/8: it is ignored"
            )),
        }
    }
    filtered.retain(|family| !open.contains(family));
    filtered
}
