//! A pod: a network namespace on the node's bridge, with an address in each family and no other routes.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

use crate::cgroup::Cgroup;
use crate::namespace::{NetworkNamespace, addresses};

/// The bridge's name in the node's namespace.
pub(crate) const BRIDGE: &str = "pods";
/// The device's name in a pod, as in a real one.
pub(crate) const DEVICE: &str = "eth0";

/// An IP family, in the words of a Service's `ipFamilies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    IPv4,
    IPv6,
}

/// A network namespace with `eth0` on the node's bridge. Its routes are its own /24 and /64, nothing else.
#[derive(Clone, Debug)]
pub struct Pod {
    name: String,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    namespace: NetworkNamespace,
    /// None: the sandbox's.
    cgroup: Option<Cgroup>,
}

impl Pod {
    pub(crate) fn unconnected(name: &str, number: u8) -> Result<Self> {
        let namespace = NetworkNamespace::create()
            .with_context(|| format!("cannot make a network namespace for pod {name}"))?;
        let (ipv4, ipv6) = addresses(number);
        Ok(Self::with_addresses(name, ipv4, ipv6, namespace))
    }

    /// A network namespace that has, or will have, these addresses.
    pub(crate) fn with_addresses(
        name: &str,
        ipv4: Ipv4Addr,
        ipv6: Ipv6Addr,
        namespace: NetworkNamespace,
    ) -> Self {
        Self {
            name: name.to_owned(),
            ipv4,
            ipv6,
            namespace,
            cgroup: None,
        }
    }

    /// The same pod with its processes in another cgroup: commands and threads that start in it from now on are there.
    #[must_use]
    pub fn in_cgroup(mut self, cgroup: Cgroup) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// Commands of iproute2 for the node's side.
    pub(crate) fn plug_in(&self) -> String {
        let (number, namespace) = (self.ipv4.octets()[3], self.namespace.path());
        format!(
            "link add pod{number} type veth peer name {DEVICE} netns {namespace}\n\
             link set pod{number} master {BRIDGE} up\n"
        )
    }

    /// Sets up the pod's side, after the node's.
    pub(crate) fn bring_up(&self) -> Result<()> {
        self.ip(&format!(
            "link set lo up\n\
             addr add {}/24 dev {DEVICE}\n\
             addr add {}/64 dev {DEVICE} nodad\n\
             link set {DEVICE} up\n",
            self.ipv4, self.ipv6
        ))
    }

    /// As [`Self::bring_up`], for a pod that reaches everything through a router on its link.
    pub(crate) fn bring_up_behind(&self, ipv4: Ipv4Addr, ipv6: Ipv6Addr) -> Result<()> {
        self.ip(&format!(
            "link set lo up\n\
             addr add {}/32 dev {DEVICE}\n\
             addr add {}/128 dev {DEVICE} nodad\n\
             link set {DEVICE} up\n\
             route add {ipv4} dev {DEVICE}\n\
             route add default via {ipv4}\n\
             route add {ipv6} dev {DEVICE}\n\
             route add default via {ipv6}\n",
            self.ipv4, self.ipv6
        ))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cgroup of its processes, if it is not the sandbox's.
    pub fn cgroup(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(Cgroup::path)
    }

    pub fn ipv4(&self) -> Ipv4Addr {
        self.ipv4
    }

    pub fn ipv6(&self) -> Ipv6Addr {
        self.ipv6
    }

    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::IPv4 => self.ipv4.into(),
            Family::IPv6 => self.ipv6.into(),
        }
    }

    /// One more address for this pod. Others reach it when it lies in 10.244.0.0/24 or fd00:244::/64; take one
    /// that no pod has: they are numbered from 2 upwards.
    pub fn add_address(&self, address: IpAddr) -> Result<()> {
        self.add_addresses([address])
    }

    /// As [`Self::add_address`], for many addresses with one process.
    pub fn add_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<()> {
        let mut lines = String::new();
        for address in addresses {
            let (length, flags) = if address.is_ipv4() {
                (32, "")
            } else {
                (128, "nodad")
            };
            // Writing to a String does not fail.
            let _ = writeln!(lines, "addr add {address}/{length} dev {DEVICE} {flags}");
        }
        self.ip(&lines)
    }

    /// Reaches these addresses of another pod by way of its first address. That takes one neighbour entry instead of one for each
    /// address. The kernel has 1,024 of a family for all network namespaces together (`gc_thresh3`), so tests that run at the
    /// same time share them, and without one a packet is lost.
    pub fn reach_through(
        &self,
        other: &Self,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<()> {
        let mut lines = String::new();
        for address in addresses {
            let family = if address.is_ipv4() {
                Family::IPv4
            } else {
                Family::IPv6
            };
            let first = other.address(family);
            // Writing to a String does not fail.
            let _ = writeln!(lines, "route add {address} via {first} dev {DEVICE}");
        }
        self.ip(&lines)
    }

    /// Runs `work` on a thread inside this pod and hands back what it gives; a panic goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let inside = || self.join_cgroup().map(|()| work());
        self.namespace.enter(inside).flatten()
    }

    /// Starts a thread inside this pod.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<io::Result<T>> {
        let pod = self.clone();
        thread::spawn(move || {
            pod.namespace.join()?;
            pod.join_cgroup()?;
            Ok(work())
        })
    }

    /// A command whose process starts inside this pod.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        self.namespace.starts(&mut command);
        if let Some(cgroup) = &self.cgroup {
            cgroup.starts(&mut command);
        }
        command
    }

    /// Sets the pod's link down, as in a power failure, or up again. Connections and the IPv4 address stay; IPv6 addresses are lost.
    pub fn set_link(&self, is_up: bool) -> Result<()> {
        let state = if is_up { "up" } else { "down" };
        self.ip(&format!("link set {DEVICE} {state}\n"))
    }

    pub fn namespace(&self) -> &NetworkNamespace {
        &self.namespace
    }

    fn join_cgroup(&self) -> io::Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::join_thread)
    }

    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        self.namespace
            .ip(lines)
            .with_context(|| format!("cannot set up pod {}", self.name))
    }
}
