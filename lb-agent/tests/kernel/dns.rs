//! A node whose Services are DNS-like: UDP on port 53, in both families.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use lb_testbed::{
    Agent, AgentProcess, Endpoint, Family, Manifests, NamedServer, Pod, Sandbox, ServiceManifest,
    SliceManifest,
};

use crate::support::{agent, backends, cluster_ip, eventually, status};

/// The addresses of Services and pods.
pub const PORT: u16 = 53;

/// Pods that answer over UDP in both families, and their Services.
pub struct Dns {
    pub pods: Vec<Pod>,
    _servers: Vec<NamedServer>,
    pub client: Pod,
    manifests: Manifests,
    pub agent: Agent,
    pub running: AgentProcess,
}

/// The address of a Service.
pub fn service_ipv6(number: u8) -> SocketAddr {
    let address = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, u16::from(number));
    (address, PORT).into()
}

/// The address of a Service.
pub fn service(number: u8) -> SocketAddr {
    (cluster_ip(number), PORT).into()
}

impl Dns {
    /// `services`: the backends of each, as numbers of pods.
    pub fn start(sandbox: &Sandbox, pods: usize, services: &[&[usize]]) -> Result<Self> {
        Self::start_with(sandbox, pods, services, |agent| agent)
    }

    /// Like [`Self::start`], with a modified agent.
    pub fn start_with(
        sandbox: &Sandbox,
        pods: usize,
        services: &[&[usize]],
        change: impl FnOnce(Agent) -> Agent,
    ) -> Result<Self> {
        let pods = sandbox.pods(pods)?;
        let servers = pods
            .iter()
            .map(|pod| NamedServer::udp(pod, PORT, pod.name()))
            .collect::<Result<_>>()?;
        let client = sandbox.pod("client")?;
        let manifests = sandbox.manifests()?;
        let agent = change(agent(sandbox, &manifests));
        let running = agent.spawn()?;
        let mut dns = Self {
            pods,
            _servers: servers,
            client,
            manifests,
            agent,
            running,
        };
        for (number, backends) in (1..).zip(services) {
            dns.write(number, backends.iter().map(|&pod| (pod, true, true)))?;
        }
        dns.running.wait_ready()?;
        let frontends = 2 * services.len();
        eventually("all Services are in effect", || {
            Ok(status(&dns.agent)?.frontends == frontends)
        })?;
        Ok(dns)
    }

    /// Service `number` on `service(number)` and `service_ipv6(number)`; its endpoints: pod, ready, serving.
    pub fn write(
        &self,
        number: u8,
        endpoints: impl Iterator<Item = (usize, bool, bool)>,
    ) -> Result<()> {
        let name = format!("dns-{number}");
        let endpoints: Vec<_> = endpoints.collect();
        let service = ServiceManifest::new(&name)
            .cluster_ip(service(number).ip())
            .cluster_ip(service_ipv6(number).ip())
            .udp_port("dns", PORT);
        let slice = |family| {
            let slice = SliceManifest::new(&name, family).udp_port("dns", PORT);
            endpoints
                .iter()
                .fold(slice, |slice, &(pod, ready, serving)| {
                    let endpoint = Endpoint::new(self.pods[pod].address(family));
                    slice.endpoint(endpoint.conditions(ready, serving, !ready))
                })
        };
        let slices = [Family::IPv4, Family::IPv6].map(slice);
        let objects = [service.to_json(), slices[0].to_json(), slices[1].to_json()];
        self.manifests.write(&format!("{name}.json"), objects)
    }

    /// Removes a Service and its endpoints.
    pub fn remove(&self, number: u8) -> Result<()> {
        self.manifests.remove(&format!("dns-{number}.json"))
    }

    /// The pods that are backends of a Service now, chosen or not: serving or not.
    pub fn wait_for(
        &self,
        number: u8,
        family: Family,
        wanted: &[(usize, bool, bool)],
    ) -> Result<()> {
        let name = format!("dns-{number}");
        let mut wanted: Vec<(IpAddr, bool, bool)> = wanted
            .iter()
            .map(|&(pod, chosen, serving)| (self.pods[pod].address(family), chosen, serving))
            .collect();
        wanted.sort();
        eventually(&format!("{name} has {wanted:?}"), || {
            let mut now = Vec::new();
            for backend in backends(&self.agent)? {
                let address: SocketAddr = backend.address.parse()?;
                if backend.name == name && address.is_ipv4() == (family == Family::IPv4) {
                    now.push((address.ip(), backend.internal, backend.serving));
                }
            }
            now.sort();
            Ok(now == wanted)
        })
    }
}
