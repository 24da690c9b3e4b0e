//! Kinds of links between the node and a machine outside: a program at tc ingress sees packets differently on each.

use anyhow::{Context as _, Result};

use super::tun::Cable;
use crate::namespace::NetworkNamespace;
use crate::pod::DEVICE;

/// The VLAN of [`Link::Vlan`].
const VLAN: u16 = 7;

/// What joins the node with a machine outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A veth pair.
    Veth,
    /// A veth pair whose end on the node is the port of a bridge; the bridge has the node's addresses.
    Bridge,
    /// TUN devices: packets without link header, as on WireGuard or ipip.
    Tun,
    /// A VLAN device on each end of a veth pair.
    Vlan,
    /// A veth pair whose end on the node is the port of a bond; the bond has the node's addresses.
    Bond,
}

impl Link {
    pub const ALL: [Self; 5] = [Self::Veth, Self::Bridge, Self::Tun, Self::Vlan, Self::Bond];

    /// Whether the kernel has it. Every kernel that the tests run on has the first three.
    pub fn is_supported(self) -> Result<bool> {
        let namespace =
            NetworkNamespace::create().context("cannot make a network namespace for a trial")?;
        let trial = match self {
            Self::Veth | Self::Bridge | Self::Tun => return Ok(true),
            Self::Vlan => format!(
                "link add port type veth peer name other\n\
                 link add link port name trial type vlan id {VLAN}\n"
            ),
            Self::Bond => "link add trial type bond\n".to_owned(),
        };
        Ok(namespace.ip(&trial).is_ok())
    }

    /// Makes `device` on the node and `eth0` on the machine, both without addresses.
    pub(super) fn lay(
        self,
        device: &str,
        node: &NetworkNamespace,
        machine: &NetworkNamespace,
    ) -> Result<Option<Cable>> {
        let place = machine.path();
        let port = format!("{device}p");
        let lines = match self {
            Self::Tun => return Cable::lay((node, device), (machine, DEVICE)).map(Some),
            Self::Veth => format!("link add {device} type veth peer name {DEVICE} netns {place}\n"),
            Self::Bridge => format!(
                "link add {device} type bridge mcast_snooping 0\n\
                 link add {port} type veth peer name {DEVICE} netns {place}\n\
                 link set {port} master {device} up\n"
            ),
            Self::Bond => format!(
                "link add {device} type bond mode active-backup miimon 10\n\
                 link add {port} type veth peer name {DEVICE} netns {place}\n\
                 link set {port} master {device}\n"
            ),
            Self::Vlan => format!(
                "link add {port} type veth peer name {port} netns {place}\n\
                 link set {port} up\n\
                 link add link {port} name {device} type vlan id {VLAN}\n"
            ),
        };
        node.ip(&lines)
            .with_context(|| format!("cannot make the link {device} ({self:?})"))?;
        if self == Self::Vlan {
            let lines = format!(
                "link set {port} up\n\
                 link add link {port} name {DEVICE} type vlan id {VLAN}\n"
            );
            machine
                .ip(&lines)
                .with_context(|| format!("cannot make the machine's end of {device}"))?;
        }
        Ok(None)
    }
}
