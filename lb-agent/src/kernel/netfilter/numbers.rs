//! Numbers of nf_tables (linux/netfilter/nf_tables.h) that `netlink-bindings` does not have, or not right.
//!
//! Version 0.3.5 follows the kernel's own nftables.yaml, in which `masq` is not among the expressions, and the attributes of
//! `lookup` have other numbers than in the header.

use netlink_bindings::nftables::NatRangeFlags;

/// NFT_REG_VERDICT, NFT_REG_1 (16 bytes), and the registers behind an address of 4 and of 16 bytes: the second word of
/// NFT_REG_1, and NFT_REG_2.
pub const VERDICT: u32 = 0;
pub const REGISTER: u32 = 1;
pub const BEHIND_IPV4: u32 = 9;
pub const BEHIND_IPV6: u32 = 2;

/// NFT_NAT_DNAT.
pub const DNAT: u32 = 1;

/// NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA.
pub const ELEMENT: u16 = 1;
pub const NAME: u16 = 1;
pub const DATA: u16 = 2;

/// The expression `lookup`: NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_DREG, NFTA_LOOKUP_FLAGS.
pub const LOOKUP: &[u8] = b"lookup\0";
pub const LOOKUP_SET: u16 = 1;
pub const LOOKUP_SREG: u16 = 2;
pub const LOOKUP_DREG: u16 = 3;
pub const LOOKUP_FLAGS: u16 = 5;

/// The expression `masq`: NFTA_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY.
pub const MASQUERADE: &[u8] = b"masq\0";
pub const MASQUERADE_FLAGS: u16 = 1;
pub const FULLY_RANDOM: u32 = NatRangeFlags::ProtoRandomFully as u32;
