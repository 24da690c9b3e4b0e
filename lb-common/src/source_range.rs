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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapped;

    /// The first bits of a key, as the kernel compares them (kernel/bpf/lpm_trie.c): byte by byte in memory.
    fn is_in(key: SourceRange, range: SourceRange, bits: u32) -> bool {
        let bytes = |key: SourceRange| -> u128 {
            // The service port's id takes the first 32 of 160 bits.
            let [_, words @ ..] = key.map(u32::from_be);
            words
                .iter()
                .fold(0, |all, word| all << 32 | u128::from(*word))
        };
        let free = KEY_BITS - bits;
        key[0] == range[0] && (free == 128 || bytes(key) >> free == bytes(range) >> free)
    }

    fn ipv4(octets: [u8; 4]) -> Address {
        mapped(u32::from_ne_bytes(octets))
    }

    const IPV6: Address = [0x2001_0db8_u32.to_be(), 0, 0, 1_u32.to_be()];

    #[test]
    fn a_key_is_in_network_byte_order() {
        let key = key(0x0102_0304, ipv4([10, 0, 0, 7]));
        let bytes: [[u8; 4]; 5] = key.map(u32::to_ne_bytes);
        assert_eq!(
            bytes,
            [
                [1, 2, 3, 4],
                [0; 4],
                [0; 4],
                [0, 0, 255, 255],
                [10, 0, 0, 7]
            ]
        );
        assert_eq!(key.len() * 4 * 8, KEY_BITS as usize);
    }

    #[test]
    fn prefix_lengths_count_the_id_and_the_beginning_of_a_mapped_address() {
        for (network, length, bits) in [
            (ipv4([0; 4]), 0, 128),
            (ipv4([10, 0, 0, 0]), 8, 136),
            (ipv4([10, 0, 0, 7]), 32, KEY_BITS),
            ([0; 4], 0, 32),
            (IPV6, 32, 64),
            (IPV6, 128, KEY_BITS),
        ] {
            assert_eq!(prefix_length(network, length), bits, "{network:?}/{length}");
        }
    }

    #[test]
    fn a_range_contains_its_addresses_for_its_service_port_alone() {
        let range = key(7, ipv4([10, 1, 0, 0]));
        let bits = prefix_length(ipv4([10, 1, 0, 0]), 16);
        assert!(is_in(key(7, ipv4([10, 1, 255, 255])), range, bits));
        assert!(!is_in(key(7, ipv4([10, 2, 0, 0])), range, bits));
        assert!(!is_in(key(8, ipv4([10, 1, 0, 0])), range, bits));
        assert!(!is_in(key(7, IPV6), range, bits));
        // All of IPv4 is not all of IPv6.
        let all = key(7, ipv4([0; 4]));
        assert!(is_in(key(7, ipv4([192, 0, 2, 1])), all, 128));
        assert!(!is_in(key(7, IPV6), all, 128));
    }
}
