//! A node that forwards packets: machines outside, pods behind another node, and pods with and without the agent's hooks.
//!
//! ```no_run
//! use lb_testbed::{Agent, Manifests, NamedServer, Question, RoutedNode, Sandbox};
//!
//! fn ask_from_outside(sandbox: &Sandbox, manifests: &Manifests) -> anyhow::Result<()> {
//!     let node = RoutedNode::new(sandbox)?;
//!     let _agent = Agent::on_cgroup("lb-agent", sandbox, manifests.folder(), node.cgroup()).start()?;
//!     let web = node.pod("web")?;
//!     let _server = NamedServer::tcp_with_client(&web, 8080, "web")?;
//!     let outside = node.outside("client")?;
//!     outside.route_via_node(["203.0.113.0/24"])?;
//!     let answer = outside.machine().enter(|| Question::to(([203, 0, 113, 80], 80)).over_tcp())??;
//!     assert_eq!(answer.name, "web");
//!     Ok(())
//! }
//! ```

mod link;
mod outside;
mod remote;
mod tun;

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Result, bail};

use crate::cgroup::Cgroup;
use crate::namespace::NetworkNamespace;
use crate::pod::{BRIDGE, Pod};
use crate::sandbox::Sandbox;

pub use self::link::Link;
pub use self::outside::Outside;
pub use self::remote::RemoteNode;

/// The addresses of all pods, as `--cluster-cidr` takes them.
pub const CLUSTER_CIDRS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/48"];

/// The sandbox's node, set up to forward. Agents belong on [`Self::cgroup`], not on the sandbox's cgroup: that contains this whole
/// process, hence also the machines outside.
#[derive(Debug)]
pub struct RoutedNode<'s> {
    sandbox: &'s Sandbox,
    hooked: Cgroup,
    unhooked: Cgroup,
    outsides: AtomicU8,
    remotes: AtomicU8,
}

impl<'s> RoutedNode<'s> {
    /// Turns forwarding on in the sandbox's network namespace. Once for each sandbox.
    pub fn new(sandbox: &'s Sandbox) -> Result<Self> {
        let parent = Cgroup::at(sandbox.cgroup());
        let node = Self {
            sandbox,
            // Siblings, since a test's clients are threads of one process.
            hooked: parent.child("hooked")?.threaded()?,
            unhooked: parent.child("unhooked")?.threaded()?,
            outsides: AtomicU8::new(0),
            remotes: AtomicU8::new(0),
        };
        forward(sandbox.namespace())?;
        sandbox.namespace().set_sysctls(&[
            // Two pods that talk through the node are on one link: the node would tell them to leave it out.
            ("net/ipv4/conf/all/send_redirects", "0"),
            (&format!("net/ipv4/conf/{BRIDGE}/send_redirects"), "0"),
            // Each of many refusals is to reach its client.
            ("net/ipv4/icmp_ratelimit", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
        ])?;
        // The one that it has is not usable yet: see `forward`.
        sandbox.namespace().ip(&format!(
            "addr flush dev {BRIDGE} scope link\n\
             addr add fe80::1/64 dev {BRIDGE} nodad\n"
        ))?;
        Ok(node)
    }

    /// The cgroup for an agent: the pods of [`Self::pod`] and [`Self::host`] are inside.
    pub fn cgroup(&self) -> &Path {
        self.hooked.path()
    }

    /// The node's network namespace.
    pub fn namespace(&self) -> &NetworkNamespace {
        self.sandbox.namespace()
    }

    /// A pod below [`Self::cgroup`]. Everything but itself is behind the node, as with a CNI plugin that routes; there is still no
    /// way out of the sandbox.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        self.pod_numbered(name, self.sandbox.take_number()?)
    }

    /// As [`Self::pod`], with the addresses 10.244.0.`number` and fd00:244::`number`. The numbers that [`Self::pod`] gives out start
    /// at 2.
    pub fn pod_numbered(&self, name: &str, number: u8) -> Result<Pod> {
        let pod = self.sandbox.routed_pod(name, number)?;
        Ok(pod.in_cgroup(self.hooked.clone()))
    }

    /// Pods named `pod-0`, `pod-1`, …
    pub fn pods(&self, count: usize) -> Result<Vec<Pod>> {
        (0..count)
            .map(|index| self.pod(&format!("pod-{index}")))
            .collect()
    }

    /// A pod that is not below [`Self::cgroup`]: its connects reach the node as packets, like those of a virtual machine.
    pub fn pod_without_hooks(&self, name: &str) -> Result<Pod> {
        let pod = self.sandbox.routed_pod(name, self.sandbox.take_number()?)?;
        Ok(pod.in_cgroup(self.unhooked.clone()))
    }

    /// A pod with `hostNetwork`, below [`Self::cgroup`]: the node's own sockets.
    pub fn host(&self) -> Pod {
        self.sandbox.host().in_cgroup(self.hooked.clone())
    }

    /// A machine outside, on a link of its own.
    pub fn outside(&self, name: &str) -> Result<Outside> {
        self.outside_over(name, Link::Veth)
    }

    /// As [`Self::outside`], over another kind of link.
    pub fn outside_over(&self, name: &str, link: Link) -> Result<Outside> {
        let number = self.outsides.fetch_add(1, Ordering::Relaxed);
        if number >= Outside::AT_MOST {
            bail!(
                "a node has subnets for {} machines outside",
                Outside::AT_MOST
            );
        }
        Outside::new(name, number, link, self.namespace(), self.unhooked.clone())
    }

    /// Another node, with a network for pods behind it.
    pub fn remote_node(&self, name: &str) -> Result<RemoteNode> {
        let number = self.remotes.fetch_add(1, Ordering::Relaxed) + 1;
        RemoteNode::new(name, number, self.namespace(), self.unhooked.clone())
    }

    /// Whether netfilter sees packets between ports of the node's bridge (br_netfilter), where the kernel has it.
    pub fn set_bridge_netfilter(&self, is_on: bool) -> Result<()> {
        let value = if is_on { "1" } else { "0" };
        let tables = ["iptables", "ip6tables"];
        tables.iter().try_for_each(|table| {
            let name = format!("net/bridge/bridge-nf-call-{table}");
            self.namespace().set_sysctls(&[(&name, value)])
        })
    }
}

/// Turns forwarding on in a network namespace, before it gets devices. Neighbours are asked from link-local addresses, which are not
/// usable for a second unless detection of duplicates is off.
fn forward(namespace: &NetworkNamespace) -> Result<()> {
    namespace.set_sysctls(&[
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
    ])
}
