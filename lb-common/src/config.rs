//! CONFIG: an array of 64-bit words that the agent writes. The constants without a unit are indices into it.

use crate::Address;

/// Number of words in CONFIG; unused ones are 0.
pub const WORDS: u32 = 64;

/// The next service port id to allocate. An id is never used twice.
pub const NEXT_SERVICE_PORT: u32 = 0;

/// The cookie of the host's network namespace (SO_NETNS_COOKIE); 0 if unknown.
pub const HOST_NETNS: u32 = 1;

/// A subnet that contains all guarded IPv4 addresses: mask in the upper half, address in the lower half, both in
/// network byte order. A mask of 0 with any address but 0 matches nothing: there are none.
pub const GUARDED_IPV4: u32 = 2;

/// Two words for a subnet that contains all guarded IPv6 addresses, which covers only their first 64 bits: the mask,
/// then the address, both as [`first_half`] returns them. A mask of 0 with any address but 0 matches nothing: there are
/// none.
pub const GUARDED_IPV6: u32 = 3;

/// Deadline in ns of CLOCK_MONOTONIC after which the programs fail open: all connects and sends pass unchanged. 0:
/// never. A running agent keeps moving it into the future.
pub const FAIL_OPEN_AT: u32 = 5;

/// Bits of [`packet_flag`].
pub const PACKET_FLAGS: u32 = 6;

/// 1 while an agent reads EVENTS, else 0.
pub const EVENTS_READ: u32 = 7;

/// Bits of [`PACKET_FLAGS`].
pub mod packet_flag {
    /// `--masquerade-all`: every connection of the packet path to a ClusterIP is masqueraded.
    pub const MASQUERADE_ALL: u64 = 1;
    /// `--cluster-cidr` has a range of IPv4: it is known which packets are pods'.
    pub const IPV4_PODS_KNOWN: u64 = 2;
    /// The same for IPv6.
    pub const IPV6_PODS_KNOWN: u64 = 4;
}

/// Number of Service CIDRs whose unknown addresses are refused, 0 to [`MOST_CIDRS`]. The words after it describe them:
/// see [`cidr`].
pub const SERVICE_CIDRS: u32 = 8;

/// Number of ranges of `--cluster-cidr`, 0 to [`MOST_CIDRS`]: packets from there are pods'. The words after it describe
/// them: see [`cidr`].
pub const CLUSTER_CIDRS: u32 = 32;

/// Maximum number of CIDRs in a list.
pub const MOST_CIDRS: u32 = 4;

/// Index of the first of a CIDR's four words: mask of the first and of the last half of an address, then the two halves
/// of the address.
///
/// `list`: the index of the list's number.
#[must_use]
#[inline(always)]
pub const fn cidr(list: u32, number: u32) -> u32 {
    list + 1 + 4 * number
}

/// The first 64 bits of an address: its first word in the upper half, each word in network byte order.
#[must_use]
#[inline(always)]
pub const fn first_half(address: Address) -> u64 {
    (address[0] as u64) << 32 | address[1] as u64
}

/// The last 64 bits of an address: its third word in the upper half, each word in network byte order.
#[must_use]
#[inline(always)]
pub const fn last_half(address: Address) -> u64 {
    (address[2] as u64) << 32 | address[3] as u64
}
