//! A node with the packet path on, pods on it and behind another node, and machines that ask.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use lb_testbed::{
    Agent, AgentProcess, Answer, CLUSTER_CIDRS, Endpoint, Family, Manifests, NamedServer, Outside,
    Pod, Question, RemoteNode, RoutedNode, Sandbox, SliceManifest,
};
use serde_json::{Value, json};

use crate::support::{TARGET, backends, eventually};

pub const FAMILIES: [Family; 2] = [Family::IPv4, Family::IPv6];
pub const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// The port of every Service here.
pub const PORT: u16 = 80;

/// The networks of addresses that belong to no machine: ClusterIPs, LoadBalancer IPs and external IPs.
pub const SERVICE_NETWORKS: [&str; 6] = [
    "10.96.0.0/24",
    "203.0.113.0/24",
    "198.51.100.0/24",
    "fd00:96::/64",
    "2001:db8:cb00::/64",
    "2001:db8:c633::/64",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// The kinds of address that a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
}

impl Kind {
    pub const ALL: [Self; 4] = [
        Self::ClusterIp,
        Self::NodePort,
        Self::LoadBalancer,
        Self::ExternalIp,
    ];
}

/// A dual-stack Service with a TCP and a UDP port, and an address of every kind.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: &'static str,
    /// The last digits of its addresses, and of its NodePort.
    pub number: u8,
    /// Fields that are added to the spec.
    pub spec: Value,
    annotations: Value,
}

impl Service {
    pub fn new(name: &'static str, number: u8) -> Self {
        Self {
            name,
            number,
            spec: json!({}),
            annotations: json!({}),
        }
    }

    /// Chooses by this algorithm.
    #[must_use]
    pub fn by(mut self, algorithm: &str) -> Self {
        self.annotations["socklb.dev/algorithm"] = json!(algorithm);
        self
    }

    /// Adds a field to the spec.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.spec[field] = value;
        self
    }

    pub fn node_port(&self) -> u16 {
        30_000 + u16::from(self.number)
    }

    /// Where to connect for a kind of frontend. `node`: the node's address for a NodePort.
    pub fn at(&self, kind: Kind, family: Family, node: IpAddr) -> SocketAddr {
        let number = self.number;
        let network = match (kind, family) {
            (Kind::NodePort, _) => return (node, self.node_port()).into(),
            (Kind::ClusterIp, Family::IPv4) => IpAddr::from([10, 96, 0, number]),
            (Kind::LoadBalancer, Family::IPv4) => IpAddr::from([203, 0, 113, number]),
            (Kind::ExternalIp, Family::IPv4) => IpAddr::from([198, 51, 100, number]),
            (Kind::ClusterIp, Family::IPv6) => ipv6([0xfd00, 0x96, 0], number),
            (Kind::LoadBalancer, Family::IPv6) => ipv6([0x2001, 0xdb8, 0xcb00], number),
            (Kind::ExternalIp, Family::IPv6) => ipv6([0x2001, 0xdb8, 0xc633], number),
        };
        (network, PORT).into()
    }

    fn to_json(&self) -> Value {
        let nowhere = IpAddr::from([0; 4]);
        let both = |kind| FAMILIES.map(|family| self.at(kind, family, nowhere).ip());
        let cluster_ips = both(Kind::ClusterIp);
        let port = |name: &str, protocol: &str| json!({"name": name, "protocol": protocol, "port": PORT, "nodePort": self.node_port()});
        let mut spec = json!({
            "type": "LoadBalancer",
            "clusterIP": cluster_ips[0],
            "clusterIPs": cluster_ips,
            "ipFamilies": ["IPv4", "IPv6"],
            "externalIPs": both(Kind::ExternalIp),
            "ports": [port("tcp", "TCP"), port("udp", "UDP")],
        });
        for (field, value) in self.spec.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name, "namespace": "default", "annotations": self.annotations},
            "spec": spec,
            "status": {"loadBalancer": {"ingress": both(Kind::LoadBalancer).map(|ip| json!({"ip": ip}))}},
        })
    }
}

fn ipv6([first, second, third]: [u16; 3], number: u8) -> IpAddr {
    // The same digits as in the IPv4 address.
    let number = u16::from(number);
    let digits = (number / 100) << 8 | (number / 10 % 10) << 4 | (number % 10);
    IpAddr::from([first, second, third, 0, 0, 0, 0, digits])
}

/// An endpoint of a Service: a pod, and the name of its node.
pub type Placed<'a> = (&'a Pod, &'static str);

/// The node, its pods, and an agent with the packet path.
pub struct Scene<'s> {
    pub node: RoutedNode<'s>,
    /// Behind another node.
    pub remote: RemoteNode,
    pub outside: Outside,
    pub manifests: Manifests,
    pub agent: Agent,
    servers: Vec<NamedServer>,
}

impl<'s> Scene<'s> {
    /// A scene without Services, whose agent is not started yet.
    pub fn new(sandbox: &'s Sandbox) -> Result<Self> {
        let mut scene = Self::without_cluster_cidr(sandbox)?;
        let cidrs = format!("--cluster-cidr={}", CLUSTER_CIDRS.join(","));
        scene.agent = scene.agent.arg(cidrs);
        Ok(scene)
    }

    /// As [`Self::new`], with an agent that does not know the pods' addresses.
    pub fn without_cluster_cidr(sandbox: &'s Sandbox) -> Result<Self> {
        let node = RoutedNode::new(sandbox)?;
        let outside = node.outside("outside")?;
        outside.route_via_node(SERVICE_NETWORKS)?;
        let manifests = sandbox.manifests()?;
        let agent = Agent::on_cgroup(
            env!("CARGO_BIN_EXE_lb-agent"),
            sandbox,
            manifests.folder(),
            node.cgroup(),
        )
        .arg("--packet-path=on");
        Ok(Self {
            remote: node.remote_node("node-b")?,
            node,
            outside,
            manifests,
            agent,
            servers: Vec::new(),
        })
    }

    /// Serves the pod's name, over both protocols.
    pub fn serve(&mut self, pod: &Pod) -> Result<()> {
        self.servers
            .push(NamedServer::tcp_with_client(pod, TARGET, pod.name())?);
        self.servers
            .push(NamedServer::udp_with_client(pod, TARGET, pod.name())?);
        Ok(())
    }

    /// Pods of this node that serve.
    pub fn pods(&mut self, count: usize) -> Result<Vec<Pod>> {
        let pods = self.node.pods(count)?;
        pods.iter().try_for_each(|pod| self.serve(pod))?;
        Ok(pods)
    }

    /// A pod behind the other node that serves.
    pub fn remote_pod(&mut self, name: &str) -> Result<Pod> {
        let pod = self.remote.pod(name)?;
        self.serve(&pod)?;
        Ok(pod)
    }

    /// Writes a Service with these ready endpoints.
    pub fn write(&self, service: &Service, endpoints: &[Placed<'_>]) -> Result<()> {
        let ready = endpoints
            .iter()
            .map(|(pod, node)| (*pod, Endpoint::new as fn(IpAddr) -> Endpoint, *node));
        let slices = FAMILIES.map(|family| {
            let slice = SliceManifest::new(service.name, family)
                .port("tcp", TARGET)
                .udp_port("udp", TARGET);
            ready
                .clone()
                .fold(slice, |slice, (pod, endpoint, node)| {
                    slice.endpoint(endpoint(pod.address(family)).node(node))
                })
                .to_json()
        });
        let file = format!("{}.json", service.name);
        self.manifests
            .write(&file, [service.to_json()].into_iter().chain(slices))
    }

    /// Waits until the tables have these endpoints of a Service, and no others.
    pub fn wait_for_backends(&self, service: &Service, endpoints: &[Placed<'_>]) -> Result<()> {
        let wanted: BTreeSet<IpAddr> = endpoints
            .iter()
            .flat_map(|(pod, _)| FAMILIES.map(|family| pod.address(family)))
            .collect();
        eventually(&format!("{} has {wanted:?}", service.name), || {
            let now: BTreeSet<IpAddr> = backends(&self.agent)?
                .iter()
                .filter(|backend| backend.name == service.name && backend.internal)
                .filter_map(|backend| backend.address.parse::<SocketAddr>().ok())
                .map(|address| address.ip())
                .collect();
            Ok(now == wanted)
        })
    }

    /// Starts the agent, and waits until it is ready.
    pub fn start(&self) -> Result<AgentProcess> {
        self.agent.start()
    }

    /// The node's addresses, on whatever device.
    pub fn node_addresses(&self, family: Family) -> BTreeSet<IpAddr> {
        let (ipv4, ipv6) = self.remote.masqueraded();
        let towards_remote: IpAddr = match family {
            Family::IPv4 => ipv4.into(),
            Family::IPv6 => ipv6.into(),
        };
        [
            self.node.host().address(family),
            self.outside.node_address(family),
            towards_remote,
        ]
        .into()
    }
}

/// Asks once.
pub fn ask(client: &Pod, to: SocketAddr, protocol: Protocol) -> std::io::Result<Answer> {
    put(client, Question::to(to), protocol)
}

/// Puts a question.
pub fn put(client: &Pod, question: Question, protocol: Protocol) -> std::io::Result<Answer> {
    client.enter(|| match protocol {
        Protocol::Tcp => question.over_tcp(),
        Protocol::Udp => question.over_udp(),
    })?
}

/// Asks until this server answers.
pub fn wait_for_answer(client: &Pod, to: SocketAddr, protocol: Protocol, name: &str) -> Result<()> {
    eventually(&format!("{name} answers at {to} over {protocol:?}"), || {
        Ok(ask(client, to, protocol)?.name == name)
    })
}

/// Asks until each of these servers has answered; returns the clients' addresses that the servers saw.
pub fn ask_until_all(
    client: &Pod,
    to: SocketAddr,
    protocol: Protocol,
    servers: &[&str],
) -> Result<BTreeSet<IpAddr>> {
    // One of three is missing after 60 questions once in 10^10 runs.
    const QUESTIONS: usize = 60;
    let mut missing: BTreeSet<&str> = servers.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for _ in 0..QUESTIONS {
        let answer = ask(client, to, protocol)
            .with_context(|| format!("{} asks {to} over {protocol:?}", client.name()))?;
        anyhow::ensure!(
            servers.contains(&&*answer.name),
            "{} is no endpoint for {to} over {protocol:?}",
            answer.name
        );
        missing.remove(&*answer.name);
        seen.insert(answer.client.ip());
        if missing.is_empty() {
            return Ok(seen);
        }
    }
    anyhow::bail!("{missing:?} never answered at {to} over {protocol:?}")
}
