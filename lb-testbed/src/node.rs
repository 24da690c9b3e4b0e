//! One of several nodes in a sandbox, each with an agent of its own. The sandbox is then the network between them: nodes
//! and pods are neighbours on its bridge, as where pods have addresses of the nodes' own network.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use crate::cgroup::Cgroup;
use crate::pod::Pod;

/// A network namespace that is the host's, with addresses of its own, and a cgroup for all that runs on the node.
#[derive(Debug)]
pub struct Node {
    host: Pod,
    cgroup: Cgroup,
}

impl Node {
    /// On what is plugged in for its host, in a new cgroup inside this one.
    pub(crate) fn new(host: Pod, parent: &Cgroup) -> Result<Self> {
        // Threads of one process are to be on different nodes: a test's clients.
        let cgroup = parent.child(host.name())?.threaded()?;
        let host = host.in_cgroup(cgroup.clone());
        Ok(Self { host, cgroup })
    }

    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// The node's address.
    pub fn ipv4(&self) -> Ipv4Addr {
        self.host.ipv4()
    }

    /// The cgroup to attach to.
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// The host as a pod with `hostNetwork` sees it: what starts inside runs on the node, in its own network namespace.
    pub fn host(&self) -> &Pod {
        &self.host
    }

    /// Puts a pod on this node: what starts inside from now on is in the node's cgroup.
    #[must_use]
    pub fn run(&self, pod: Pod) -> Pod {
        pod.in_cgroup(self.cgroup.clone())
    }
}
