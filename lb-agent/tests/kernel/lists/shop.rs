//! The Service `shop/web` with everything that a list shows, and an agent.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_testbed::{Agent, AgentProcess, Endpoint, Family, Manifests, Pod, Sandbox};
use lb_testbed::{ServiceManifest, SliceManifest};
use serde_json::json;

use crate::support::{PORT, Servers, TARGET, agent, cluster_ip};

pub(super) const NODE_PORT: u16 = 30_080;

/// The node's address in the sandbox.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// A NodePort with two families, affinity and a Local policy for ClusterIPs. The first pod is on this node, the second is not.
pub(super) struct Shop {
    pub servers: Servers,
    pub client: Pod,
    pub manifests: Manifests,
    pub agent: Agent,
    pub running: AgentProcess,
}

impl Shop {
    pub(super) const ADDRESS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(cluster_ip(10)), PORT);

    pub(super) fn start(sandbox: &Sandbox) -> Result<Self> {
        let servers = Servers::start(sandbox, 2)?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let port = json!({"name": "http", "port": PORT, "nodePort": NODE_PORT, "protocol": "TCP"});
        let service = ServiceManifest::new("web")
            .namespace("shop")
            .annotation("socklb.dev/algorithm", "round-robin")
            .annotation("socklb.dev/drain", "30s")
            .cluster_ip(cluster_ip(10))
            .spec("clusterIPs", json!([cluster_ip(10), "fd00:96::a"]))
            .spec("ipFamilies", json!(["IPv4", "IPv6"]))
            .spec("type", json!("NodePort"))
            .spec("sessionAffinity", json!("ClientIP"))
            .spec("internalTrafficPolicy", json!("Local"))
            .spec("ports", json!([port]));
        let mut objects = vec![service.to_json()];
        for family in [Family::IPv4, Family::IPv6] {
            let addresses = servers.addresses(family);
            let [here, there] = addresses[..] else {
                anyhow::bail!("two pods have {addresses:?}");
            };
            let slice = SliceManifest::new("web", family)
                .namespace("shop")
                .port("http", TARGET)
                .endpoint(Endpoint::new(here).node("node-a"))
                .endpoint(Endpoint::new(there).node("node-b").zone("z2"));
            objects.push(slice.to_json());
        }
        manifests.write("shop.json", objects)?;
        let agent = agent(sandbox, &manifests);
        let running = agent.start().context("the agent starts")?;
        Ok(Self {
            servers,
            client,
            manifests,
            agent,
            running,
        })
    }
}
