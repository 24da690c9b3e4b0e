//! BACKENDS: one 64-byte line each, so that a pick and its count touch one line.

use core::mem::offset_of;

#[cfg(not(feature = "next-layout"))]
use bytemuck::{Pod, Zeroable};

#[cfg(not(feature = "next-layout"))]
use crate::Address;
#[cfg(feature = "next-layout")]
pub use crate::rehearsal::Backend;

/// Element of BACKENDS: the agent writes the first half, the kernel the second. Id 0 is never given out.
#[cfg(not(feature = "next-layout"))]
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
    /// How many words the agent writes; the kernel writes those after them.
    pub const AGENT_WORDS: usize = 4;
    /// The word that holds `service_port` and `port`.
    pub const OWNER_WORD: usize = offset_of!(Self, service_port) / 8;
    /// The word that holds `state`.
    pub const STATE_WORD: usize = offset_of!(Self, state) / 8;
    /// The word that holds `connections`.
    pub const CONNECTIONS_WORD: usize = offset_of!(Self, connections) / 8;
    /// The word that holds `active`.
    pub const ACTIVE_WORD: usize = offset_of!(Self, active) / 8;
    /// The word that holds `failures`.
    pub const FAILURES_WORD: usize = offset_of!(Self, failures) / 8;
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
