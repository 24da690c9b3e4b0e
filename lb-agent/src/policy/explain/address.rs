//! Why an address and port is a frontend, or is not.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::super::address;
use super::super::claims::Site;
use super::super::explainer::Explainer;
use super::super::node_ports::{NodePortSkip, NodePorts};
use super::super::service_port::{Frontend, FrontendKind, ServicePort, ServicePortKey};
use super::super::skip::{AddressSkip, PortSkip, ServiceSkip, Skips};
use crate::catalog::{Family, ObjectName, Protocol, Service};

/// What the rules say about an address and port.
#[derive(Clone, Debug)]
pub struct AtAddress<'a> {
    /// The frontend, and the service port that it belongs to.
    pub frontend: Option<(&'a ServicePort, Frontend)>,
    /// The Services that have the address, or the NodePort, and do not get this frontend.
    pub others: Vec<Other>,
}

/// A Service that has an address and does not get a frontend there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub service: ObjectName,
    pub kind: FrontendKind,
    pub why: NoFrontend,
}

/// Why a Service has no frontend at an address and port that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoFrontend {
    Service(ServiceSkip),
    Address(AddressSkip),
    Port(PortSkip),
    /// It has these ports instead.
    OtherPorts(Vec<(u16, Protocol)>),
    NodePort(NodePortSkip),
    /// This service port gets it.
    Claimed(ServicePortKey),
}

/// What happens to a connect that is not to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It is refused: the address is a ClusterIP, and does not have the port.
    UnknownPort,
    /// It is refused: the address is in this Service CIDR, and no Service has it.
    UnknownAddress(IpNet),
    Passes,
}

impl<'a> Explainer<'a> {
    /// What the rules say about an address and port.
    ///
    /// `node_ports`: the node's addresses; none: unknown, so an address that no Service has may be the node's.
    #[must_use]
    pub fn at(
        &self,
        target: SocketAddr,
        protocol: Protocol,
        node_ports: Option<&NodePorts>,
    ) -> AtAddress<'a> {
        let (ip, port) = (target.ip(), target.port());
        let mut site = Site::at(Some(ip), Family::of(ip), port, protocol);
        let mut skip = None;
        if self.claims.holder(&site).is_none() && self.may_be_own(ip, node_ports) {
            site = Site::at(None, Family::of(ip), port, protocol);
            skip = node_ports.and_then(|of| of.skip(&ip, port));
        }
        let mut claimants = self.claims.claimants(&site).map(|of| &of.key);
        let mut others = Vec::new();
        let mut frontend = None;
        if let Some(holder) = claimants.next() {
            frontend = self.frontend_of(holder, &site, ip);
            if let (Some((port, of)), Some(skip)) = (&frontend, skip) {
                others.push(other(&port.key, of.kind, NoFrontend::NodePort(skip)));
                frontend = None;
            }
            others.extend(claimants.filter_map(|key| {
                let entry = self.entries.get(key)?;
                let lost = entry.lost.iter().find(|of| Site::of(key, of) == site)?;
                Some(other(key, lost.kind, NoFrontend::Claimed(holder.clone())))
            }));
        } else {
            let is_own = self.may_be_own(ip, node_ports);
            let mut services: Vec<&Service> = self.catalog.services().collect();
            services.sort_by_key(|service| service.metadata.object_name());
            let found = services.into_iter();
            others
                .extend(found.filter_map(|service| self.other(service, target, protocol, is_own)));
        }
        AtAddress { frontend, others }
    }

    /// What happens to a connect to an address and port that is not a frontend.
    #[must_use]
    pub fn miss(&self, address: IpAddr) -> Miss {
        let is_there =
            |of: &Frontend| of.kind == FrontendKind::ClusterIp && of.address == Some(address);
        let mut entries = self.entries.all();
        if entries.any(|entry| entry.port.frontends.iter().any(is_there)) {
            return Miss::UnknownPort;
        }
        self.named
            .unallocated_in(address)
            .map_or(Miss::Passes, Miss::UnknownAddress)
    }

    fn frontend_of(
        &self,
        key: &ServicePortKey,
        site: &Site,
        ip: IpAddr,
    ) -> Option<(&'a ServicePort, Frontend)> {
        let port = &self.entries.get(key)?.port;
        let mut frontends = port.frontends.iter();
        let frontend = frontends.find(|of| Site::of(key, of) == *site)?;
        let frontend = Frontend {
            address: Some(ip),
            ..frontend.clone()
        };
        Some((port, frontend))
    }

    /// Whether the address is one of the node's, as far as that is known.
    fn may_be_own(&self, ip: IpAddr, node_ports: Option<&NodePorts>) -> bool {
        match node_ports {
            Some(own) => own.addresses.contains(&ip) || ip.is_loopback(),
            None => !self
                .catalog
                .services()
                .any(|service| kinds_of(service, ip).next().is_some()),
        }
    }

    /// Why a Service that has the address, or the NodePort, has no frontend there. None: it has neither.
    fn other(
        &self,
        service: &Service,
        target: SocketAddr,
        protocol: Protocol,
        is_own: bool,
    ) -> Option<Other> {
        let has_node_port = || {
            let mut ports = service.spec.ports.iter();
            is_own && ports.any(|port| port.node_port == Some(target.port().into()))
        };
        let kind = kinds_of(service, target.ip()).next();
        let kind = kind.or_else(|| has_node_port().then_some(FrontendKind::NodePort))?;
        let name = service.metadata.object_name();
        let skips = self.skips(&name);
        let why = self.why_not(&name, skips, kind, target, protocol);
        Some(Other {
            service: name,
            kind,
            why,
        })
    }

    fn why_not(
        &self,
        name: &ObjectName,
        skips: Skips,
        kind: FrontendKind,
        target: SocketAddr,
        protocol: Protocol,
    ) -> NoFrontend {
        if let Some(why) = skips.service {
            return NoFrontend::Service(why);
        }
        let mut addresses = skips.addresses.into_iter();
        let address = addresses.find(|of| {
            of.kind == kind && address::parse(&of.address).is_ok_and(|ip| ip == target.ip())
        });
        if let Some(address) = address {
            return NoFrontend::Address(address.why);
        }
        let mut ports = skips.ports.into_iter();
        let port = ports.find(|of| of.port == Some(target.port().into()));
        if let Some(port) = port {
            return NoFrontend::Port(port.why);
        }
        let has_address = |of: &&Frontend| of.address == Some(target.ip()) || of.address.is_none();
        let ports = self.ports_of(name);
        let ports = ports.filter(|port| port.key.family == Family::of(target.ip()));
        let mut ports: Vec<(u16, Protocol)> = ports
            .flat_map(|port| {
                let frontends = port.frontends.iter().filter(has_address);
                let of_kind = frontends.filter(|of| of.kind == kind);
                of_kind.map(|frontend| (frontend.port, port.key.protocol))
            })
            .collect();
        ports.sort_by_key(|(number, of)| (*of != protocol, *number));
        NoFrontend::OtherPorts(ports)
    }
}

fn other(key: &ServicePortKey, kind: FrontendKind, why: NoFrontend) -> Other {
    Other {
        service: ObjectName {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        },
        kind,
        why,
    }
}

/// The kinds of frontend for which a Service names an address, whether it gets them or not.
fn kinds_of(service: &Service, ip: IpAddr) -> impl Iterator<Item = FrontendKind> {
    let spec = &service.spec;
    let ingress = service.status.load_balancer.ingress.iter();
    let ingress = ingress.filter_map(|ingress| ingress.ip.as_ref());
    let cluster_ips = spec.cluster_ips.iter().chain(&spec.cluster_ip);
    cluster_ips
        .map(|text| (FrontendKind::ClusterIp, text))
        .chain(
            spec.external_ips
                .iter()
                .map(|text| (FrontendKind::ExternalIp, text)),
        )
        .chain(ingress.map(|text| (FrontendKind::LoadBalancer, text)))
        .filter(move |(_, text)| address::parse(text).is_ok_and(|address| address == ip))
        .map(|(kind, _)| kind)
}

impl NoFrontend {
    /// The reason as one word, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Service(why) => why.word(),
            Self::Address(why) => why.word(),
            Self::Port(why) => why.word(),
            Self::OtherPorts(_) => "NoSuchPort",
            Self::NodePort(NodePortSkip::Range(_)) => "NodePortRange",
            Self::NodePort(NodePortSkip::Address) => "NodePortAddress",
            Self::Claimed(_) => "Claimed",
        }
    }
}

impl fmt::Display for NoFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(why) => why.fmt(f),
            Self::Address(why) => why.fmt(f),
            Self::Port(why) => why.fmt(f),
            Self::OtherPorts(ports) if ports.is_empty() => f.write_str("it has no port there"),
            Self::OtherPorts(ports) => {
                f.write_str("it does not have this port, but ")?;
                for (index, (port, protocol)) in ports.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{port}/{protocol}")?;
                }
                Ok(())
            }
            Self::NodePort(NodePortSkip::Range((first, last))) => {
                write!(
                    f,
                    "the NodePort is outside of --nodeport-range {first}-{last}"
                )
            }
            Self::NodePort(NodePortSkip::Address) => {
                f.write_str("--nodeport-addresses excludes this address of the node")
            }
            Self::Claimed(key) => write!(f, "{key} has it, and takes precedence"),
        }
    }
}
