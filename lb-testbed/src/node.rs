//! One of several nodes in a sandbox, each with an agent of its own. The sandbox's bridge is the network between them; pods have
//! addresses in the nodes' network.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use crate::cgroup::Cgroup;
use crate::pod::Pod;

/// The host's network namespace, with addresses of its own, and a cgroup for everything that runs on the node.
#[derive(Debug)]
pub struct Node {
    host: Pod,
    cgroup: Cgroup,
}

impl Node {
    /// A node whose host network is that of `host`, with a new cgroup inside `parent`.
    pub(crate) fn new(host: Pod, parent: &Cgroup) -> Result<Self> {
        // A test's clients are threads of one process on different nodes.
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

    /// The host network, as a pod with `hostNetwork` has it: commands that start in it run on the node.
    pub fn host(&self) -> &Pod {
        &self.host
    }

    /// Schedules a pod to this node: commands that start in the pod from now on are in the node's cgroup.
    #[must_use]
    pub fn run(&self, pod: Pod) -> Pod {
        pod.in_cgroup(self.cgroup.clone())
    }
}
