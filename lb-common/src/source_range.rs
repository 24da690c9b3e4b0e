//! SOURCE_RANGES: the clients that `loadBalancerSourceRanges` lets in, by service port.

use crate::{Address, is_mapped};

/// Key of SOURCE_RANGES, an LPM trie: a service port's id, then an address. All in network byte order, IPv4 mapped.
pub type SourceRange = [u32; 5];

/// Number of bits of a service port's id.
const ID_BITS: u32 = 32;

/// Number of bits before the IPv4 address in a mapped address.
const MAPPED_BITS: u32 = 96;

/// Number of bits of a whole key.
pub const KEY_BITS: u32 = ID_BITS + 128;

/// The key of an address.
#[must_use]
#[inline(always)]
pub const fn key(service_port: u32, address: Address) -> SourceRange {
    let [first, second, third, fourth] = address;
    [service_port.to_be(), first, second, third, fourth]
}

/// The number of a key's bits that a range fixes.
///
/// `network`: the range's address. `length`: its prefix length in its own family.
#[must_use]
pub const fn prefix_length(network: Address, length: u8) -> u32 {
    let before = if is_mapped(network) { MAPPED_BITS } else { 0 };
    ID_BITS + before + length as u32
}
