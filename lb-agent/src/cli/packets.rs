//! The flags of the packet path.

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::values::{NodePortAddresses, cidr, node_port_addresses};
use crate::kernel::{DevicePattern, PacketSettings};
use crate::policy::Masquerading;

/// Whether and how packets are balanced: what `plan` shows too.
#[derive(Clone, Debug, Args)]
pub struct PacketArgs {
    /// Also balance packets that start at no socket of this node: from outside, from pods without hooks. Replaces kube-proxy.
    #[arg(long, value_enum, value_name = "on|off", default_value_t = Switch::Off)]
    pub packet_path: Switch,

    /// The addresses of the cluster's pods, such as 10.244.0.0/16,fd00:244::/56; at most four. Packets from elsewhere to a ClusterIP
    /// are masqueraded, and externalTrafficPolicy Local does not apply to pods [default: unknown].
    #[arg(long, num_args = 1..=4, value_delimiter = ',', value_name = "CIDR", value_parser = cidr)]
    pub cluster_cidr: Vec<IpNet>,

    /// Masquerade every packet to a ClusterIP.
    #[arg(long)]
    pub masquerade_all: bool,

    /// Ignore spec.externalIPs: with them, any user who may edit Services can take over any address.
    #[arg(long)]
    pub no_external_ips: bool,
}

/// Where packets are balanced.
#[derive(Clone, Debug, Args)]
pub struct PacketRunArgs {
    /// Devices whose packets are balanced, such as eth0,bond* [default: all but lo, new ones included].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "DEVICE")]
    pub packet_devices: Vec<DevicePattern>,

    /// Serve NodePorts only on the node's addresses in these ranges, such as 192.0.2.0/24. `primary` stands for the Node's first
    /// InternalIP of each family, or else its first ExternalIP. A family without a range is served on all [default: all addresses].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "CIDR|primary", value_parser = node_port_addresses)]
    pub nodeport_addresses: Vec<NodePortAddresses>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl PacketArgs {
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.packet_path == Switch::On
    }

    pub(super) fn masquerading(&self) -> Option<Masquerading> {
        self.is_on().then(|| Masquerading {
            cluster_cidrs: self.cluster_cidr.clone(),
            is_for_all: self.masquerade_all,
        })
    }
}

impl PacketRunArgs {
    /// The ranges of `--nodeport-addresses`, and whether it has `primary`.
    pub(super) fn node_port_addresses(&self) -> (Vec<IpNet>, bool) {
        let ranges = self.nodeport_addresses.iter().filter_map(|of| match of {
            NodePortAddresses::Range(range) => Some(*range),
            NodePortAddresses::Primary => None,
        });
        let has_primary = self
            .nodeport_addresses
            .contains(&NodePortAddresses::Primary);
        (ranges.collect(), has_primary)
    }

    pub(super) fn settings(&self, args: &PacketArgs) -> Option<PacketSettings> {
        args.is_on().then(|| PacketSettings {
            devices: self.packet_devices.clone(),
        })
    }
}
