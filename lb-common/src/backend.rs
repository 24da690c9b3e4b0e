//! BACKENDS: one 64-byte line each, so that a pick and its count touch one line.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Element of BACKENDS: the agent writes the first half, the kernel the second. Id 0 is never given out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// Id of the service port that this is a backend of.
    pub service_port: u32,
    /// In network byte order.
    pub port: u16,
    pub zero: u16,
    /// [`state`] bits.
    pub state: u64,
    /// Connections and flows that were sent here since the id was given out.
    pub connections: u64,
    /// How many ways of ORIGINS and elements of SPILL point here.
    pub active: u64,
    pub failures: u64,
    /// On the clock of `bpf_ktime_get_coarse_ns`; 0: not ejected.
    pub ejected_until: u64,
}

impl Backend {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
    /// The first word that the kernel writes.
    pub const KERNEL_WORDS: usize = 4;
    /// The word that holds `service_port` and `port`.
    pub const OWNER_WORD: usize = 2;
    /// The word that holds `state`.
    pub const STATE_WORD: usize = 3;
    /// The word that holds `connections`.
    pub const CONNECTIONS_WORD: usize = 4;
    /// The word that holds `active`.
    pub const ACTIVE_WORD: usize = 5;
}

/// What a backend may be used for. No bit at all: it has left its service port.
pub mod state {
    /// A choice of the internal view (ClusterIP).
    pub const INTERNAL: u64 = 1;
    /// A choice of the external view (NodePort, external IP, LoadBalancer IP).
    pub const EXTERNAL: u64 = 2;
    /// Keeps the UDP flows that it has.
    pub const SERVING: u64 = 4;
}
