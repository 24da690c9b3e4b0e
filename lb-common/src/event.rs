//! EVENTS: a ring buffer of what happened to single calls and sockets, while an agent reads it. EVENT_LIMITS: how many of
//! them there may be.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Record in EVENTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// In ns of CLOCK_MONOTONIC.
    pub time: u64,
    /// The cookie of the client's network namespace (SO_NETNS_COOKIE).
    pub network: u64,
    /// The destination that the client asked for, in network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Id in FRONTEND_LIST; 0: no frontend.
    pub frontend: u32,
    /// Id in BACKENDS; 0: no backend.
    pub backend: u32,
    /// Id of the service port; 0: none.
    pub service_port: u32,
    /// The process's id (tgid) in the initial PID namespace.
    pub process: u32,
    /// Padding, always 0.
    pub zero: u32,
    /// The thread's name (comm), up to its first 0.
    pub command: [u8; 16],
}

/// Values of [`Event::kind`].
pub mod kind {
    /// A call was refused because the frontend has no backend.
    pub const NO_BACKEND: u8 = 0;
    /// A call was refused because the ClusterIP has no such port.
    pub const UNKNOWN_PORT: u8 = 1;
    /// A call was refused because no Service has the address, which is in a Service CIDR.
    pub const UNKNOWN_ADDRESS: u8 = 2;
    /// A TCP socket was closed before its connection was established.
    pub const FAILED: u8 = 3;
    /// A connect to a backend with [`crate::backend::state::WATCHED`] failed. Reported even while nobody follows, since the agent
    /// decides whether to eject the backend. Only `time`, `backend` and `service_port` have a value.
    pub const SUSPECT: u8 = 4;
}

/// Number of values of [`kind`].
pub const KINDS: u32 = 5;

/// The number of events of a kind that a CPU reports in 2³⁰ ns (about a second). It counts further ones as dropped.
pub const MOST: u32 = 256;

/// Element of EVENT_LIMITS, a per-CPU array by [`kind`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Limit {
    /// The time of the last event, in units of 2³⁰ ns.
    pub second: u32,
    /// The number of events that were reported in that time.
    pub reported: u32,
    /// The number of events that were not reported, ever.
    pub dropped: u64,
}
