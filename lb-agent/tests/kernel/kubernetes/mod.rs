//! Services from an API server: a real agent, real HTTP, real pods.

mod access;
mod load;
mod nodes;
mod outage;
mod starting;
mod trouble;
mod watch;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lb_agent::serve::WatchStatus;
use lb_testbed::api_server::{ApiServer, Kind};
use lb_testbed::{Agent, Family, Pod, Sandbox, ServiceManifest, SliceManifest};
use serde_json::Value;

use crate::support::{self, PORT, Servers, TARGET, cluster_ip};

/// An API server, and a node's agent that watches it.
pub struct Cluster {
    pub server: ApiServer,
    pub kubeconfig: PathBuf,
    pub agent: Agent,
}

impl Cluster {
    /// The agent is not started.
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let server = ApiServer::start("127.0.0.1:0")?;
        let kubeconfig = sandbox.dir().join("kubeconfig");
        server.write_kubeconfig(&kubeconfig)?;
        let agent = Agent::of_cluster(
            env!("CARGO_BIN_EXE_lb-agent"),
            sandbox,
            &kubeconfig,
            "node-a",
        );
        Ok(Self {
            server,
            kubeconfig,
            agent,
        })
    }

    /// Starts the agent with its HTTP server, which [`support::get`] uses.
    pub fn agent_with_http(&self) -> Agent {
        self.agent
            .clone()
            .arg("--http")
            .arg(support::HTTP.to_string())
    }

    /// The Service `name`, and one slice with these endpoints.
    pub fn apply_service(&self, name: &str, number: u8, backends: &[IpAddr]) -> Result<()> {
        self.server.apply(&service(name, number).to_json())?;
        self.apply_slice(name, backends)
    }

    pub fn apply_slice(&self, name: &str, backends: &[IpAddr]) -> Result<()> {
        let slice = slice(name).addresses(backends.iter().copied());
        self.server.apply(&slice.to_json())
    }

    /// The state of the agent's watch of a kind.
    pub fn watch_of(&self, kind: Kind) -> Result<WatchStatus> {
        let status = support::status(&self.agent)?;
        let mut watches = status.source.watches.into_iter();
        let name = format!("{kind:?}");
        watches
            .find(|watch| watch.kind.eq_ignore_ascii_case(&name))
            .with_context(|| format!("{name}s are not watched"))
    }

    /// Waits until a watch of each kind is open.
    pub fn wait_for_watches(&self) -> Result<()> {
        support::eventually("all kinds are watched", || {
            let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Node];
            Ok(kinds.iter().all(|kind| self.server.open_watches(*kind) > 0))
        })
    }
}

/// A Service with one TCP port at the address of this number.
pub fn service(name: &str, number: u8) -> ServiceManifest {
    ServiceManifest::new(name)
        .cluster_ip(cluster_ip(number))
        .port("http", PORT)
}

/// A slice of that Service, without endpoints.
pub fn slice(name: &str) -> SliceManifest {
    SliceManifest::new(name, Family::IPv4).port("http", TARGET)
}

pub fn address(number: u8) -> SocketAddr {
    (cluster_ip(number), PORT).into()
}

/// The agent's cluster with the Service `web` of some pods, and a client.
pub struct Web {
    pub cluster: Cluster,
    pub servers: Servers,
    pub client: Pod,
}

impl Web {
    pub const NUMBER: u8 = 10;

    /// This many pods, the first of which are backends; the agent is not started.
    pub fn new(sandbox: &Sandbox, pods: usize, backends: usize) -> Result<Self> {
        let servers = Servers::start(sandbox, pods)?;
        let client = sandbox.pod("client")?;
        let cluster = Cluster::new(sandbox)?;
        cluster.apply_service("web", Self::NUMBER, &servers.ipv4()[..backends])?;
        Ok(Self {
            cluster,
            servers,
            client,
        })
    }

    /// Waits until exactly the pods with these numbers answer connects.
    pub fn wait_for(&self, pods: &[usize]) -> Result<()> {
        let wanted: Vec<IpAddr> = pods.iter().map(|&pod| self.servers.ipv4()[pod]).collect();
        support::wait_for_backends(&self.cluster.agent, "web", &wanted)?;
        let answers = support::answers(&self.client, address(Self::NUMBER), 40)?;
        let names: Vec<&str> = answers.keys().map(String::as_str).collect();
        let mut expected: Vec<&str> = pods
            .iter()
            .map(|&pod| self.servers.pods[pod].name())
            .collect();
        expected.sort_unstable();
        anyhow::ensure!(names == expected, "{names:?} answered, not {expected:?}");
        Ok(())
    }
}

/// Writes a kubeconfig whose user has the token in a file.
pub fn write_token_kubeconfig(cluster: &Cluster, token_file: &std::path::Path) -> Result<()> {
    let text = fs::read_to_string(&cluster.kubeconfig)?;
    let mut config: Value = serde_json::from_str(&text)?;
    config["users"][0]["user"] = serde_json::json!({"tokenFile": token_file});
    fs::write(&cluster.kubeconfig, config.to_string())?;
    Ok(())
}
