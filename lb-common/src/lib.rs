//! The layouts of socklb's tables, shared by the kernel programs and the agent.
//!
//! Each type in a table is `#[repr(C)]` and plain old data without padding. Addresses are 16 bytes, IPv4 as
//! `::ffff:a.b.c.d`. Addresses and ports are in network byte order; all other numbers are in the CPU's.
//!
//! A release that changes a layout here raises [`TABLES_VERSION`] or [`ORIGINS_VERSION`]. An agent takes over older
//! tables that it can still read (`migrate/` in lb-agent), and refuses all others.
#![no_std]

pub mod affinity;
pub mod backend;
pub mod client;
pub mod config;
pub mod event;
pub mod flow;
pub mod frontend;
pub mod kernel_function;
pub mod near;
#[cfg(feature = "next-layout")]
mod next_layout;
pub mod origin;
pub mod outlier;
pub mod service_counters;
pub mod source_range;
pub mod stats;
#[cfg(feature = "user")]
mod user;
pub mod verdict;
pub mod view;

pub use backend::Backend;
pub use frontend::{FrontendEntry, FrontendKey, FrontendValue, Target};
pub use origin::Pair;
pub use service_counters::ServiceCounters;
pub use view::{SlotRun, View};

/// Version of all layouts except those of ORIGINS and SPILL. Part of the name of the folder that the tables are pinned
/// in.
pub const TABLES_VERSION: u32 = if cfg!(feature = "next-layout") { 2 } else { 1 };

/// Version of the layouts of ORIGINS and SPILL, which stay in use when the other tables are replaced.
pub const ORIGINS_VERSION: u32 = 1;

/// IPPROTO_TCP.
pub const TCP: u8 = 6;

/// IPPROTO_UDP.
pub const UDP: u8 = 17;

/// Four 32-bit words in network byte order, as in `bpf_sock_addr.user_ip6`.
pub type Address = [u32; 4];

/// The third word of an IPv4 address in its mapped form, `::ffff:0:0/96` (RFC 4291, 2.5.5.2).
pub const MAPPED: u32 = 0xffff_u32.to_be();

/// The mapped form of an IPv4 address.
///
/// `ipv4`: in network byte order, as in `bpf_sock_addr.user_ip4`.
#[must_use]
#[inline(always)]
pub const fn mapped(ipv4: u32) -> Address {
    [0, 0, MAPPED, ipv4]
}

/// Whether the address is an IPv4 address in its mapped form.
#[must_use]
#[inline(always)]
pub const fn is_mapped(address: Address) -> bool {
    address[0] | address[1] == 0 && address[2] == MAPPED
}

// The kernel programs and the agent's memory maps rely on these.
const _: () = {
    assert!(size_of::<FrontendKey>() == 20);
    assert!(size_of::<FrontendEntry>() == 24);
    assert!(size_of::<View>() == 64);
    assert!(size_of::<Backend>() == 64);
    assert!(size_of::<affinity::AffinityKey>() == 16);
    assert!(size_of::<origin::Set>() == 64);
    assert!(size_of::<near::NearLine>() == 64);
    assert!(size_of::<event::Event>() == 72);
    assert!(core::mem::offset_of!(Backend, connections) >= 8 * Backend::AGENT_WORDS);
    assert!(core::mem::offset_of!(Backend, state) < 8 * Backend::AGENT_WORDS);
};
