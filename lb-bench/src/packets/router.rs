//! A node that forwards between a client outside and a server in a pod. Each contender has one of its own, so that its rules and
//! programs see nobody else's packets.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use lb_testbed::{NetworkNamespace, Node, Sandbox};

use crate::rules::{Mode, Rules};
use crate::server::Server;
use crate::services::{self, BACKEND_PORT, BACKENDS, ServiceKind};

/// The addresses on the link between the node and the client.
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The addresses on the link between the node and the pod, which also has those of all endpoints.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 2);
/// The node's devices towards client and pod.
pub(super) const DEVICES: [&str; 2] = ["wan0", "pod0"];

/// The kernel keeps what it knows of closed connections for ten seconds, and the bench makes thousands of them.
const TIMEOUTS: [(&str, &str); 2] = [
    ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
    ("net/netfilter/nf_conntrack_udp_timeout", "1"),
];

/// Client, node and server.
#[derive(Debug)]
pub(super) struct Router {
    node: Node,
    client: NetworkNamespace,
    server: Server,
    // Its end of the veth pair ends with it.
    _pod: NetworkNamespace,
}

impl Router {
    /// `name`: one that no other node of the sandbox has had.
    pub(super) fn new(sandbox: &Sandbox, name: &str) -> Result<Self> {
        let node = sandbox.node(name)?;
        let (client, pod) = (NetworkNamespace::create()?, NetworkNamespace::create()?);
        let [wan, inner] = DEVICES;
        let mut of_node = format!(
            "link add {wan} type veth peer name eth0 netns {}\n\
             link add {inner} type veth peer name eth0 netns {}\n\
             addr add {NODE}/24 dev {wan}\n\
             addr add {GATEWAY}/30 dev {inner}\n\
             link set {wan} up\n\
             link set {inner} up\n",
            client.path(),
            pod.path()
        );
        let mut of_client = format!(
            "link set lo up\n\
             addr add {CLIENT}/24 dev eth0\n\
             link set eth0 up\n"
        );
        let mut of_pod = format!(
            "link set lo up\n\
             addr add {POD}/30 dev eth0\n\
             link set eth0 up\n\
             route add default via {GATEWAY}\n"
        );
        for backend in BACKENDS {
            // Writing to a String does not fail.
            let _ = writeln!(of_node, "route add {backend}/32 via {POD}");
            let _ = writeln!(of_client, "route add {backend}/32 via {NODE}");
            let _ = writeln!(of_pod, "addr add {backend}/32 dev eth0");
        }
        let host = node.host().namespace();
        host.ip(&of_node)
            .and_then(|()| client.ip(&of_client))
            .and_then(|()| pod.ip(&of_pod))
            .with_context(|| format!("cannot build the network of {name}"))?;
        host.set_sysctls(&[("net/ipv4/ip_forward", "1")])?;
        Ok(Self {
            server: Server::start(&pod)?,
            node,
            client,
            _pod: pod,
        })
    }

    /// Loads kube-proxy's rules into the node.
    pub(super) fn load(
        &self,
        sandbox: &Sandbox,
        mode: Mode,
        kind: ServiceKind,
        services: usize,
    ) -> Result<()> {
        let rules = Rules {
            kind,
            services,
            node: Some(NODE),
        };
        rules.load(mode, self.node.host().namespace(), sandbox.dir())?;
        self.shorten_timeouts()
    }

    /// Once the kernel tracks connections.
    pub(super) fn shorten_timeouts(&self) -> Result<()> {
        self.node.host().namespace().set_sysctls(&TIMEOUTS)
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn client(&self) -> &NetworkNamespace {
        &self.client
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }
}

/// Where a client's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To the NodePort of a random Service.
    NodePort,
    /// To a random endpoint, without any load balancer.
    Pod,
}

impl Target {
    pub(super) fn address(self, services: usize, rng: &mut Rng) -> SocketAddr {
        match self {
            Self::NodePort => (NODE, services::node_port(rng.usize(..services))).into(),
            Self::Pod => (BACKENDS[rng.usize(..BACKENDS.len())], BACKEND_PORT).into(),
        }
    }
}
