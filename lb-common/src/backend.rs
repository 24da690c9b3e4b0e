//! BACKENDS: an array of 64-byte elements, each aligned to a cache line, so that a pick and its count touch one line.

use core::mem::offset_of;

#[cfg(feature = "next-layout")]
pub use crate::next_layout::Backend;

/// Element of BACKENDS. The agent writes the first half, the kernel programs the second. Id 0 is never allocated.
#[cfg(not(feature = "next-layout"))]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Backend {
    /// In network byte order, IPv4 mapped.
    pub address: crate::Address,
    /// Id of the service port that this backend belongs to.
    pub service_port: u32,
    /// In network byte order.
    pub port: u16,
    /// Its weight less 1: the connections that it is to have beside those of a backend with weight 1.
    pub more_weight: u16,
    /// [`state`] bits.
    pub state: u64,
    /// Number of connections and flows sent here since the id was allocated.
    pub connections: u64,
    /// Number of entries in ORIGINS and elements in SPILL that refer to this backend.
    pub active: u64,
    /// The connects that failed in a row: a [`crate::outlier::Failures`] as a word. Only for backends with
    /// [`state::WATCHED`].
    pub failures: u64,
    /// Until when the backend is ejected, see [`crate::outlier::TRIAL`]; 0: it is not. The agent writes it too.
    pub ejected_until: u64,
}

impl Backend {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
    /// Number of words that the agent writes. The programs write the words after them.
    pub const AGENT_WORDS: usize = 4;
    /// Index of the word that contains `service_port`, `port` and `more_weight`.
    pub const OWNER_WORD: usize = offset_of!(Self, service_port) / 8;
    /// Index of the word that contains `state`.
    pub const STATE_WORD: usize = offset_of!(Self, state) / 8;
    /// Index of the word that contains `connections`.
    pub const CONNECTIONS_WORD: usize = offset_of!(Self, connections) / 8;
    /// Index of the word that contains `active`.
    pub const ACTIVE_WORD: usize = offset_of!(Self, active) / 8;
    /// Index of the word that contains `failures`.
    pub const FAILURES_WORD: usize = offset_of!(Self, failures) / 8;
    /// Index of the word that contains `ejected_until`.
    pub const EJECTED_WORD: usize = offset_of!(Self, ejected_until) / 8;
}

/// What a backend may be used for. Without any bit it no longer belongs to its service port.
pub mod state {
    /// The internal view (ClusterIP) may choose it.
    pub const INTERNAL: u64 = 1;
    /// The external view (NodePort, external IP, LoadBalancer IP) may choose it.
    pub const EXTERNAL: u64 = 2;
    /// It keeps its UDP flows.
    pub const SERVING: u64 = 4;
    /// The view for packets from outside may choose it, with `externalTrafficPolicy: Local`.
    pub const OUTSIDE: u64 = 8;
    /// Failed connects to it are counted, so that it can be ejected. Only with another bit, and only for TCP.
    pub const WATCHED: u64 = 16;
}
