//! Another node of the cluster, which the sandbox's node reaches by routing. It has endpoints that are not on the sandbox's node.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU8, Ordering};

use anyhow::{Context as _, Result, bail};

use super::forward;
use crate::cgroup::Cgroup;
use crate::namespace::NetworkNamespace;
use crate::pod::{DEVICE, Pod};

/// The last numbers in the addresses of the sandbox's node and of the other one on their link.
const NODE: u8 = 1;
const REMOTE: u8 = 2;
/// The other node's number in the network of its pods.
const GATEWAY: u8 = 1;
const LAST_POD: u8 = 99;

/// Another node. The first one is 10.240.1.2 and fd00:240:0:1::2 on its link `node1` to the sandbox's node, which is 10.240.1.1 and
/// fd00:240:0:1::1 there; its pods are 10.244.1.2, fd00:244:0:1::2 and up. It sends everything back through the sandbox's node, so
/// that a connection without masquerade works, and its server reports the client's own address.
#[derive(Debug)]
pub struct RemoteNode {
    host: Pod,
    number: u8,
    cgroup: Cgroup,
    pods: AtomicU8,
}

impl RemoteNode {
    pub(super) fn new(
        name: &str,
        number: u8,
        node: &NetworkNamespace,
        cgroup: Cgroup,
    ) -> Result<Self> {
        let namespace = NetworkNamespace::create()
            .with_context(|| format!("cannot make a network namespace for node {name}"))?;
        let host = Pod::with_addresses(
            name,
            link4(number, REMOTE),
            link6(number, REMOTE),
            namespace,
        )
        .in_cgroup(cgroup.clone());
        forward(host.namespace())?;
        let place = host.namespace().path();
        node.ip(&format!(
            "link add node{number} type veth peer name {DEVICE} netns {place}\n\
             addr add {}/24 dev node{number}\n\
             addr add {}/64 dev node{number} nodad\n\
             link set node{number} up\n",
            link4(number, NODE),
            link6(number, NODE)
        ))
        .with_context(|| format!("cannot connect node {name}"))?;
        host.ip(&format!(
            "link set lo up\n\
             addr add {}/24 dev {DEVICE}\n\
             addr add {}/64 dev {DEVICE} nodad\n\
             link set {DEVICE} up\n\
             route add default via {}\n\
             route add default via {}\n",
            link4(number, REMOTE),
            link6(number, REMOTE),
            link4(number, NODE),
            link6(number, NODE)
        ))?;
        node.ip(&format!(
            "route add {}/24 via {}\n\
             route add {}/64 via {}\n",
            pod4(number, 0),
            host.ipv4(),
            pod6(number, 0),
            host.ipv6()
        ))
        .with_context(|| format!("cannot add routes to the pods of node {name}"))?;
        Ok(Self {
            host,
            number,
            cgroup,
            pods: AtomicU8::new(GATEWAY),
        })
    }

    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Its host network.
    pub fn host(&self) -> &Pod {
        &self.host
    }

    /// The addresses of the sandbox's node that this node's pods see after masquerade.
    pub fn masqueraded(&self) -> (Ipv4Addr, Ipv6Addr) {
        (link4(self.number, NODE), link6(self.number, NODE))
    }

    /// A pod on this node.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let index = self.pods.fetch_add(1, Ordering::Relaxed) + 1;
        if index > LAST_POD {
            bail!("node {} has no address left for a pod", self.name());
        }
        let namespace = NetworkNamespace::create()
            .with_context(|| format!("cannot make a network namespace for pod {name}"))?;
        let (ipv4, ipv6) = (pod4(self.number, index), pod6(self.number, index));
        let (gateway4, gateway6) = (pod4(self.number, GATEWAY), pod6(self.number, GATEWAY));
        let pod = Pod::with_addresses(name, ipv4, ipv6, namespace).in_cgroup(self.cgroup.clone());
        self.host.ip(&format!(
            "link add pod{index} type veth peer name {DEVICE} netns {}\n\
             addr add {gateway4}/32 dev pod{index}\n\
             addr add {gateway6}/128 dev pod{index} nodad\n\
             link set pod{index} up\n\
             route add {ipv4} dev pod{index}\n\
             route add {ipv6} dev pod{index}\n",
            pod.namespace().path()
        ))?;
        pod.bring_up_behind(gateway4, gateway6)?;
        Ok(pod)
    }
}

fn link4(number: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 240, number, last)
}

fn link6(number: u8, last: u8) -> Ipv6Addr {
    let [number, last] = [number, last].map(u16::from);
    Ipv6Addr::new(0xfd00, 0x240, 0, number, 0, 0, 0, last)
}

fn pod4(number: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, number, last)
}

fn pod6(number: u8, last: u8) -> Ipv6Addr {
    let [number, last] = [number, last].map(u16::from);
    Ipv6Addr::new(0xfd00, 0x244, 0, number, 0, 0, 0, last)
}
