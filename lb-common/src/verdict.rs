//! The verdict of the program `packet` on a packet, in `skb->priority`, and how the rules of netfilter read it.
//!
//! Nobody else uses such values: a process needs CAP_NET_ADMIN for a priority above 6 (`sk_setsockopt`), and a packet loses
//! its priority when it crosses a veth into another network namespace (`____dev_forward_skb`).

/// The packet has a verdict. Also the class of a verdict: one of [`CHOICE`], [`REJECT`], [`DROP`], [`OUT_OF_RANGE`].
pub const OURS: u32 = 1 << 31;

/// Beside [`CHOICE`]: the connection is masqueraded.
pub const MASQUERADE: u32 = 1 << 30;

/// The packet goes to the backend whose id is in [`BACKEND_MASK`].
pub const CHOICE: u32 = OURS;

/// Nothing serves the frontend: the sender is told so at once.
pub const REJECT: u32 = OURS | 1 << 28;

/// A Local policy, and no endpoint on this node.
pub const DROP: u32 = OURS | 2 << 28;

/// `loadBalancerSourceRanges` does not contain the source.
pub const OUT_OF_RANGE: u32 = OURS | 3 << 28;

/// The bits of a backend's id.
pub const BACKEND_MASK: u32 = 0x00ff_ffff;

/// The verdict for a backend, without [`MASQUERADE`]: its key in the NAT maps.
#[must_use]
#[inline(always)]
pub const fn choice(backend: u32) -> u32 {
    CHOICE | backend & BACKEND_MASK
}
