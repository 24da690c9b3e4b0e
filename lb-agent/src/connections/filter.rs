//! Which connections are wanted.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::connection::{Connection, ServicePortName};
use crate::catalog::is_name;
use crate::serve::{Selection, ServiceName};

/// Which connections are wanted: those that match all parts.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The namespace of the Service.
    pub namespace: Option<String>,
    /// One of these; empty: any.
    pub services: Vec<ServiceFilter>,
    pub backend: Option<BackendFilter>,
    /// Only sockets that this process has open.
    pub process: Option<u32>,
}

/// A Service, or one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFilter {
    /// None: in any namespace.
    pub namespace: Option<String>,
    pub name: String,
    /// The port's name or number.
    pub port: Option<String>,
}

/// A backend's address, with any port or one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendFilter {
    pub address: IpAddr,
    pub port: Option<u16>,
}

impl Filter {
    /// Whether the filter needs the names of Services.
    #[must_use]
    pub const fn needs_names(&self) -> bool {
        self.namespace.is_some() || !self.services.is_empty()
    }

    /// The Services, without their ports.
    pub(super) fn selection(&self) -> Selection {
        let name = |of: &ServiceFilter| ServiceName {
            namespace: of.namespace.clone(),
            name: of.name.clone(),
        };
        Selection {
            namespace: self.namespace.clone(),
            services: self.services.iter().map(name).collect(),
        }
    }

    pub(super) fn has_backend(&self, backend: SocketAddr) -> bool {
        self.backend.is_none_or(|wanted| {
            wanted.address == backend.ip() && wanted.port.is_none_or(|port| port == backend.port())
        })
    }

    /// `frontend`: its port is the Service's.
    pub(super) fn has_service(
        &self,
        service: Option<&ServicePortName>,
        frontend: SocketAddr,
    ) -> bool {
        let Some(service) = service else {
            return !self.needs_names();
        };
        let is_in =
            |wanted: &Option<String>| wanted.as_ref().is_none_or(|ns| *ns == service.namespace);
        let is_port =
            |wanted: &str| wanted == service.port || wanted.parse() == Ok(frontend.port());
        let is_wanted = |wanted: &ServiceFilter| {
            wanted.name == service.name
                && is_in(&wanted.namespace)
                && wanted.port.as_deref().is_none_or(is_port)
        };
        is_in(&self.namespace) && (self.services.is_empty() || self.services.iter().any(is_wanted))
    }

    pub(super) fn has_process(&self, connection: &Connection) -> bool {
        let is_it = |wanted| {
            connection
                .processes
                .iter()
                .any(|process| process.pid == wanted)
        };
        self.process.is_none_or(is_it)
    }
}

impl FromStr for ServiceFilter {
    type Err = String;

    /// `NAME`, `NAMESPACE/NAME`, `NAME:PORT` or `NAMESPACE/NAME:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (service, port) = match text.split_once(':') {
            Some((service, port)) => (service, Some(port)),
            None => (text, None),
        };
        let (namespace, name) = match service.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, service),
        };
        if !is_name(name) || !namespace.is_none_or(is_name) || !port.is_none_or(is_name) {
            return Err("write NAME or NAMESPACE/NAME, with :PORT for one port".to_owned());
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

impl FromStr for BackendFilter {
    type Err = String;

    /// `10.0.0.1`, `10.0.0.1:80`, `fd00::1` or `[fd00::1]:80`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self {
                address,
                port: None,
            });
        }
        let with_port: SocketAddr = text.parse().map_err(|_| {
            "write an address, or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)".to_owned()
        })?;
        Ok(Self {
            address: with_port.ip(),
            port: Some(with_port.port()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address with a port")
    }

    fn services(texts: &[&str]) -> Filter {
        let parse = |text: &&str| text.parse().expect("it is sound");
        Filter {
            services: texts.iter().map(parse).collect(),
            ..Filter::default()
        }
    }

    #[test]
    fn services_are_found_by_namespace_name_and_port() {
        let web = ServicePortName {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            port: "http".to_owned(),
        };
        let has = |filter: &Filter| filter.has_service(Some(&web), address("10.96.0.1:80"));
        for of in ["web", "shop/web", "web:http", "shop/web:80", "web:80"] {
            assert!(has(&services(&[of])), "{of}");
            assert!(has(&services(&["db", of])), "{of}");
        }
        for of in ["db", "default/web", "web:https", "shop/web:8080"] {
            assert!(!has(&services(&[of])), "{of}");
        }
        let in_namespace = |namespace: &str, of: &[&str]| Filter {
            namespace: Some(namespace.to_owned()),
            ..services(of)
        };
        assert!(has(&in_namespace("shop", &[])));
        assert!(!has(&in_namespace("default", &[])));
        assert!(!has(&in_namespace("default", &["web"])));
        let unknown = |filter: &Filter| filter.has_service(None, address("10.96.0.1:80"));
        assert!(unknown(&Filter::default()));
        assert!(!unknown(&services(&["web"])));
        for wrong in ["", "/web", "shop/", "web:", "a/b/c", ":80"] {
            assert!(wrong.parse::<ServiceFilter>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn backends_are_found_by_address_and_port() {
        let has = |of: &str, backend: &str| {
            let filter = Filter {
                backend: Some(of.parse().expect("it is sound")),
                ..Filter::default()
            };
            filter.has_backend(address(backend))
        };
        assert!(has("10.0.0.1", "10.0.0.1:80"));
        assert!(has("10.0.0.1:80", "10.0.0.1:80"));
        assert!(!has("10.0.0.1:81", "10.0.0.1:80"));
        assert!(!has("10.0.0.2", "10.0.0.1:80"));
        assert!(has("fd00::1", "[fd00::1]:80"));
        assert!(has("[fd00::1]:80", "[fd00::1]:80"));
        for wrong in ["", "web", "10.0.0", "10.0.0.1:", "fd00::1:80:x"] {
            assert!(wrong.parse::<BackendFilter>().is_err(), "{wrong:?}");
        }
    }
}
