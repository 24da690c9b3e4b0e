//! Builders for Kubernetes manifests, and a folder of them for an agent. A file is replaced atomically, as an editor or `mv` does,
//! so that the agent never reads half a file.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use crate::pod::Family;

/// A folder of manifests for an agent.
#[derive(Clone, Debug)]
pub struct Manifests {
    folder: PathBuf,
}

impl Manifests {
    /// Makes the folder if it is not there.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes objects to the file `name` as a `kind: List`, replacing what it held, in one step.
    pub fn write(&self, name: &str, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let items: Vec<Value> = objects.into_iter().collect();
        self.write_text(
            name,
            &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(),
        )
    }

    /// As [`Self::write`], with any text.
    pub fn write_text(&self, name: &str, text: &str) -> Result<()> {
        let place = self.folder.join(name);
        let beside = self.folder.parent().unwrap_or(&self.folder);
        let mut file = NamedTempFile::new_in(beside).context("cannot make a temporary file")?;
        file.write_all(text.as_bytes())
            .context("cannot write a manifest")?;
        file.persist(&place)
            .with_context(|| format!("cannot write {}", place.display()))?;
        Ok(())
    }

    pub fn remove(&self, name: &str) -> Result<()> {
        let place = self.folder.join(name);
        fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))
    }
}

/// A Service of type ClusterIP, by default in the namespace `default`.
#[derive(Clone, Debug)]
pub struct ServiceManifest {
    name: String,
    namespace: String,
    annotations: Map<String, Value>,
    spec: Map<String, Value>,
    cluster_ips: Vec<IpAddr>,
    ports: Vec<Value>,
}

impl ServiceManifest {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: "default".to_owned(),
            annotations: Map::new(),
            spec: Map::from_iter([("type".to_owned(), json!("ClusterIP"))]),
            cluster_ips: Vec::new(),
            ports: Vec::new(),
        }
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Called twice, it makes a dual-stack Service.
    #[must_use]
    pub fn cluster_ip(mut self, address: impl Into<IpAddr>) -> Self {
        self.cluster_ips.push(address.into());
        self
    }

    /// A TCP port.
    #[must_use]
    pub fn port(self, name: &str, port: u16) -> Self {
        self.port_of("TCP", name, port)
    }

    #[must_use]
    pub fn udp_port(self, name: &str, port: u16) -> Self {
        self.port_of("UDP", name, port)
    }

    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// Sets any other field of the spec.
    #[must_use]
    pub fn spec(mut self, field: &str, value: Value) -> Self {
        self.spec.insert(field.to_owned(), value);
        self
    }

    pub fn to_json(&self) -> Value {
        let mut spec = Map::from_iter([
            (
                "ipFamilies".to_owned(),
                self.cluster_ips
                    .iter()
                    .map(|ip| json!(family_name(family_of(ip))))
                    .collect(),
            ),
            ("ports".to_owned(), json!(self.ports)),
        ]);
        if let Some(first) = self.cluster_ips.first() {
            spec.insert("clusterIP".to_owned(), json!(first));
            spec.insert("clusterIPs".to_owned(), json!(self.cluster_ips));
        }
        spec.extend(self.spec.clone());
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": self.annotations},
            "spec": spec,
        })
    }

    fn port_of(mut self, protocol: &str, name: &str, port: u16) -> Self {
        self.ports
            .push(json!({"name": name, "port": port, "protocol": protocol}));
        self
    }
}

impl From<ServiceManifest> for Value {
    fn from(service: ServiceManifest) -> Self {
        service.to_json()
    }
}

/// An EndpointSlice of one Service and one family.
#[derive(Clone, Debug)]
pub struct SliceManifest {
    service: String,
    namespace: String,
    name: String,
    annotations: Map<String, Value>,
    family: Family,
    ports: Vec<Value>,
    endpoints: Vec<Value>,
}

impl SliceManifest {
    /// Named after the Service and the family; two slices of one family need [`Self::named`].
    pub fn new(service: &str, family: Family) -> Self {
        Self {
            service: service.to_owned(),
            namespace: "default".to_owned(),
            name: format!("{service}-{}", family_name(family).to_lowercase()),
            annotations: Map::new(),
            family,
            ports: Vec::new(),
            endpoints: Vec::new(),
        }
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), json!(value));
        self
    }

    /// The port that pods listen on, of the TCP service port with this name.
    #[must_use]
    pub fn port(self, name: &str, port: u16) -> Self {
        self.port_of("TCP", name, port)
    }

    #[must_use]
    pub fn udp_port(self, name: &str, port: u16) -> Self {
        self.port_of("UDP", name, port)
    }

    /// A ready endpoint.
    #[must_use]
    pub fn address(self, address: impl Into<IpAddr>) -> Self {
        self.endpoint(Endpoint::new(address))
    }

    /// Ready endpoints.
    #[must_use]
    pub fn addresses(self, addresses: impl IntoIterator<Item = impl Into<IpAddr>>) -> Self {
        addresses.into_iter().fold(self, Self::address)
    }

    #[must_use]
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoints.push(endpoint.0);
        self
    }

    pub fn to_json(&self) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"kubernetes.io/service-name": self.service},
                "annotations": self.annotations,
            },
            "addressType": family_name(self.family),
            "ports": self.ports,
            "endpoints": self.endpoints,
        })
    }

    fn port_of(mut self, protocol: &str, name: &str, port: u16) -> Self {
        self.ports
            .push(json!({"name": name, "port": port, "protocol": protocol}));
        self
    }
}

impl From<SliceManifest> for Value {
    fn from(slice: SliceManifest) -> Self {
        slice.to_json()
    }
}

/// An endpoint of a slice, ready by default.
#[derive(Clone, Debug)]
pub struct Endpoint(Value);

impl Endpoint {
    pub fn new(address: impl Into<IpAddr>) -> Self {
        Self(json!({"addresses": [address.into()], "conditions": {"ready": true}}))
    }

    /// Neither ready nor serving.
    #[must_use]
    pub fn not_ready(self) -> Self {
        self.conditions(false, false, false)
    }

    #[must_use]
    pub fn conditions(self, ready: bool, serving: bool, terminating: bool) -> Self {
        self.field(
            "conditions",
            json!({"ready": ready, "serving": serving, "terminating": terminating}),
        )
    }

    #[must_use]
    pub fn node(self, name: &str) -> Self {
        self.field("nodeName", json!(name))
    }

    #[must_use]
    pub fn zone(self, name: &str) -> Self {
        self.field("zone", json!(name))
    }

    /// Sets any other field.
    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}

fn family_of(address: &IpAddr) -> Family {
    if address.is_ipv4() {
        Family::IPv4
    } else {
        Family::IPv6
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::IPv4 => "IPv4",
        Family::IPv6 => "IPv6",
    }
}
