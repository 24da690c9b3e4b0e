//! A node during a case: catalog and policy, and the results of connects on it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use lb_agent::catalog::{Catalog, Change, Family, Object};
use lb_agent::policy::{
    Backend, FrontendKind, NodePorts, Options, Policy, RefuseUnknown, ServicePort, Update, View,
};
use serde_json::{Value, json};

use crate::case::{Case, Client, Event, EventType};

/// The ranges in which unknown addresses are refused in every case.
const SERVICE_CIDR: &str = "172.30.0.0/16";

/// The result of a connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Met {
    OneOf(BTreeSet<SocketAddr>),
    Refused,
    /// The connect is not translated.
    Untouched,
}

impl Met {
    /// An empty choice is a refusal.
    pub fn of(endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        let endpoints: BTreeSet<SocketAddr> = endpoints.into_iter().collect();
        if endpoints.is_empty() {
            Self::Refused
        } else {
            Self::OneOf(endpoints)
        }
    }
}

pub struct World {
    catalog: Catalog,
    policy: Policy,
    node_ports: NodePorts,
    /// Addresses of the Service CIDR that belong to a Service.
    named: BTreeSet<IpAddr>,
    family: Option<Family>,
}

impl World {
    /// The node of a case before its events.
    pub fn new(case: &Case) -> Result<Self, String> {
        let ranges = ranges(&case.node_port_addresses)?;
        let has_node_ports = |ip: &IpAddr| ranges.iter().any(|range| range.contains(ip));
        let mut addresses = case.node.ips.clone();
        addresses.retain(has_node_ports);
        addresses.sort();
        let mut world = Self {
            catalog: Catalog::new(&case.node.name),
            policy: Policy::new(Options {
                node_name: case.node.name.clone(),
                refuse_unknown: RefuseUnknown::In(vec![service_cidr()]),
                ..Options::default()
            }),
            node_ports: NodePorts {
                addresses,
                range: (1, u16::MAX),
                allowed: Vec::new(),
                primary: None,
            },
            named: BTreeSet::new(),
            family: case.ip_family.as_deref().map(family).transpose()?,
        };
        let node = json!({"kind": "Node", "metadata": {"name": case.node.name, "labels": case.node.labels}});
        world.catalog.apply(Change::Set(object(&node)?));
        world.update();
        Ok(world)
    }

    /// Applies events in order, updates once, and returns the differences.
    pub fn apply(&mut self, events: &[Event]) -> Result<Update, String> {
        for event in events {
            let object = object(&event.object)?;
            self.catalog.apply(match event.event_type {
                EventType::Added | EventType::Modified => Change::Set(object),
                EventType::Deleted => Change::Remove(object.id()),
            });
        }
        Ok(self.update())
    }

    pub fn set(&mut self, objects: &[Value]) -> Result<(), String> {
        for value in objects {
            self.catalog.apply(Change::Set(object(value)?));
        }
        self.update();
        Ok(())
    }

    fn update(&mut self) -> Update {
        let touched = self.catalog.take_touched();
        let update = self.policy.update(&self.catalog, touched);
        self.named.extend(&update.named);
        for address in &update.unnamed {
            self.named.remove(address);
        }
        update
    }

    /// The service ports of the case's family.
    pub fn service_ports(&self) -> impl Iterator<Item = &ServicePort> {
        let is_meant = |port: &&ServicePort| self.family.is_none_or(|of| of == port.key.family);
        self.policy.service_ports().filter(is_meant)
    }

    /// The service port to which a case gives this name.
    pub fn service_port(&self, name: &str) -> Option<&ServicePort> {
        self.service_ports().find(|port| name_of(port) == name)
    }

    /// The service port that has this frontend, and the result for a client on the node.
    pub fn connect(
        &self,
        client: Client,
        address: IpAddr,
        port: u16,
        protocol: &str,
    ) -> (Option<&ServicePort>, Met) {
        let is_own_loopback = client == Client::Node || !address.is_loopback();
        for service_port in self.policy.service_ports() {
            let of_protocol = service_port.key.protocol.to_string() == protocol;
            let expanded = self.node_ports.expand(service_port.clone());
            let views = expanded.views();
            let view = views.iter().find(|view| {
                let mut frontends = view.frontends.iter();
                frontends.any(|f| f.address == Some(address) && f.port == port)
            });
            if let Some(view) = view.filter(|_| of_protocol && is_own_loopback) {
                return (Some(service_port), met(view));
            }
        }
        let is_cluster_ip = |port: &ServicePort| {
            let mut frontends = port.frontends.iter();
            frontends.any(|f| f.kind == FrontendKind::ClusterIp && f.address == Some(address))
        };
        let is_unallocated = service_cidr().contains(&address) && !self.named.contains(&address);
        let met = if is_unallocated || self.policy.service_ports().any(is_cluster_ip) {
            Met::Refused
        } else {
            Met::Untouched
        };
        (None, met)
    }

    /// Whether the endpoint is on this node.
    pub fn is_local(&self, backend: &Backend) -> bool {
        backend.node.as_deref() == Some(self.catalog.node_name())
    }
}

/// Names service ports as the cases do: `namespace/name:port/TCP`.
pub fn name_of(port: &ServicePort) -> String {
    let key = &port.key;
    format!(
        "{}/{}:{}/{}",
        key.namespace, key.name, key.port, key.protocol
    )
}

/// The result for clients of a view's frontends.
pub fn met(view: &View<'_>) -> Met {
    Met::of(view.backends.iter().map(|backend| backend.address))
}

/// The ranges of a list in Go's format.
fn ranges(text: &str) -> Result<Vec<IpNet>, String> {
    let words = text.trim_matches(['[', ']']).split_whitespace();
    words
        .map(|word| word.parse().map_err(|error| format!("{word}: {error}")))
        .collect()
}

fn family(word: &str) -> Result<Family, String> {
    Family::parse(word).ok_or_else(|| format!("ipFamily {word:?}"))
}

fn service_cidr() -> IpNet {
    SERVICE_CIDR.parse().expect("a range")
}

fn object(value: &Value) -> Result<Object, String> {
    let typed = match value["kind"].as_str() {
        Some("Service") => serde_json::from_value(value.clone())
            .map(Arc::new)
            .map(Object::Service),
        Some("EndpointSlice") => serde_json::from_value(value.clone())
            .map(Arc::new)
            .map(Object::EndpointSlice),
        Some("Node") => serde_json::from_value(value.clone())
            .map(Arc::new)
            .map(Object::Node),
        kind => return Err(format!("objects of kind {kind:?} are not known")),
    };
    typed.map_err(|error| format!("{error} in {value}"))
}
