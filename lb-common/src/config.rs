//! CONFIG: an array of 64-bit words that the agent writes.

use crate::Address;

/// How many words CONFIG has; unused ones are 0.
pub const WORDS: u32 = 64;

/// The next service port id to give out; ids are not used twice.
pub const NEXT_SERVICE_PORT: u32 = 0;

/// The cookie of the host's network namespace (SO_NETNS_COOKIE); 0: not known.
pub const HOST_NETNS: u32 = 1;

/// A net that covers all guarded IPv4 addresses: mask in the upper half, address in the lower, both in network byte
/// order. A mask of 0 with another address: none.
pub const GUARDED_IPV4: u32 = 2;

/// The mask of a net that covers all guarded IPv6 addresses, of their first 64 bits as [`first_half`] has them. The next
/// word has the address. A mask of 0 with another address: none.
pub const GUARDED_IPV6: u32 = 3;

/// From when on connects and sends pass untouched, in ns of CLOCK_MONOTONIC; 0: never. The agent puts it off again and
/// again for as long as it lives.
pub const STEP_ASIDE_AT: u32 = 5;

/// How many Service CIDRs there are whose unknown addresses are refused; 0: none is. The words after it say which, four
/// for each: the masks of the first and of the last half of an address, then the two halves.
pub const SERVICE_CIDRS: u32 = 8;

/// More have no place.
pub const MOST_SERVICE_CIDRS: u32 = 4;

/// The first of the four words of a Service CIDR.
#[must_use]
#[inline(always)]
pub const fn service_cidr(number: u32) -> u32 {
    SERVICE_CIDRS + 1 + 4 * number
}

/// The last 64 bits of an address, its words as they are.
#[must_use]
#[inline(always)]
pub const fn last_half(address: Address) -> u64 {
    (address[2] as u64) << 32 | address[3] as u64
}

/// The first 64 bits of an address, its words as they are.
#[must_use]
#[inline(always)]
pub const fn first_half(address: Address) -> u64 {
    (address[0] as u64) << 32 | address[1] as u64
}
