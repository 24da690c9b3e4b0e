//! FRONTENDS and FRONTEND_LIST: from what a client connects to, to a view; and back to what it connected to.

use bytemuck::{Pod, Zeroable};

use crate::Address;

/// Key of FRONTENDS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FrontendKey {
    /// In network byte order, IPv4 mapped.
    pub address: Address,
    /// In network byte order.
    pub port: u16,
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub protocol: u8,
    /// Always 0: keys are compared byte by byte.
    pub zero: u8,
}

impl FrontendKey {
    /// A key from an address and a port in network byte order.
    #[must_use]
    #[inline(always)]
    pub const fn new(address: Address, port: u16, protocol: u8) -> Self {
        Self {
            address,
            port,
            protocol,
            zero: 0,
        }
    }

    /// 32 bits that tell this key from others, kept beside what the element says.
    ///
    /// The kernel reuses a deleted element of a preallocated hash at once (`htab_elem_free` in
    /// kernel/bpf/hashtab.c), so a reader may hold an element that has become another key's.
    /// Three multiplications: it is on the path of every translated connect.
    #[must_use]
    #[inline(always)]
    pub const fn tag(&self) -> u32 {
        const ODD: [u64; 3] = [
            0x9e37_79b9_7f4a_7c15,
            0xc2b2_ae3d_27d4_eb4f,
            0xd6e8_feb8_6659_fd93,
        ];
        let high = (self.address[0] as u64) << 32 | self.address[1] as u64;
        let low = (self.address[2] as u64) << 32 | self.address[3] as u64;
        let port = (self.port as u64) << 8 | self.protocol as u64;
        let mixed = (high ^ high >> 29)
            .wrapping_mul(ODD[0])
            .wrapping_add((low ^ low >> 31).wrapping_mul(ODD[1]))
            .wrapping_add(port.wrapping_mul(ODD[2]));
        (mixed >> 32) as u32
    }
}

/// FILTER: a bit for each tag's upper bits, set while FRONTENDS may have a key with such a tag. What is to no frontend,
/// most of a node's connects, is then told by one word of a small array and costs no look-up in a hash.
pub mod filter {
    /// How many words FILTER has, a power of two: eight bits for each element of a full FRONTENDS.
    pub const WORDS: u32 = 1 << WORDS_LOG2;

    const WORDS_LOG2: u32 = 13;

    /// The word and the bit of a tag.
    #[must_use]
    #[inline(always)]
    pub const fn place(tag: u32) -> (u32, u64) {
        (
            tag >> (32 - WORDS_LOG2),
            1 << (tag >> (26 - WORDS_LOG2) & 63),
        )
    }
}

/// Value of FRONTENDS: two words, each with the tag of its key in the upper half, for each is read on its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FrontendValue {
    view: u64,
    frontend: u64,
}

/// What FRONTENDS says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index in VIEWS.
    pub view: u32,
    /// Id in FRONTEND_LIST; below 2³¹.
    pub frontend: u32,
    /// Only for clients in the host's network namespace.
    pub is_host_only: bool,
}

/// The bit beside a frontend id that says [`Target::is_host_only`].
const HOST_ONLY: u32 = 1 << 31;

impl FrontendValue {
    #[must_use]
    pub const fn new(key: &FrontendKey, target: Target) -> Self {
        let tag = (key.tag() as u64) << 32;
        let host_only = if target.is_host_only { HOST_ONLY } else { 0 };
        Self {
            view: tag | target.view as u64,
            frontend: tag | (target.frontend | host_only) as u64,
        }
    }

    /// From two words as they were read.
    #[must_use]
    #[inline(always)]
    pub const fn from_words(view: u64, frontend: u64) -> Self {
        Self { view, frontend }
    }

    /// What it says, if both words are the key's that has this tag.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is what is meant"
    )]
    pub const fn read(&self, tag: u32) -> Option<Target> {
        if (self.view >> 32) as u32 != tag || (self.frontend >> 32) as u32 != tag {
            return None;
        }
        let frontend = self.frontend as u32;
        Some(Target {
            view: self.view as u32,
            frontend: frontend & !HOST_ONLY,
            is_host_only: frontend & HOST_ONLY != 0,
        })
    }
}

/// Element of FRONTEND_LIST: what a reply or `getpeername` says back. Id 0 is never given out.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FrontendEntry {
    pub address: Address,
    /// In network byte order.
    pub port: u16,
    pub protocol: u8,
    /// One of [`kind`].
    pub kind: u8,
    pub zero: u32,
}

impl FrontendEntry {
    /// Length in 64-bit words.
    pub const WORDS: usize = size_of::<Self>() / 8;
}

/// What the element of an address with port and protocol 0 says, in place of a frontend id: what becomes of ports of this
/// address that are no frontends.
pub mod guard {
    /// They are refused: a ClusterIP that we serve.
    pub const REFUSE: u32 = 0;
    /// They are somebody else's business: a Service that we do not serve has the address.
    pub const PASS: u32 = 1;
}

/// What kind of frontend it is.
pub mod kind {
    pub const CLUSTER_IP: u8 = 1;
    pub const NODE_PORT: u8 = 2;
    pub const EXTERNAL_IP: u8 = 3;
    pub const LOAD_BALANCER: u8 = 4;
}
