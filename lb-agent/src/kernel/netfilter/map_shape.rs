//! The shapes of the maps.

use std::ffi::CStr;

use super::element::Family;
use super::names::{BACKENDS4, BACKENDS6};

/// The numbers by which `nft` prints values (enum datatypes in its include/datatype.h): `classid`, and the concatenations
/// `ipv4_addr . inet_service` and `ipv6_addr . inet_service`, six bits for each field.
const CLASS_ID: u32 = 23;
const IPV4_AND_PORT: u32 = 7 << 6 | 13;
const IPV6_AND_PORT: u32 = 8 << 6 | 13;

/// User data that tells `nft` the byte order of keys: tag NFTNL_UDATA_SET_KEYBYTEORDER, four bytes, BYTEORDER_HOST_ENDIAN.
pub const KEYS_IN_HOST_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// A map with a fixed size: the kernel takes its hash table without resizing (`nft_hash_estimate` in
/// net/netfilter/nft_set_hash.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapShape {
    pub name: &'static CStr,
    pub key_type: u32,
    pub data_type: u32,
    /// Bytes of a value.
    pub data_length: u32,
    /// The most elements.
    pub size: u32,
}

impl MapShape {
    /// Bytes of a key.
    pub const KEY_LENGTH: u32 = 4;

    pub const fn of(family: Family, size: u32) -> Self {
        let (name, data_type, data_length) = match family {
            Family::Ipv4 => (BACKENDS4, IPV4_AND_PORT, 8),
            Family::Ipv6 => (BACKENDS6, IPV6_AND_PORT, 20),
        };
        Self {
            name,
            key_type: CLASS_ID,
            data_type,
            data_length,
            size,
        }
    }
}
